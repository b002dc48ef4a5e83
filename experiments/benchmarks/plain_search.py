"""The search as the paper describes it, on the plain transformers model: the rival of ours.

For every candidate: the refusal metric of all harmful validation prompts with the direction projected out of every
block input, attention output and MLP output; the refusal metric of all harmless ones with the raw direction added at
its block's input; the KL of all harmless ones under the projection. Batches of 32, all logits, hooks on the modules
themselves, and, as in the authors' code, the logits of every position in float64 before the last is taken for the
metric: two fifths of the time. Written from the description (Arditi et al. 2024, section 3 and appendix C).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.directions import Direction
from workbench.evaluation.refusal import refusal_metric
from workbench.generation import kl_divergence
from workbench.models import Batch, Subject

BATCH = 32


@dataclass
class PlainSearch:
    """Validation prompts and the plain model."""

    model: Any
    layers: Any
    tokens: tuple[int, ...]
    harmful: Sequence[Batch]
    harmless: Sequence[Batch]
    base: Sequence[Tensor]

    @classmethod
    def of(
        cls, model: Any, subject: Subject, harmful: Sequence[Sequence[int]], harmless: Sequence[Sequence[int]],
        tokens: tuple[int, ...],
    ) -> "PlainSearch":  # fmt: skip
        """Batches in the prompts' own order, as the authors take them."""

        def batched(rows: Sequence[Sequence[int]]) -> list[Batch]:
            return [subject.batch(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]

        search = cls(model, model.get_decoder().layers, tokens, batched(harmful), batched(harmless), base=())
        search.base = [search._last(batch) for batch in search.harmless]
        return search

    def score(self, direction: Direction) -> dict[str, float]:
        """The three scores of one direction."""
        unit = direction.unit.to(self.model.device, self.model.dtype)
        raw = (direction.unit * direction.scale).to(self.model.device, self.model.dtype)
        with self._projected(unit):
            bypass = torch.cat([self._metric(batch) for batch in self.harmful])
        with self._added(direction.site.layer, raw):
            induce = torch.cat([self._metric(batch) for batch in self.harmless])
        with self._projected(unit):
            edited = [self._last(batch) for batch in self.harmless]
        divergence = torch.cat([kl_divergence(b, e) for b, e in zip(self.base, edited, strict=True)])
        return {
            "refusal_score": float(bypass.mean()),
            "steering_score": float(induce.mean()),
            "kl_div_score": float(divergence.mean()),
        }

    def _metric(self, batch: Batch) -> Tensor:
        return refusal_metric(self._logits(batch).double()[:, -1], self.tokens)

    def _last(self, batch: Batch) -> Tensor:
        return self._logits(batch)[:, -1]

    def _logits(self, batch: Batch) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self.model(batch.ids, attention_mask=batch.attention.long()).logits
        return logits

    @contextmanager
    def _projected(self, unit: Tensor) -> Iterator[None]:
        def erase(acts: Tensor) -> Tensor:
            return acts - (acts @ unit)[..., None] * unit

        handles = []
        for layer in self.layers:
            handles.append(layer.register_forward_pre_hook(_first(erase)))
            handles.append(layer.self_attn.register_forward_hook(_output(erase)))
            handles.append(layer.mlp.register_forward_hook(_output(erase)))
        with _removing(handles):
            yield

    @contextmanager
    def _added(self, layer: int, raw: Tensor) -> Iterator[None]:
        with _removing([self.layers[layer].register_forward_pre_hook(_first(lambda acts: acts + raw))]):
            yield


def _first(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    return lambda module, inputs: (change(inputs[0]), *inputs[1:])


def _output(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    def hook(module: Any, inputs: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return hook


@contextmanager
def _removing(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
