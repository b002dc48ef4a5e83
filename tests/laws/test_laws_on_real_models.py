"""The same laws on the catalog's models, in float32; and the control law, which only a real model can show."""

import pytest

from tests.conftest import REAL
from tests.laws import suite
from tests.laws.cases import EDITS
from workbench.models import Subject

pytestmark = pytest.mark.real


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest, real_subjects: dict[str, Subject]) -> Subject:
    return real_subjects[request.param]


@pytest.mark.parametrize("edit", EDITS)
def test_no_op_changes_no_bit(real: Subject, edit: str) -> None:
    suite.no_op(real, edit)


@pytest.mark.parametrize(("edit", "scope"), [("ablate", "all"), ("add", "generated"), ("add", "last")])
def test_cached_decoding_equals_uncached(real: Subject, edit: str, scope: str) -> None:
    suite.cache(real, edit, scope)


@pytest.mark.parametrize(("edit", "scope"), [("ablate", "all"), ("add", "generated")])
def test_a_prompt_says_the_same_alone_padded_and_beside_other_recipes(real: Subject, edit: str, scope: str) -> None:
    suite.batch(real, edit, scope)


@pytest.mark.parametrize(("edit", "scope"), [("ablate", "all"), ("add", "prompt")])
def test_a_recipe_on_one_row_changes_no_bit_of_another(real: Subject, edit: str, scope: str) -> None:
    suite.rows(real, edit, scope)


@pytest.mark.parametrize("edit", EDITS)
def test_nothing_is_left_behind(real: Subject, edit: str) -> None:
    suite.clean(real, edit)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_never_fired_is_an_error(real: Subject, edit: str) -> None:
    suite.fired(real, edit)
