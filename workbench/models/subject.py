"""A Subject: a model with its tokenizer and chat template, that knows nothing of what is done to it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import ModelError, PromptError, UsageError
from workbench.models.batches import Batch, Layout, running
from workbench.models.site import Site
from workbench.runs import digest_json

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False)
class Subject:
    """An open model.

    `digest` names the weights (of the source file, before conversion), so that a direction found in one model
    is never applied to another. `lock` serialises passes: hooks are on the model while a steered pass runs.
    """

    name: str
    bridge: "TransformerBridge"
    tokenizer: Any
    digest: str
    dtype: torch.dtype
    device: torch.device
    origin: str = ""
    lock: Any = field(default_factory=threading.RLock, repr=False)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"Subject({self.name}, {self.n_layers} layers x {self.d_model}, {dtype} on {self.device})"

    @property
    def n_layers(self) -> int:
        return int(self.bridge.cfg.n_layers)

    @property
    def d_model(self) -> int:
        return int(self.bridge.cfg.d_model)

    @property
    def context_length(self) -> int:
        return int(self.bridge.cfg.n_ctx)

    @property
    def model_type(self) -> str:
        """The architecture family, as its configuration names it (qwen2, llama, gemma3_text, ...)."""
        return str(self.bridge.original_model.config.model_type)

    @property
    def identity(self) -> dict[str, str]:
        """What a manifest records of the model: all of it that decides what the model says."""
        dtype = str(self.dtype).removeprefix("torch.")
        template = digest_json(getattr(self.tokenizer, "chat_template", None))[:16]
        named = {"name": self.name, "digest": self.digest}
        return named | {"dtype": dtype, "device": str(self.device), "template": template}

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a reply: the generation config's and the tokenizer's."""
        config = getattr(self.bridge.original_model, "generation_config", None)
        named = getattr(config, "eos_token_id", None)
        listed = named if isinstance(named, list) else [named]
        return frozenset(int(token) for token in [*listed, self.tokenizer.eos_token_id] if token is not None)

    @property
    def pad_token(self) -> int:
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    def check_site(self, site: Site) -> None:
        """Raise UsageError where the model has no such place."""
        if not 0 <= site.layer < self.n_layers:
            raise UsageError(f"No site {site} in {self.name}; it has layers 0-{self.n_layers - 1}.")

    def batch(self, rows: Sequence[Sequence[int]], reserve: int = 0) -> Batch:
        """A left-padded batch of token rows, with room for `reserve` more tokens in the context."""
        if not rows:
            raise PromptError("There are no prompts to run; give at least one.")
        for number, row in enumerate(rows):
            if not row:
                raise PromptError(f"Prompt {number + 1} has no tokens; give it some text.")
            if len(row) + reserve > self.context_length:
                raise PromptError(
                    f"Prompt {number + 1} has {len(row)} tokens and {reserve} more are asked for, but {self.name} "
                    f"reads at most {self.context_length}; shorten it."
                )
        return Batch.from_rows(rows, self.pad_token, self.device)

    def logits(self, batch: Batch, last_only: bool = False) -> Float[Tensor, "batch pos vocab"]:
        """Logits of a batch, at every position or at the last alone (`pos` is then 1)."""
        with self.passing(batch.layout()):
            options = {"logits_to_keep": 1} if last_only else {}
            return self.bridge(batch.ids, attention_mask=batch.attention.long(), **options)

    def step(self, ids: Tensor, attention: Tensor, layout: Layout, cache: Any) -> tuple[Tensor, Any]:
        """One decoding pass with a KV cache: logits at the last position [batch vocab], and the cache."""
        with self.passing(layout):
            logits, cache = self.bridge(
                ids,
                attention_mask=attention.long(),
                past_key_values=cache,
                use_cache=True,
                return_type="logits_and_cache",
                logits_to_keep=1,
            )
        return logits[:, -1], cache

    @contextmanager
    def hooked(self, hooks: Sequence[tuple[Site, Callable[..., Any]]]) -> Iterator[None]:
        """Hold the lock and these forward hooks, `hook(acts, hook=...)`, for the duration of the block."""
        points = [(site.hook_point(self.bridge), function) for site, function in hooks]
        handles = []
        with self.lock:
            try:
                for point, function in points:
                    handles.append((point, point.add_hook(function)))
                yield
            finally:
                for point, handle in handles:
                    handle.hook.remove()
                    point.fwd_hooks.remove(handle)

    @contextmanager
    def passing(self, layout: Layout) -> Iterator[None]:
        """Around one forward pass: the lock, no gradients, the layout published, memory failures explained."""
        with self.lock, torch.inference_mode(), running(layout):
            try:
                yield
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"{self.device} ran out of memory; use a smaller --batch-size or --device cpu."
                ) from error
