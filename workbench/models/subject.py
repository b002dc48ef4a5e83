"""A Subject: a model with its tokenizer and chat template, that knows nothing of what is done to it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import ModelError, UsageError
from workbench.models.batches import Batch, Layout, needs_whole_rows, running
from workbench.models.rows import check_rows
from workbench.models.sharing import last_logits, window_of
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
    folder: Path | None = None  # of safetensors, from which it was read
    shares: bool = True  # whether what rows begin with may be read once (`sharing`)
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

    @cached_property
    def identity(self) -> dict[str, str]:
        """What a manifest records of the model: all of it that decides what the model says."""
        dtype = str(self.dtype).removeprefix("torch.")
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        vocabulary = fast.to_str() if fast is not None else self.tokenizer.get_vocab()
        speech = {
            "template": digest_json(getattr(self.tokenizer, "chat_template", None))[:16],
            "tokenizer": digest_json([vocabulary, sorted(self.end_tokens)])[:16],
        }
        return {"name": self.name, "digest": self.digest, "dtype": dtype, "device": str(self.device)} | speech

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

    @cached_property
    def special_tokens(self) -> frozenset[int]:
        """Tokens that stand for no text: turns, padding, beginning and end."""
        return frozenset(int(token) for token in self.tokenizer.all_special_ids) | self.end_tokens

    def width(self, site: Site) -> int:
        """The length of an activation at `site`: that of the stream, or of all heads side by side."""
        if site.stream != "attn_heads":
            return self.d_model
        return int(self.bridge.cfg.n_heads) * int(self.bridge.cfg.d_head)

    def check_site(self, site: Site) -> None:
        """Raise UsageError where the model has no such place."""
        if not 0 <= site.layer < self.n_layers:
            raise UsageError(f"No site {site} in {self.name}; it has layers 0-{self.n_layers - 1}.")

    def batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        """A left-padded batch of token rows."""
        check_rows(self, rows)
        return Batch.from_rows(rows, self.pad_token, self.device)

    def batches(self, rows: Sequence[Sequence[int]], size: int, reserve: int = 0) -> list[tuple[list[int], Batch]]:
        """Batches of rows of like length, with the numbers of the rows in each: little padding is computed.

        Raises PromptError where a row, with `reserve` more tokens, does not fit the context.
        """
        check_rows(self, rows, reserve)
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index]), index))
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        return [(g, Batch.from_rows([rows[i] for i in g], self.pad_token, self.device)) for g in groups]

    def logits(
        self, batch: Batch, last: int | None = None, gradients: bool = False
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of a batch, at every position or at the `last` ones alone; with `gradients`, on autograd's tape."""
        with self.passing(batch.layout(), gradients):
            options = {} if last is None else {"logits_to_keep": last}
            return self.bridge(batch.ids, attention_mask=batch.attention.long(), **options)

    def last_logits(self, batches: Sequence[Batch], gradients: bool = False) -> list[Float[Tensor, "batch vocab"]]:
        """Logits after each row of each batch; what all rows begin with is read once, and not once a row.

        Equal to `logits` up to rounding. With `gradients`, on autograd's tape, what is read once too.
        """
        return last_logits(self, batches, gradients)

    def may_share(self, width: int) -> bool:
        """Whether the beginning of rows of `width` tokens may be read by itself.

        Where nobody needs whole rows, the model says the same (tried at load) and no attention window is shorter:
        padding after the beginning would count in it.
        """
        if needs_whole_rows() or not self.shares:
            return False
        window = window_of(self.bridge.original_model.config)
        return window is None or width <= window

    def step(self, ids: Tensor, attention: Tensor, layout: Layout, cache: Any) -> tuple[Tensor, Any]:
        """One decoding pass with a KV cache: logits at the last position [batch vocab], and the cache."""
        logits, cache = self.read_on(ids, attention, layout, cache, last=1)
        return logits[:, -1], cache

    def read_on(
        self,
        ids: Tensor,
        attention: Tensor,
        layout: Layout,
        cache: Any,
        last: int | None = None,
        gradients: bool = False,
    ) -> tuple[Float[Tensor, "batch pos vocab"], Any]:
        """One pass with a KV cache: logits at every position of `ids`, or at the `last` ones alone, and the cache."""
        options = {} if last is None else {"logits_to_keep": last}
        with self.passing(layout, gradients):
            logits, cache = self.bridge(
                ids,
                attention_mask=attention.long(),
                past_key_values=cache,
                use_cache=True,
                return_type="logits_and_cache",
                **options,
            )
        return logits, cache

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
                    if handle in point.fwd_hooks:  # else somebody reset the bridge inside the block
                        point.fwd_hooks.remove(handle)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the lock, and let no weight ask for a gradient: what is learned is elsewhere, and costs half as much."""
        with self.lock:
            learning = [weight for weight in self.bridge.original_model.parameters() if weight.requires_grad]
            try:
                for weight in learning:
                    weight.requires_grad_(False)
                yield
            finally:
                for weight in learning:
                    weight.requires_grad_(True)

    @contextmanager
    def passing(self, layout: Layout, gradients: bool = False) -> Iterator[None]:
        """Around one forward pass: the lock, gradients or none, the layout published, memory failures explained."""
        with self.lock, torch.inference_mode(not gradients), running(layout):
            try:
                yield
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"{self.device} ran out of memory; use a smaller --batch-size or --device cpu."
                ) from error
