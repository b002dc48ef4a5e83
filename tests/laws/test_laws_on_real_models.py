"""The same laws on the catalog's models, in float32; and the control law, which only a real model can show."""

from statistics import fmean

import pytest

from tests.conftest import REAL
from tests.laws import suite
from tests.laws.cases import EDITS
from workbench.activations import capture
from workbench.directions import extract_directions
from workbench.interventions import Ablate, Add, Recipe, random_control
from workbench.models import Site, Subject
from workbench.prompts import builtin_pairs
from workbench.search.refusal import batches, metric_of, refusal_tokens

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


def test_a_random_control_has_about_no_effect_where_the_real_direction_has(
    real_subjects: dict[str, Subject],
) -> None:
    """11. On refused prompts ablation lowers the refusal log-odds; its matched random control hardly moves them.

    On harmless prompts the same holds of addition, the other way.
    """
    subject = real_subjects["qwen2.5-coder-0.5b-instruct"]
    train, test = builtin_pairs("train"), builtin_pairs("test")
    site = Site(18, "resid_pre")
    both = (train.positive.sample(24), train.negative.sample(24))
    sides = [capture(subject, side, sites=[site], positions=[-1]) for side in both]
    direction = extract_directions(subject, *sides)[-1, site]
    tokens = refusal_tokens(subject, train.positive).ids
    for recipe, prompts, sign in [
        (Ablate(direction).at("all"), test.positive.sample(16), -1),
        (Add(direction).at(18), test.negative.sample(16), 1),
    ]:
        control = random_control(subject, recipe, prompts)
        prepared = batches(subject, prompts, 16)
        plain, real, random = (fmean(metric_of(subject, prepared, one, tokens)) for one in (Recipe(), recipe, control))
        assert sign * (real - plain) > 3.0, (recipe, plain, real)
        assert abs(random - plain) < 0.25 * abs(real - plain), (recipe, plain, real, random)
