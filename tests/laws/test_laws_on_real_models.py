"""The same laws on the catalog's models, in float32; and the control law, which only a real model can show."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean

import pytest

from tests.conftest import REAL
from tests.hardware import needs_bfloat16
from tests.laws import suite
from tests.laws.cases import a_recipe
from workbench.activations import capture
from workbench.directions import extract_directions
from workbench.evaluation.refusal import metric_of, refusal_tokens
from workbench.interventions import Ablate, Add, Recipe, random_control
from workbench.models import Site, Subject, token_rows
from workbench.prompts import Prompts, builtin_pairs

pytestmark = pytest.mark.real
EMBEDDED, SMALL = REAL
SAMPLE = ("ablate", "add", "add-heads", "placebo", "rotate")  # the tiny models have them all


def on_both(names: str, cases: Sequence[str | tuple[str, str]]) -> pytest.MarkDecorator:
    """Each case on the small model, the first on the embedded one as well, which takes five times as long a case."""
    listed = [(case,) if isinstance(case, str) else case for case in cases]
    rest = [pytest.param(EMBEDDED, *case, marks=pytest.mark.product) for case in listed[1:]]
    every = [*(pytest.param(SMALL, *case) for case in listed), pytest.param(EMBEDDED, *listed[0]), *rest]
    return pytest.mark.parametrize(f"real, {names}", every, indirect=["real"])


@pytest.fixture
def real(request: pytest.FixtureRequest, real_subjects: dict[str, Subject]) -> Subject:
    return real_subjects[request.param]


@on_both("edit", SAMPLE)
def test_no_op_changes_no_bit(real: Subject, edit: str) -> None:
    suite.no_op(real, edit)


@on_both("edit, scope", [("ablate", "all"), ("add", "generated"), ("add", "last"), ("rotate", "first 3")])
def test_cached_decoding_equals_uncached(real: Subject, edit: str, scope: str) -> None:
    suite.cache(real, partial(a_recipe, edit, real, scope))


@on_both("edit, scope", [("ablate", "all"), ("add", "generated")])
def test_a_prompt_says_the_same_alone_padded_and_beside_other_recipes(real: Subject, edit: str, scope: str) -> None:
    suite.batch(real, partial(a_recipe, edit, real, scope))


@on_both("edit, scope", [("ablate", "all"), ("affine", "generated"), ("add-heads", "all")])
def test_streaming_equals_generating(real: Subject, edit: str, scope: str) -> None:
    suite.streams(real, partial(a_recipe, edit, real, scope))


@on_both("edit, scope", [("ablate", "all"), ("add", "prompt")])
def test_a_recipe_on_one_row_changes_no_bit_of_another(real: Subject, edit: str, scope: str) -> None:
    suite.rows(real, partial(a_recipe, edit, real, scope), changed=scope == "prompt")


@on_both("edit", SAMPLE)
def test_nothing_is_left_behind(real: Subject, edit: str) -> None:
    suite.clean(real, edit)


@on_both("edit", SAMPLE)
def test_an_edit_that_never_fired_is_an_error(real: Subject, edit: str) -> None:
    suite.fired(real, edit)


@on_both("edit", ["ablate", "ablate-subspace", "add", "rotate"])
def test_edited_weights_are_the_same_edit(real: Subject, edit: str) -> None:
    suite.other_form(real, edit)


@on_both("edit", ["ablate"])
def test_the_write_side_is_clear(real: Subject, edit: str) -> None:
    suite.write_side(real, edit)


@needs_bfloat16
def test_a_random_control_has_about_no_effect_where_the_real_direction_has(
    real_subjects: dict[str, Subject],
) -> None:
    """11. On prompts that are refused, ablation takes the refusal away; on harmless ones, addition brings it.

    Three draws of the matched random control move the same log-odds by less than a quarter of that, on average.
    """
    subject = real_subjects["qwen2.5-coder-0.5b-instruct"]
    train, test = builtin_pairs("train"), builtin_pairs("test")
    tokens = refusal_tokens(subject, train.positive).ids
    refused, tested = (_refused(subject, side, tokens) for side in (train.positive, test.positive))
    site = Site(18, "resid_pre")
    both = (refused, train.negative.sample(len(refused)))
    sides = [capture(subject, side, sites=[site], positions=[-1]) for side in both]
    direction = extract_directions(subject, *sides)[-1, site]
    for recipe, prompts, sign in [
        (Ablate(direction).at("all"), tested, -1),
        (Add(direction).at(18), test.negative.sample(len(tested)), 1),
    ]:
        prepared = subject.batches(token_rows(subject, prompts), 32)
        plain, real = (fmean(metric_of(subject, prepared, one, tokens)) for one in (Recipe(), recipe))
        controls = [random_control(subject, recipe, prompts, seed) for seed in range(3)]
        moved = [abs(fmean(metric_of(subject, prepared, one, tokens)) - plain) for one in controls]
        assert sign * (real - plain) > 1.0, (str(recipe), plain, real)
        assert fmean(moved) < abs(real - plain) / 4, (str(recipe), plain, real, moved)


def _refused(subject: Subject, prompts: Prompts, tokens: tuple[int, ...]) -> Prompts:
    scores = metric_of(subject, subject.batches(token_rows(subject, prompts), 32), Recipe(), tokens)
    return prompts.pick([index for index, score in enumerate(scores) if score > 0])
