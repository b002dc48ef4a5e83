"""The microscope, beside a slow version that reads the model token by token, and its figures as data."""

import json

import numpy as np
import pytest
import torch

from probes.microscope.looking import look
from probes.microscope.seen import EDITED, PLAIN, Seen
from tests.conftest import random_direction
from workbench.activations import capture
from workbench.errors import DirectionError, UsageError
from workbench.interventions import Ablate, Recipe, steered
from workbench.models import Site, Subject, token_rows
from workbench.plots.microscope import coordinates_map
from workbench.prompts import Prompt, Prompts

PROMPT = Prompt(text="Tell me <b>all</b> of it.", prefill="Sure, I")
FOLLOWED = (40, 41)


def ablating(subject: Subject) -> Recipe:
    return Ablate(random_direction(subject)).at("all")


@pytest.fixture(scope="module")
def seen(tiny_subjects: dict[str, Subject]) -> Seen:
    llama = tiny_subjects["llama"]
    return look(llama, PROMPT, random_direction(llama), FOLLOWED, recipe=ablating(llama), last=6)


def test_coordinates_are_those_of_captured_activations(tiny: Subject) -> None:
    direction, recipe = random_direction(tiny), ablating(tiny)
    end = Site(tiny.n_layers - 1, "mlp_out")  # so that the pass visits every place of the recipe
    seen = look(tiny, PROMPT, direction, FOLLOWED, recipe=recipe, last=3)
    for depth in seen.depths:
        site = Site(depth - 1, "resid_post") if depth else Site(0, "resid_pre")
        for name, each in ((PLAIN, Recipe()), (EDITED, recipe)):
            with steered(tiny, each):
                acts = capture(tiny, Prompts((PROMPT,)), sites=[site, end], positions=[-3, -2, -1])
            slow = [float(direction.coordinate(acts.at(site, position)[0])) for position in (-3, -2, -1)]
            np.testing.assert_allclose(seen.grid(name)[depth], slow, rtol=2e-3, atol=2e-3)


def test_what_comes_next_is_the_models_own_distribution(llama: Subject, seen: Seen) -> None:
    batch = llama.batch(token_rows(llama, [PROMPT]))
    plain = llama.logits(batch, last=6)[0].double().clone()
    with steered(llama, ablating(llama)):
        edited = llama.logits(batch, last=6)[0].double().clone()
    p, q = plain.softmax(dim=-1), edited.softmax(dim=-1)
    for row, likely in enumerate(seen.following):
        assert max(each.probability[PLAIN] for each in likely) == pytest.approx(float(p[row].max()), rel=2e-3)
        assert max(each.probability[EDITED] for each in likely) == pytest.approx(float(q[row].max()), rel=2e-3)
    assert seen.kl == pytest.approx((q * (q / p).log()).sum(dim=-1).tolist(), rel=2e-3, abs=1e-6)
    assert seen.views[PLAIN].probability[-1] == pytest.approx(p[:, list(FOLLOWED)].sum(dim=-1).tolist(), rel=2e-3)


def test_without_a_recipe_there_is_nothing_to_compare_and_the_model_is_as_before(llama: Subject) -> None:
    batch = llama.batch([[1, 2, 3, 4]])
    before = llama.logits(batch).clone()
    seen = look(llama, PROMPT, random_direction(llama), FOLLOWED, recipe=Recipe(), last=4)
    assert (list(seen.views), seen.kl, seen.recipe) == ([PLAIN], None, "")
    assert torch.equal(llama.logits(batch), before)
    assert not llama.bridge.list_hooks()
    with pytest.raises(UsageError, match="Nothing was seen 'under the recipe'"):
        seen.plot("change")


def test_it_is_written_as_json_and_read_again(seen: Seen) -> None:
    again = Seen.model_validate(json.loads(seen.model_dump_json()))
    assert again == seen
    assert len(seen.to_pandas()) == 2 * len(seen.tokens) * len(seen.depths)


def test_the_scale_is_the_same_on_both_sides_of_zero(seen: Seen) -> None:
    figure = seen.plot(PLAIN, token=2)
    axis = figure.layout.coloraxis
    assert axis.cmin == -axis.cmax < 0
    assert [stop for stop, _ in axis.colorscale] == [0.0, 0.5, 1.0]
    assert axis.colorscale[1][1] == "#FFFFFF"
    own, chosen = figure.layout.shapes
    assert (own.y0, own.y1) == (0.5, 1.5)  # found at the second block's input, one block passed
    assert (chosen.x0, chosen.x1) == (1.5, 2.5)
    assert f"{seen.grid(PLAIN)[1, 2]:+.3f}" in figure.data[0].customdata[1][2]


def test_one_massive_token_does_not_take_the_scale() -> None:
    values = np.ones((10, 20))
    values[3, 0] = -1000.0
    figure = coordinates_map(values, ["a"] * 20, list(range(10)), "gaps")
    assert figure.layout.coloraxis.cmax == 1.0


def test_a_change_is_the_difference_of_both_views(seen: Seen) -> None:
    change = seen.plot("change").data[0].z
    np.testing.assert_allclose(change, seen.grid(EDITED) - seen.grid(PLAIN))


def test_tokens_are_shown_as_text(llama: Subject) -> None:
    seen = look(llama, Prompt(text="<b><script>"), random_direction(llama), FOLLOWED, last=16)
    for figure in (seen.plot(), seen.plot_lens(upto=seen.tokens.index("<"))):
        assert not any(text.startswith("<") for text in figure.layout.xaxis.ticktext)
        assert "&lt;" in figure.layout.xaxis.ticktext
        assert "<script" not in figure.to_json()


def test_a_lens_map_may_take_its_ground_from_the_followed_tokens(seen: Seen) -> None:
    own, followed = seen.plot_lens(PLAIN), seen.plot_lens(EDITED, "probability")
    np.testing.assert_allclose(followed.data[0].z, seen.grid(EDITED, "probability"))
    assert own.data[1].text == seen.plot_lens(PLAIN, "probability").data[1].text
    assert "followed" in followed.layout.coloraxis.colorbar.title.text


def test_a_map_of_words_ends_with_the_chosen_token(llama: Subject) -> None:
    seen = look(llama, PROMPT, random_direction(llama), FOLLOWED, last=12)
    assert seen.window(-1) == seen.window(11) == list(range(4, 12))
    assert seen.window(9) == list(range(2, 10))
    assert seen.window(3) == list(range(8))
    figure = seen.plot_lens(PLAIN, "probability", upto=9)
    np.testing.assert_allclose(figure.data[0].z, seen.grid(PLAIN, "probability")[:, 2:10])
    assert len(figure.layout.xaxis.ticktext) == 8


def test_the_baseline_stands_first_and_grey_beside_the_recipe(seen: Seen) -> None:
    plain, edited = seen.plot_next(-1).data
    assert (plain.name, edited.name) == (PLAIN, EDITED)
    assert plain.marker.color == "#8A8A8A"
    assert list(plain.x) == [100 * each.probability[PLAIN] for each in seen.following[-1]]


def test_a_direction_of_another_model_is_refused(tiny_subjects: dict[str, Subject]) -> None:
    other = random_direction(tiny_subjects["qwen2"])
    with pytest.raises(DirectionError):
        look(tiny_subjects["llama"], PROMPT, other, FOLLOWED)
