"""The laws over every registered edit, every token scope, gates and schedules, and six architectures."""

from functools import partial
from pathlib import Path

import pytest

from tests.conftest import ARCHITECTURES
from tests.laws import suite
from tests.laws.cases import EDITS, SCOPES, WHENS, a_recipe, an_edit, when
from workbench.interventions import Recipe
from workbench.models import Subject, open_model

GATED = ("ablate", "add", "rotate")


@pytest.fixture(scope="session")
def bfloat16_subjects(tiny_folders: dict[str, Path]) -> dict[str, Subject]:
    return {name: open_model(str(folder), dtype="bfloat16") for name, folder in tiny_folders.items()}


@pytest.fixture(params=ARCHITECTURES)
def bfloat16(request: pytest.FixtureRequest, bfloat16_subjects: dict[str, Subject]) -> Subject:
    return bfloat16_subjects[request.param]


def conditional(edit: str, name: str, subject: Subject, seed: int = 0) -> Recipe:
    return an_edit(edit, subject, seed=seed).at("all", **when(name, subject))


@pytest.mark.parametrize("edit", EDITS)
def test_no_op_changes_no_bit(tiny: Subject, edit: str) -> None:
    suite.no_op(tiny, edit)


@pytest.mark.parametrize("edit", EDITS)
def test_no_op_changes_no_bit_in_bfloat16(bfloat16: Subject, edit: str) -> None:
    suite.no_op(bfloat16, edit)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_at_full_strength_changes_the_logits(tiny: Subject, edit: str) -> None:
    suite.changes(tiny, edit)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_cached_decoding_equals_uncached(tiny: Subject, edit: str, scope: str) -> None:
    suite.cache(tiny, partial(a_recipe, edit, tiny, scope))


@pytest.mark.parametrize("name", WHENS)
@pytest.mark.parametrize("edit", GATED)
def test_cached_decoding_equals_uncached_under_a_condition(tiny: Subject, edit: str, name: str) -> None:
    suite.cache(tiny, partial(conditional, edit, name, tiny))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_a_prompt_says_the_same_alone_padded_and_beside_other_recipes(tiny: Subject, edit: str, scope: str) -> None:
    suite.batch(tiny, partial(a_recipe, edit, tiny, scope))


@pytest.mark.parametrize("name", WHENS)
@pytest.mark.parametrize("edit", GATED)
def test_a_condition_says_the_same_alone_padded_and_beside_other_recipes(tiny: Subject, edit: str, name: str) -> None:
    suite.batch(tiny, partial(conditional, edit, name, tiny))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_streaming_equals_generating(tiny: Subject, edit: str, scope: str) -> None:
    suite.streams(tiny, partial(a_recipe, edit, tiny, scope))


@pytest.mark.parametrize("scope", ["all", "generated"])
@pytest.mark.parametrize("edit", EDITS)
def test_streaming_equals_generating_in_bfloat16(bfloat16: Subject, edit: str, scope: str) -> None:
    suite.streams(bfloat16, partial(a_recipe, edit, bfloat16, scope))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_a_recipe_on_one_row_changes_no_bit_of_another(tiny: Subject, edit: str, scope: str) -> None:
    suite.rows(tiny, partial(a_recipe, edit, tiny, scope), changed=scope in ("all", "prompt"))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_a_recipe_on_one_row_changes_no_bit_of_another_in_bfloat16(bfloat16: Subject, edit: str, scope: str) -> None:
    suite.rows(bfloat16, partial(a_recipe, edit, bfloat16, scope), changed=scope in ("all", "prompt"))


@pytest.mark.parametrize("name", WHENS)
@pytest.mark.parametrize("edit", GATED)
def test_a_condition_on_one_row_changes_no_bit_of_another(tiny: Subject, edit: str, name: str) -> None:
    suite.rows(tiny, partial(conditional, edit, name, tiny), changed=False)


@pytest.mark.each
@pytest.mark.parametrize("edit", EDITS)
def test_nothing_is_left_behind(tiny: Subject, edit: str) -> None:
    suite.clean(tiny, edit)


@pytest.mark.each
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_never_fired_is_an_error(tiny: Subject, edit: str) -> None:
    suite.fired(tiny, edit)


@pytest.mark.parametrize("edit", EDITS)
def test_edited_weights_are_the_same_edit(tiny: Subject, edit: str) -> None:
    suite.other_form(tiny, edit)


@pytest.mark.parametrize("edit", ["ablate", "ablate-subspace"])
def test_the_write_side_is_clear(tiny: Subject, edit: str) -> None:
    suite.write_side(tiny, edit)


@pytest.mark.each
@pytest.mark.parametrize("edit", EDITS)
def test_the_same_seed_says_the_same(tiny: Subject, edit: str) -> None:
    suite.repeats(tiny, edit)


@pytest.mark.parametrize("edit", EDITS)
def test_its_strength_grows_from_nothing_without_a_jump(llama: Subject, edit: str) -> None:
    suite.strengths(llama, edit)
