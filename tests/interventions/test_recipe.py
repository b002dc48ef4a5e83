"""Recipes: composed in order, JSON both ways, and clear about what cannot be."""

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import random_direction
from tests.laws.cases import PROMPTS, logits_of
from workbench.errors import DirectionError, RecipeError, RunError, UsageError
from workbench.interventions import Ablate, Add, Recipe, random_control, steered
from workbench.interventions.tokens import Tokens
from workbench.interventions.tuning import Tuned
from workbench.models import Layout, Site, Subject
from workbench.statistics import Score


def test_a_recipe_comes_back_from_disk_the_same(llama: Subject, tmp_path: Path) -> None:
    one, two = random_direction(llama, 1), random_direction(llama, 2)
    recipe = Ablate(one).at("all") + Add(two, 0.5).at(["1", Site(2, "mlp_out")], "generated") + Add(one, -1.0).at(0)
    loaded = Recipe.load(recipe.save(tmp_path / "r.json"))
    assert loaded.digest == recipe.digest
    assert str(loaded) == str(recipe)
    with steered(llama, recipe):
        expected = logits_of(llama)
    with steered(llama, loaded):
        assert torch.equal(logits_of(llama), expected)


def test_what_a_recipe_was_chosen_by_travels_with_it_and_its_scores_do_not_pass_to_another(
    llama: Subject, tmp_path: Path
) -> None:
    score = Score(name="harmful/refusal", value=0.5, low=0.2, high=0.8, n=8)
    plain = Add(random_direction(llama)).at(1)
    tuned = plain.tuned_by(Tuned(by="dose", prompts=("b", "a"), scores=(score,)))
    loaded = Recipe.load(tuned.save(tmp_path / "r.json"))
    assert (loaded.tuned, loaded.digest) == (tuned.tuned, tuned.digest)
    assert tuned.seen == {"a", "b"}
    assert "tuned" not in plain.to_json()
    again = tuned.turned("strength", 2.0)
    for other in (again, tuned + plain, plain + tuned, tuned.mapped(lambda placement: placement), tuned.on_prompt()):
        assert other.seen == {"a", "b"}
        assert other.tuned is not None
        assert other.tuned.scores == ()
    twice = again.tuned_by(Tuned(by="sweep", prompts=("c",), scores=(score,)))
    assert twice.seen == {"a", "b", "c"}
    assert twice.tuned is not None
    assert (twice.tuned.by, twice.tuned.scores) == ("sweep", (score,))


def test_a_direction_that_was_swapped_is_noticed(llama: Subject, tmp_path: Path) -> None:
    path = Ablate(random_direction(llama, 1)).at("all").save(tmp_path / "r.json")
    random_direction(llama, 2).save(next(tmp_path.glob("*.safetensors")))
    with pytest.raises(RecipeError, match="is not the direction that"):
        Recipe.load(path)


def test_placements_apply_in_order(llama: Subject) -> None:
    direction = random_direction(llama)
    add, ablate = Add(direction).at(1), Ablate(direction).at(1)
    with steered(llama, add + ablate):
        removed = logits_of(llama)
    with steered(llama, ablate + add):
        kept = logits_of(llama)
    with steered(llama, ablate):
        torch.testing.assert_close(removed, logits_of(llama), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(removed, kept, atol=1e-2)


def test_ablating_everywhere_leaves_nothing_along_the_direction(tiny: Subject) -> None:
    direction = random_direction(tiny)
    seen: dict[str, float] = {}

    def look(site: Site):  # type: ignore[no-untyped-def]
        def hook(acts: torch.Tensor, hook: object) -> None:
            seen[str(site)] = float((acts @ direction.unit).abs().max() / acts.norm(dim=-1).max())

        return hook

    sites = [Site(layer, "resid_pre") for layer in range(tiny.n_layers)]
    with steered(tiny, Ablate(direction).at("all")), tiny.hooked([(site, look(site)) for site in sites]):
        logits_of(tiny)
    assert len(seen) == tiny.n_layers
    assert max(seen.values()) < 1e-5


@pytest.mark.parametrize(
    ("spec", "count"), [("all", 9), ("1", 1), ("0-2", 3), ("mlp_out", 3), ("2.attn_out", 1), ("embed", 1)]
)
def test_sites_are_read_as_written(llama: Subject, spec: str, count: int) -> None:
    assert len(Ablate(random_direction(llama)).at(spec).placements[0].resolve(llama)) == count


@pytest.mark.parametrize("spec", ["nowhere", "1.nowhere", "-1", "", "1.5", "all "])
def test_a_site_that_cannot_be_read_is_refused(llama: Subject, spec: str) -> None:
    with pytest.raises(RecipeError):
        Ablate(random_direction(llama)).at(spec)


def test_a_place_that_is_not_there_names_the_part(llama: Subject) -> None:
    recipe = Add(random_direction(llama)).at(31)
    with pytest.raises(RecipeError, match=r"add\(\w{8}\) @ 31: no layer 31 in llama; .* 0-2"):
        recipe.check_fits(llama)
    with pytest.raises(RecipeError, match="run backwards"):
        Add(random_direction(llama)).at("2-1").check_fits(llama)


def test_heads_are_not_a_place_for_a_direction_of_the_stream(llama: Subject) -> None:
    with pytest.raises(RecipeError, match="place it on attn_out"):
        Add(random_direction(llama)).at("attn_heads").check_fits(llama)


def test_a_token_scope_that_is_not_there_is_refused(llama: Subject) -> None:
    with pytest.raises(RecipeError, match="no token scope 'sometimes'"):
        Add(random_direction(llama)).at(1, tokens="sometimes")


def test_scopes_mask_prompt_reply_and_padding_by_each_rows_own_count() -> None:
    # Row 0: two of padding, a prompt of two, a reply of one. Row 1: a prompt of four, a reply of one.
    position = torch.tensor([[-1, -1, 0, 1, 2], [0, 1, 2, 3, 4]])
    ids = torch.tensor([[9, 9, 5, 6, 7], [9, 5, 9, 6, 7]])
    layout = Layout(position, position >= 0, torch.tensor([2, 4]), ids)
    expected = {
        "prompt": [[0, 0, 1, 1, 0], [1, 1, 1, 1, 0]],
        "generated": [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]],
        "last": [[0, 0, 0, 1, 0], [0, 0, 0, 1, 0]],
        "1:3": [[0, 0, 0, 1, 1], [0, 1, 1, 0, 0]],
        "first 1": [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]],
        "-1:1": [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]],
        "-3:0": [[0, 0, 1, 1, 0], [0, 1, 1, 1, 0]],
        "all no special": [[0, 0, 1, 1, 1], [0, 1, 0, 1, 1]],
        "prompt no special": [[0, 0, 1, 1, 0], [0, 1, 0, 1, 0]],
    }
    for scope, wanted in expected.items():
        mask = Tokens(scope).mask(layout, torch.tensor([9]))
        assert mask.int().tolist() == wanted, scope


def test_a_scope_needs_to_know_the_tokens(llama: Subject) -> None:
    recipe = Add(random_direction(llama)).at(1, "generated")
    with pytest.raises(RecipeError, match="does not say which tokens are which"), steered(llama, recipe):
        llama.bridge(torch.tensor([[5, 6, 7]]))


def test_as_many_recipes_as_rows(llama: Subject) -> None:
    recipe = Add(random_direction(llama)).at(1)
    says = "2 recipes were given, one a row, for a batch of 3"
    with pytest.raises(RecipeError, match=says), steered(llama, [recipe, recipe]):
        logits_of(llama, PROMPTS)


def test_a_recipe_of_another_model_is_refused(tiny_subjects: dict[str, Subject]) -> None:
    recipe = Add(random_direction(tiny_subjects["llama"])).at(1)
    with pytest.raises(DirectionError, match="not in phi3"), steered(tiny_subjects["phi3"], recipe):
        pass


def test_a_damaged_recipe_is_one_sentence(llama: Subject, tmp_path: Path) -> None:
    path = (Add(random_direction(llama)).at(1)).save(tmp_path / "r.json")
    good = json.loads(path.read_text())
    part = good["placements"][0]
    for damage, error, says in [
        ({"schema_version": 99}, RecipeError, "newer workbench"),
        ({"placements": "x"}, RecipeError, "not a recipe"),
        ({"placements": [{"edit": "add"}]}, RecipeError, r"placements.0.arguments: Field required"),
        ({"schema_version": "1"}, RecipeError, "schema_version"),
        ({"schema_version": True}, RecipeError, "schema_version"),
        ({"more": 1}, RecipeError, "more: Extra"),
        ({"placements": [part | {"edit": "nothing"}]}, UsageError, "no edit called 'nothing'"),
        ({"placements": [part | {"arguments": part["arguments"] | {"strength": "1.0"}}]}, RecipeError, "strength"),
        ({"placements": [part | {"arguments": part["arguments"] | {"strength": None}}]}, RecipeError, "strength"),
        ({"placements": [part | {"arguments": part["arguments"] | {"depth": 1}}]}, RecipeError, "Part 1 .*'depth'"),
        ({"placements": [part | {"arguments": {"direction": 1.0}}]}, RecipeError, "Part 1 .*a direction, not a number"),
        ({"placements": [part | {"arguments": {}}]}, RecipeError, "Part 1 .*'direction'"),
        ({"placements": [part | {"schedule": [[0.5, 1]]}]}, RecipeError, "Part 1 .*not a token and a share"),
        ({"placements": [part | {"schedule": [[4, 1], [2, 0]]}]}, RecipeError, "Part 1 .*not in order"),
        ({"placements": [part | {"gate": {"readout": "coordinate"}}]}, RecipeError, "gate.direction: Field required"),
        ({"placements": [part | {"tokens": "0:99999999999999999999"}]}, RecipeError, "no token scope"),
        ({"placements": [part | {"sites": ["0-99999999999999"]}]}, RecipeError, "not a site"),
        ({"placements": [part | {"sites": ["x"]}]}, RecipeError, "not a site"),
        ({"placements": [part | {"arguments": {"direction": {"direction": "../x"}}}]}, RecipeError, "not a digest"),
    ]:  # fmt: skip
        path.write_text(json.dumps(good | damage))
        with pytest.raises(error, match=says):
            Recipe.load(path)
    for text in ("{", "[" * 100_000, '{"a": ' + "9" * 5000 + "}"):
        path.write_text(text)
        with pytest.raises(RunError, match="not readable JSON"):
            Recipe.load(path)
    with pytest.raises(RunError, match=r"cannot be read: .*directory"):
        Recipe.load(tmp_path)


def test_a_huge_range_of_layers_is_refused_before_it_is_made(llama: Subject) -> None:
    with pytest.raises(RecipeError, match=r"no layer 999999999 in llama; it has layers 0-2"):
        Add(random_direction(llama)).at("0-999999999").check_fits(llama)


def test_the_control_is_the_same_recipe_along_other_directions(llama: Subject) -> None:
    direction = random_direction(llama)
    recipe = Ablate(direction).at("all") + Add(direction, 2.0).at(1, "generated")
    control = random_control(llama, recipe, PROMPTS)
    assert [(p.sites, p.tokens) for p in control.placements] == [(p.sites, p.tokens) for p in recipe.placements]
    ablated, added = control.directions
    assert abs(float(ablated.unit @ direction.unit)) < 1e-5
    assert abs(float(added.unit @ direction.unit)) < 1e-5
    assert added.scale == direction.scale
    assert ablated.quality["match_ratio"] == pytest.approx(1.0, abs=0.05)
    assert control.digest == random_control(llama, recipe, PROMPTS).digest
    assert control.digest != random_control(llama, recipe, PROMPTS, seed=5).digest
