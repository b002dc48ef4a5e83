"""The laws over every registered edit, every token scope and six architectures, in float32 and bfloat16."""

from pathlib import Path

import pytest

from tests.conftest import ARCHITECTURES
from tests.laws import suite
from tests.laws.cases import EDITS, SCOPES
from workbench.models import Subject, open_model


@pytest.fixture(scope="session")
def bfloat16_subjects(tiny_folders: dict[str, Path]) -> dict[str, Subject]:
    return {name: open_model(str(folder), dtype="bfloat16") for name, folder in tiny_folders.items()}


@pytest.mark.parametrize("edit", EDITS)
def test_no_op_changes_no_bit(tiny: Subject, edit: str) -> None:
    suite.no_op(tiny, edit)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("edit", EDITS)
def test_no_op_changes_no_bit_in_bfloat16(bfloat16_subjects: dict[str, Subject], architecture: str, edit: str) -> None:
    suite.no_op(bfloat16_subjects[architecture], edit)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_at_full_strength_changes_the_logits(tiny: Subject, edit: str) -> None:
    suite.changes(tiny, edit)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_cached_decoding_equals_uncached(tiny: Subject, edit: str, scope: str) -> None:
    suite.cache(tiny, edit, scope)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_a_prompt_says_the_same_alone_padded_and_beside_other_recipes(tiny: Subject, edit: str, scope: str) -> None:
    suite.batch(tiny, edit, scope)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_a_recipe_on_one_row_changes_no_bit_of_another(tiny: Subject, edit: str, scope: str) -> None:
    suite.rows(tiny, edit, scope)


@pytest.mark.parametrize("edit", EDITS)
def test_nothing_is_left_behind(tiny: Subject, edit: str) -> None:
    suite.clean(tiny, edit)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_never_fired_is_an_error(tiny: Subject, edit: str) -> None:
    suite.fired(tiny, edit)


@pytest.mark.parametrize("edit", EDITS)
def test_the_same_seed_says_the_same(tiny: Subject, edit: str) -> None:
    suite.repeats(tiny, edit)
