"""What the laws run over: every registered edit, built from its fields' types, in every scope, gate and schedule."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_origin, get_type_hints

import torch
from torch import Tensor

from tests.conftest import random_direction
from workbench.concepts.active import ConceptReader
from workbench.concepts.handle import ConceptHandle
from workbench.directions import Coordinate, Cosine, Direction, Feature, StoredActivation
from workbench.interventions import Edit, Gate, Recipe, Schedule
from workbench.interventions.edit import edits
from workbench.models import Site, Subject, token_rows
from workbench.prompts import Prompts

EDITS = tuple(edits)
SCOPES = ("all", "prompt", "last", "generated", "2:5", "first 3", "-4:2", "all no special")
WHENS = ("token gate", "prompt gate", "last gate", "cosine gate", "schedule", "gate and schedule")
TEXTS = ("Tell me a story.", "Why?", "What is the tallest mountain on the moon, and who named it?")
PROMPTS = Prompts.of(TEXTS)


def an_edit(name: str, subject: Subject, strength: float = 1.0, seed: int = 0) -> Edit:
    """An instance of a registered edit, with random assets of this model where it asks for some."""
    kind = edits[name]
    heads = name == "add-heads"
    given: dict[str, Any] = {"strength": strength}
    if heads:
        given |= {"head": 1, "heads": int(subject.bridge.cfg.n_heads)}
    for number, item in enumerate(fields(kind)):
        hint = get_type_hints(kind)[item.name]
        if item.name not in given and item.default is MISSING:
            given[item.name] = _held(hint, subject, 10 * seed + number, heads)
    return kind(**given)


def a_recipe(name: str, subject: Subject, tokens: str = "all", strength: float = 1.0, seed: int = 0) -> Recipe:
    """The edit on everything that writes to the stream, or on every layer's heads."""
    edit = an_edit(name, subject, strength, seed)
    heads = any(asset.site.stream == "attn_heads" for asset in edit.assets)
    return edit.at("attn_heads" if heads else "all", tokens)


def when(name: str, subject: Subject) -> dict[str, Any]:
    """A gate that is open for some of the tokens or rows, a schedule, or both."""
    read, site = random_direction(subject, 99), Site(0, "resid_pre")
    gates: dict[str, Callable[[], dict[str, Any]]] = {
        "token gate": lambda: {"gate": Gate(Coordinate(read), site)},
        "prompt gate": lambda: {"gate": Gate(Coordinate(read), site, "prompt")},
        "last gate": lambda: {"gate": Gate(Coordinate(read), site, "last", below=True)},
        "cosine gate": lambda: {"gate": Gate(Cosine(read), site, below=True)},
        "schedule": lambda: {"schedule": Schedule(((0, 1.0), (4, 0.0)))},
    }
    if name == "gate and schedule":
        return when("token gate", subject) | when("schedule", subject)
    return gates[name]()


def _held(hint: Any, subject: Subject, seed: int, heads: bool) -> Any:
    """A value for a field without a default."""
    if get_origin(hint) is tuple:
        return tuple(random_direction(subject, seed + 50 + number) for number in range(2))
    if hint is Direction:
        return head_direction(subject, seed) if heads else random_direction(subject, seed)
    if hint is StoredActivation:
        drawn = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(seed))
        return StoredActivation(drawn, Site(1, "resid_pre"), "random", subject.name, subject.digest)
    if hint is Feature:
        return a_feature(subject, seed)
    if hint is ConceptHandle:
        return a_concept(subject, seed)
    if hint is Edit:
        return an_edit("ablate", subject, seed=seed)
    raise NotImplementedError(f"Say in tests/laws/cases.py how a {hint} is made.")


def head_direction(subject: Subject, seed: int = 0) -> Direction:
    """A random direction of all heads side by side."""
    site = Site(1, "attn_heads")
    drawn = torch.randn(subject.width(site), generator=torch.Generator().manual_seed(seed))
    where = {"site": site, "position": -1, "method": "random"}
    return Direction.from_raw(
        drawn, torch.zeros_like(drawn), scale=4.0, model_name=subject.name, model_digest=subject.digest, **where
    )


def a_feature(subject: Subject, seed: int = 0) -> Feature:
    """A random feature, off in a part of the stream and on in another."""
    generator = torch.Generator().manual_seed(seed)
    row, writes = (torch.randn(subject.d_model, generator=generator) for _ in "ab")
    zeros = torch.zeros(subject.d_model)
    return Feature(
        row[None], torch.zeros(1), zeros, 4 * writes / writes.norm(), 0.5, 7, 0, None, Site(1, "resid_pre"),
        subject.name, subject.digest,
    )  # fmt: skip


def a_concept(subject: Subject, seed: int = 0) -> ConceptHandle:
    """A random concept among three of which two are active at each token."""
    generator = torch.Generator().manual_seed(seed)
    encoder, writes = (torch.randn(n, subject.d_model, generator=generator) for n in (3, 1))
    return ConceptHandle(
        name="random", reader=ConceptReader(encoder, torch.zeros(3), k=2, bounded=True), own=1,
        writes=4 * writes[0] / writes.norm(), typical=0.5, level=0.0, site=Site(1, "resid_pre"),
        model_name=subject.name, model_digest=subject.digest,
    )  # fmt: skip


def logits_of(subject: Subject, prompts: Prompts = PROMPTS) -> Tensor:
    """Logits at every position of a padded batch."""
    return subject.logits(subject.batch(token_rows(subject, prompts)))


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit: also the signs of zeros."""
    return one.dtype == other.dtype and torch.equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> Tensor:
    width = {2: torch.int16, 4: torch.int32}[tensor.element_size()]
    return tensor.contiguous().view(width)


def tokens_of(replies: Sequence[object]) -> list[tuple[int, ...]]:
    return [reply.tokens for reply in replies]  # type: ignore[attr-defined]


def hooks_left(subject: Subject) -> int:
    """How many hooks the model still has."""
    return sum(len(point.fwd_hooks) + len(point.bwd_hooks) for point in subject.bridge.hook_dict.values())
