"""Reading what all prompts begin with once changes nothing but the time."""

import pytest
import torch

from tests.conftest import random_direction
from workbench.interventions import Ablate, Add, Recipe, steered
from workbench.models import Site, Subject, sharing, token_rows
from workbench.models.batches import shared_prefix
from workbench.prompts import Prompts

PROMPTS = Prompts.of(["Tell me.", "Tell all about the tallest mountain", "Tell", "Tell me of it, please"]).changed(
    system="You are a helpful assistant."
)


def _both(subject: Subject, recipe: Recipe, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    batches = [batch for _, batch in subject.batches(token_rows(subject, PROMPTS), size)]
    with steered(subject, recipe):
        shared = torch.cat(subject.last_logits(batches))
        whole = torch.cat([subject.logits(batch, last=1)[:, -1] for batch in batches])
    return shared, whole


@pytest.mark.parametrize("size", [1, 3, 4])
def test_the_logits_are_those_of_the_whole_prompts(tiny: Subject, size: int) -> None:
    torch.testing.assert_close(*_both(tiny, Recipe(), size), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tokens", ["all", "prompt", "last", "generated", "2:40"])
def test_edits_reach_the_same_tokens(llama: Subject, tokens: str) -> None:
    direction = random_direction(llama)
    for recipe in (Ablate(direction).at("all", tokens), Add(direction).at(1, tokens)):
        shared, whole = _both(llama, recipe, 4)
        torch.testing.assert_close(shared, whole, atol=1e-4, rtol=1e-4)


def test_the_prefix_is_read_once(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    real = Subject.read_on

    def counting(self: Subject, ids: torch.Tensor, *rest: object, **more: object) -> object:
        read.append(tuple(ids.shape))
        return real(self, ids, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Subject, "read_on", counting)
    rows = token_rows(llama, PROMPTS)
    llama.last_logits([batch for _, batch in llama.batches(rows, 2)])
    prefix = len(read[0]) and read[0][1]
    assert read[0][0] == 1
    assert prefix == next(i for i in range(99) if len({row[i] for row in rows}) > 1)
    assert [shape[0] for shape in read[1:]] == [2, 2]
    assert max(shape[1] for shape in read[1:]) == max(map(len, rows)) - prefix


def test_gradients_flow_through_what_is_read_once(tiny: Subject) -> None:
    """As through the whole prompts; and the cache that all go on from is not written to by any."""
    batches = [batch for _, batch in tiny.batches(token_rows(tiny, PROMPTS), 2)]

    def slope(shared: bool) -> torch.Tensor:
        moved = torch.zeros(tiny.d_model, requires_grad=True)
        with tiny.frozen(), tiny.hooked([(Site(1, "resid_pre"), lambda acts, hook: acts + moved)]):
            if shared:
                logits = torch.cat(tiny.last_logits(batches, gradients=True))
            else:
                logits = torch.cat([tiny.logits(batch, last=1, gradients=True)[:, -1] for batch in batches])
            (logits * torch.arange(logits.shape[1])).sum().backward()
        assert moved.grad is not None
        assert float(moved.grad.norm()) > 0
        return moved.grad

    torch.testing.assert_close(slope(True), slope(False), atol=1e-2, rtol=1e-3)


def test_the_shared_tokens_leave_every_row_one(llama: Subject) -> None:
    def shared(*rows: list[int]) -> int:
        return shared_prefix([batch for _, batch in llama.batches(list(rows), 2)])

    assert shared([1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 9, 9]) == 2
    assert shared([7, 8], [7, 8, 9]) == 1
    assert shared([7, 8], [7, 8]) == 1
    assert shared([1, 2], [3, 4]) == 0


def test_prompts_longer_than_an_attention_window_are_read_whole(tiny_subjects: dict[str, Subject]) -> None:
    gemma = tiny_subjects["gemma3"]
    batches = [batch for _, batch in gemma.batches(token_rows(gemma, PROMPTS), 4)]
    widest = max(int(batch.ids.shape[1]) for batch in batches)
    assert not gemma.may_share(widest)  # its window has 16 tokens
    assert tiny_subjects["llama"].may_share(widest)
    assert shared_prefix(batches) > sharing._WORTH
