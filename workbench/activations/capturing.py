"""Capture the residual stream at any sites and positions, for any number of prompts.

1. Render and tokenise; sort by length, so that a batch holds little padding.
2. For each batch, hook the sites, keep the asked positions alone, and stop the pass after the last site: the
   unembedding, a quarter of a small model, is never computed.
3. Hand each batch to the store, or keep it; memory does not grow with the number of prompts.

Averages over tokens leave out the first one, whose activations are massive (Sun et al. 2024).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.activations.activations import Activations, Chunk, Moments
from workbench.activations.store import ActivationStore
from workbench.errors import CaptureError
from workbench.models import Batch, Site, Subject, post_instruction_length, token_rows
from workbench.prompts import Prompts
from workbench.runs import digest_json, track

Positions = Sequence[int] | Literal["post_instruction", "mean"]

VERSION = 1  # of what a stored chunk means


def capture(
    subject: Subject,
    prompts: Prompts,
    *,
    sites: Sequence[Site] | None = None,
    positions: Positions = "post_instruction",
    batch_size: int = 32,
    store: ActivationStore | None = None,
) -> Activations:
    """Activations of `prompts` at `sites` (default: every block's input) and `positions`.

    `positions` are negative numbers counted from the end of the prompt, "post_instruction" for the template's
    tokens after the user's text, or "mean". With a `store` the values rest on disk and a capture that was
    interrupted goes on where it was.

    Raises CaptureError where a prompt is too short for a position or an activation is not finite.
    """
    places = tuple(sites) if sites is not None else block_inputs(subject)
    offsets = resolve_positions(subject, prompts, positions)
    if store is not None:
        store.require_room(4 * len(prompts) * max(1, len(offsets)) * len(places) * subject.d_model)
    chunks = tuple(_chunks(subject, prompts, places, offsets, batch_size, store))
    labels = tuple(prompt.label for prompt in prompts)
    return Activations(chunks, places, offsets, labels, tuple(p.digest for p in prompts), subject.digest)


def capture_moments(
    subject: Subject,
    prompts: Prompts,
    *,
    sites: Sequence[Site],
    positions: Positions = "mean",
    batch_size: int = 32,
    with_second: bool = False,
) -> Moments:
    """Mean and second moment of the activations, in float64, one batch in memory at a time."""
    moments = Moments(with_second)
    offsets = resolve_positions(subject, prompts, positions)
    for chunk in _chunks(subject, prompts, tuple(sites), offsets, batch_size, None):
        moments.add(chunk.read())
    return moments


def block_inputs(subject: Subject) -> tuple[Site, ...]:
    """The input of every block: where Arditi et al. 2024 look for directions."""
    return tuple(Site(layer, "resid_pre") for layer in range(subject.n_layers))


def resolve_positions(subject: Subject, prompts: Prompts, positions: Positions) -> tuple[int, ...]:
    """Positions as negative numbers; the empty tuple stands for the average."""
    if positions == "mean":
        return ()
    if positions == "post_instruction":
        return post_instruction_positions(subject, prompts)
    chosen = tuple(int(position) for position in positions)
    if not chosen or any(position >= 0 for position in chosen):
        raise CaptureError(f"Positions count from the end of the prompt (-1 is the last token); got {chosen}.")
    return chosen


def post_instruction_positions(subject: Subject, prompts: Prompts) -> tuple[int, ...]:
    """The template's tokens behind the user's text, counted from the end.

    Raises CaptureError where these stand elsewhere in each prompt, or the template has none.
    """
    thinking = {prompt.thinking for prompt in prompts}
    if any(prompt.prefill for prompt in prompts) or len(thinking) > 1:
        raise CaptureError(
            "Where a reply is prefilled, or only some prompts think, the post-instruction tokens stand elsewhere in "
            "each prompt; give positions such as -1, or capture these prompts apart."
        )
    length = post_instruction_length(subject, *thinking)
    if length == 0:
        raise CaptureError(
            f"The chat template of {subject.name} writes nothing after the user's text, so there is no "
            "post-instruction position; give positions such as -1 yourself."
        )
    return tuple(range(-length, 0))


def _chunks(
    subject: Subject,
    prompts: Prompts,
    sites: tuple[Site, ...],
    positions: tuple[int, ...],
    batch_size: int,
    store: ActivationStore | None,
) -> Iterator[Chunk]:
    for site in sites:
        subject.check_site(site)
    rows = token_rows(subject, prompts)
    common = [VERSION, subject.identity, [str(site) for site in sites], positions]
    for numbers, batch in track(subject.batches(rows, batch_size), "Capturing"):
        group = tuple(numbers)
        key = digest_json([*common, [rows[index] for index in group]])
        if store is not None and subject.bridge.list_hooks():
            store = None  # the key knows nothing of an edit that is on the model
        if store is not None and store.has(key):
            yield Chunk(group, store=store, key=key)
            continue
        values = _values(subject, batch, sites, positions)
        if store is None:
            yield Chunk(group, held=values)
        else:
            store.put(key, values)
            yield Chunk(group, store=store, key=key)


def _values(
    subject: Subject, batch: Batch, sites: tuple[Site, ...], positions: tuple[int, ...]
) -> Float[Tensor, "example position site d_model"]:
    shortest = int(batch.prompt_lengths.min())
    if positions and -min(positions) > shortest:
        raise CaptureError(
            f"Position {min(positions)} is asked for and the shortest prompt has {shortest} tokens; use positions "
            f"from -{shortest} to -1."
        )
    kept = read_streams(subject, batch, sites, _picking(positions) if positions else _averaging(batch))
    values = torch.stack([kept[site] for site in sites], dim=2).cpu()
    if not torch.isfinite(values).all():
        raise CaptureError(f"{subject.name} gave activations that are not finite; try --dtype float32.")
    return values.clone()


def read_streams(
    subject: Subject, batch: Batch, sites: Sequence[Site], reduce: Callable[[Tensor], Tensor]
) -> dict[Site, Tensor]:
    """What `reduce` leaves of a batch's activations [batch pos d_model] at each site; nothing runs after the last."""
    kept: dict[Site, Tensor] = {}
    with _keeping(subject, tuple(sites), reduce, kept), subject.passing(batch.layout()):
        last = max(site.layer for site in sites)
        if all(site.stream == "resid_pre" for site in sites if site.layer == last):
            # Stopped before a block, the bridge returns what the block would have read.
            stream = _run(subject, batch, stop_at_layer=last)
            kept[Site(last, "resid_pre")] = reduce(stream)
        elif last + 1 < subject.n_layers:
            _run(subject, batch, stop_at_layer=last + 1)
        else:
            _run(subject, batch, logits_to_keep=1)
    return kept


def _run(subject: Subject, batch: Batch, **options: int) -> Tensor:
    output: Tensor = subject.bridge(batch.ids, attention_mask=batch.attention.long(), **options)
    return output


def _picking(positions: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    return lambda acts: acts[:, list(positions)].flatten(2).float()


def _averaging(batch: Batch) -> Callable[[Tensor], Tensor]:
    position = batch.layout().position
    # The first token counts only where it is the only one; each row is decided by itself.
    counted = (position >= 1) | ((position == 0) & (batch.prompt_lengths == 1)[:, None])
    weight = counted.float()[..., None]
    return lambda acts: ((acts.flatten(2).float() * weight).sum(dim=1) / weight.sum(dim=1))[:, None]


@contextmanager
def _keeping(
    subject: Subject,
    sites: tuple[Site, ...],
    reduce: Callable[[Tensor], Tensor],
    kept: dict[Site, Tensor],
) -> Iterator[None]:
    """Hook `sites` so that each writes what `reduce` leaves of its activations into `kept`."""

    def keeper(site: Site) -> Callable[..., None]:
        def keep(acts: Tensor, hook: object) -> None:
            kept[site] = reduce(acts)

        return keep

    with subject.hooked([(site, keeper(site)) for site in sites]):
        yield
