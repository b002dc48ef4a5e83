"""Weights are edited on the right side, checked, and put back bit for bit."""

import pytest
import torch

from tests.conftest import random_direction
from tests.laws.cases import logits_of, same_bits
from workbench.errors import DirectionError, ModelError
from workbench.interventions import Ablate, AblateSubspace
from workbench.models import Subject, matrices, writers
from workbench.weights import Orthogonalise, PreserveColumns, apply_weights, applying, edited, weight_edits
from workbench.weights.applying import allowed_left, edited_tensor, write_side

NAMES = list(weight_edits)
EDITED = ["llama", "qwen2", "gpt2", "phi3", "mixtral"]


@pytest.fixture(params=EDITED)
def subject(request: pytest.FixtureRequest, tiny_subjects: dict[str, Subject]) -> Subject:
    return tiny_subjects[request.param]


def bits(subject: Subject) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in subject.bridge.original_model.named_parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_undoing_puts_back_every_bit(subject: Subject, name: str) -> None:
    before, said = bits(subject), logits_of(subject)
    applied = apply_weights(subject, Ablate(random_direction(subject)).at("all"), weight_edits[name]())
    assert not torch.equal(logits_of(subject), said)
    applied.undo()
    applied.undo()
    after = bits(subject)
    assert before.keys() == after.keys()
    assert all(same_bits(before[key], after[key]) for key in before)
    assert same_bits(logits_of(subject), said)


def test_an_exception_inside_the_block_leaves_the_model_as_it_was(subject: Subject) -> None:
    said = logits_of(subject)
    with pytest.raises(ZeroDivisionError), edited(subject, Ablate(random_direction(subject)).at("all")):
        1 // 0
    assert same_bits(logits_of(subject), said)


@pytest.mark.parametrize("name", NAMES)
def test_law_9_holds_of_the_edits_that_say_so_and_not_of_the_others(subject: Subject, name: str) -> None:
    """An independent look, without the library's own check: r^T W of every writer, by the module's kind."""
    directions = (random_direction(subject, 1), random_direction(subject, 2))
    edit = weight_edits[name]()
    with edited(subject, AblateSubspace(directions).at("all"), edit):
        worst = max(_left(subject, writer, each.unit) for writer in writers(subject) for each in directions)
    assert (worst < 1e-5) == edit.clears


def _left(subject: Subject, writer: object, unit: torch.Tensor) -> float:
    matrix = writer.matrix(subject).detach()  # type: ignore[attr-defined]
    kind = type(writer.module(subject)).__name__  # type: ignore[attr-defined]
    if matrix.ndim == 3:
        return float(torch.einsum("edf,d->ef", matrix, unit).abs().max())
    return float((matrix @ unit if kind in ("Embedding", "Conv1D") else unit @ matrix).abs().max())


@pytest.mark.parametrize(("name", "dim"), [("preserve-columns", 0), ("preserve-rows", 1)])
def test_norms_are_preserved_as_the_name_says(subject: Subject, name: str, dim: int) -> None:
    old = {str(w): w.matrix(subject).detach().clone() for w in writers(subject)}
    with edited(subject, Ablate(random_direction(subject)).at("all"), weight_edits[name]()):
        for writer in writers(subject):
            axis = writer.live_axis(subject)
            pairs = (matrices(old[str(writer)], axis), matrices(writer.matrix(subject).detach(), axis))
            for before, after in zip(*pairs, strict=True):
                assert not torch.equal(before, after)
                torch.testing.assert_close(before.norm(dim=dim), after.norm(dim=dim), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_only_an_edit_that_says_so_changes_by_the_maps_rank(llama: Subject, name: str) -> None:
    edit = weight_edits[name]()
    change = Ablate(random_direction(llama)).linear()
    matrix = writers(llama)[2].matrix(llama).detach()
    assert change is not None
    rank = int(torch.linalg.matrix_rank(edit(matrix, change) - matrix, rtol=1e-4))
    assert (rank == 1) == edit.low_rank


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_by_columns_is_the_same_a_few_columns_at_a_time(llama: Subject, name: str) -> None:
    edit, change = weight_edits[name](), Ablate(random_direction(llama)).linear()
    matrix = writers(llama)[2].matrix(llama).detach()
    assert change is not None
    apart = torch.cat([edit(part, change) for part in matrix.split(7, dim=1)], dim=1)
    assert torch.allclose(apart, edit(matrix, change), atol=1e-6) == edit.by_column


def test_a_tied_embedding_is_untied_and_tied_again(tiny_subjects: dict[str, Subject]) -> None:
    subject = tiny_subjects["qwen2"]
    model = subject.bridge.original_model
    reads = model.get_output_embeddings().weight.detach().clone()
    with edited(subject, Ablate(random_direction(subject)).at("embed")):
        assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
        assert torch.equal(model.get_output_embeddings().weight, reads)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_wrong_side_of_a_square_matrix_is_caught(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two tools of the field have it: the projection of what the matrix reads."""

    class OtherSide(Orthogonalise):
        def __call__(self, matrix, change):  # type: ignore[no-untyped-def]
            return super().__call__(matrix.T, change).T if matrix.shape[0] == matrix.shape[1] else matrix

    said = logits_of(llama)
    with pytest.raises(ModelError, match=r"0\.attn_out of llama still writes"):
        apply_weights(llama, Ablate(random_direction(llama)).at("attn_out"), OtherSide())
    assert same_bits(logits_of(llama), said)


def test_rounding_is_all_that_bfloat16_leaves() -> None:
    matrix = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    unit = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(1)), dim=0)
    change = applying.LinearMap.removing(unit[None], 1.0)
    new = edited_tensor(matrix, 0, change, Orthogonalise(), None)
    assert 0 < write_side(new, 0, change, None) < allowed_left(torch.bfloat16)
    assert write_side(matrix, 0, change, None) > 10 * allowed_left(torch.bfloat16)


def test_a_column_of_which_nothing_is_left_stays_nothing() -> None:
    unit = torch.eye(8)[:1]
    matrix = torch.cat([unit.T, torch.zeros(8, 1), torch.ones(8, 1)], dim=1)
    found = PreserveColumns()(matrix, applying.LinearMap.removing(unit, 1.0))
    assert torch.isfinite(found).all()
    assert found[:, 0].abs().max() < 1e-6
    assert found[:, 1].abs().max() == 0


def test_quantised_matrices_are_refused() -> None:
    change = applying.LinearMap.removing(torch.eye(4)[:1], 1.0)
    with pytest.raises(ModelError, match="quantised"):
        edited_tensor(torch.zeros(4, 4, dtype=torch.int8), 0, change, Orthogonalise(), None)


def test_the_edited_model_is_another_model(llama: Subject) -> None:
    recipe = Ablate(random_direction(llama)).at("all")
    with edited(llama, recipe) as changed:
        assert changed.digest != llama.digest
        with pytest.raises(DirectionError, match="was found in llama"):
            recipe.check_fits(changed)
