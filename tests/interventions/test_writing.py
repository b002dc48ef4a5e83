"""The written form: read, written, read again the same; and errors that point at the character."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import random_direction
from tests.laws.cases import EDITS, SCOPES, WHENS, a_recipe, an_edit, when
from workbench.directions import Asset, Cosine
from workbench.errors import RecipeError, UsageError
from workbench.interventions import Ablate, Add, Gate, Placebo, Recipe, Rotate, Schedule, parse_recipe
from workbench.models import Subject


def names(subject: Subject) -> Callable[[str], Asset]:
    held: dict[str, Asset] = {name: random_direction(subject, seed) for seed, name in enumerate(("refusal", "formal"))}

    def find(name: str) -> Asset:
        if name not in held:
            raise UsageError(f"There is no direction called {name!r}; there are: {', '.join(held)}.")
        return held[name]

    return find


def by_digest(recipe: Recipe) -> Callable[[str], Asset]:
    return lambda name: next(asset for asset in recipe.assets if asset.digest.startswith(name))


def test_the_example_is_read_as_it_is_meant(llama: Subject) -> None:
    find = names(llama)
    found = parse_recipe("ablate(refusal) @ all + 0.5 * add(formal) @ 1 [generated]", find)
    expected = Ablate(find("refusal")).at("all") + Add(find("formal"), 0.5).at(1, "generated")  # type: ignore[arg-type]
    assert found.digest == expected.digest
    assert parse_recipe(" nothing ", find) == Recipe()
    turned = parse_recipe('rotate("refusal", formal, degrees=-45, adaptive=true) @ 1-2, 0.mlp_out', find)
    edit = turned.placements[0].edit
    assert isinstance(edit, Rotate)
    assert (edit.degrees, edit.adaptive, turned.placements[0].sites) == (-45.0, True, ("1-2", "0.mlp_out"))
    gated = parse_recipe("-2 * add(formal) @ 2 ~ 0:1, 8:0 if cosine(refusal, bias=-0.5) <= 0.25 @ 1 on prompt", find)
    gate, schedule = gated.placements[0].gate, gated.placements[0].schedule
    assert gate is not None
    assert (gate.below, gate.decided, str(gate.site), gate.readout.threshold, gate.readout.bias) == (
        True, "prompt", "1.resid_pre", 0.25, -0.5,
    )  # fmt: skip
    assert schedule is not None
    assert schedule.points == ((0, 1.0), (8, 0.0))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("edit", EDITS)
def test_what_is_written_is_read_as_the_same_recipe(llama: Subject, edit: str, scope: str) -> None:
    recipe = a_recipe(edit, llama, scope, strength=-0.25 if edit == "add" else 0.25) + a_recipe("add", llama)
    assert parse_recipe(str(recipe), by_digest(recipe)).digest == recipe.digest
    assert Recipe.from_json(recipe.to_json(), by_digest(recipe)).digest == recipe.digest


@pytest.mark.parametrize("name", WHENS)
def test_conditions_are_written_and_read_the_same(llama: Subject, name: str) -> None:
    recipe = an_edit("add", llama).at(1, "generated", **when(name, llama))
    assert parse_recipe(str(recipe), by_digest(recipe)).digest == recipe.digest
    assert Recipe.from_json(recipe.to_json(), by_digest(recipe)).digest == recipe.digest


@pytest.mark.parametrize("strength", [1e-20, 0.1 + 0.2, -1e6, 1e22, 123456789.0, 1e-7, -0.0625])
def test_odd_numbers_are_written_and_read_the_same(llama: Subject, strength: float) -> None:
    schedule = Schedule(((0, strength), (3, 1.0)))
    gate = Gate(Cosine(random_direction(llama), strength, strength), random_direction(llama).site)
    recipe = Add(random_direction(llama), strength).at(1, schedule=schedule, gate=gate)
    assert parse_recipe(str(recipe), by_digest(recipe)).digest == recipe.digest
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json())), by_digest(recipe)).digest == recipe.digest


def test_whole_numbers_are_kept_as_what_they_are_fields_of(llama: Subject) -> None:
    edit = Placebo(an_edit("ablate", llama), seed=2**53 + 1)
    recipe = edit.at(1)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json())), by_digest(recipe)).digest == recipe.digest
    assert (
        parse_recipe("- 2 * add(refusal) @ 1", names(llama)).digest == Add(random_direction(llama), -2.0).at(1).digest
    )


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("", 1, "an edit is expected"),
        ("ablate", 7, r"\( after the edit's name"),
        ("ablate(refusal @ all", 16, r", or \)"),
        ("ablate(refusal)", 16, "the sites"),
        ("ablate(refusal) @", 18, "a site is expected"),
        ("ablate(refusal) @ everywhere", 1, "'everywhere' is not a site"),
        ("ablate(refusal) @ all [sometimes]", 1, "no token scope 'sometimes'"),
        ("ablate(refusal) @ all add", 23, r"\+ or the end"),
        ("ablate(refusal) @ all + ", 25, "an edit is expected"),
        ("melt(refusal) @ all", 1, "no edit called 'melt'"),
        ("ablate(kindness) @ all", 8, "no direction called 'kindness'"),
        ("ablate(refusal, formal) @ all", 1, "'strength'|a number, not a direction"),
        ("ablate() @ all", 1, "needs 'direction'|needs .*direction"),
        ("ablate(refusal, depth=2) @ all", 1, "no 'depth'"),
        ("ablate(refusal, strength=many) @ all", 26, "a number, true or false is expected, not 'many'"),
        ("ablate(refusal, strength=1e999) @ all", 26, "the number is inf"),
        ("rotate(refusal, refusal) @ 1", 1, "axes are parallel"),
        ("add(refusal) @ 1 ~ 4:1, 2:0", 20, "not in order"),
        ("add(refusal) @ 1 if melt(refusal) > 0", 21, "no readout called 'melt'"),
        ("add(refusal) @ 1 if cosine(refusal) = 0", 37, "> or <="),
        ("add(refusal) @ 1 if cosine(refusal) > 0 @ 1.x", 43, "no stream 'x'"),
        ("add(refusal) @ 1 if cosine(refusal) > 0 on tuesday", 44, "not by 'tuesday'"),
        ("add(refusal) @ 1 ; rm", 18, "';' is not understood"),
        ("placebo(" * 9 + "ablate(refusal)" + ")" * 9 + " @ all", 41, "edits inside edits"),
        ("ablate(refusal, strength=1, strength=0) @ all", 1, "given twice"),
        ("add(refusal) @ 1 [2:-1]", 1, "holds no token"),
        ("add(refusal) @ 1 [10:3]", 1, "holds no token"),
        ("add(refusal) @ 1 ~ 1.7:1", 20, "is whole, not 1.7"),
        ("add(refusal) @ 1 ~ 1e999:1", 20, "the number is inf"),
        ("placebo(ablate(refusal), seed=1e300) @ 1", 1, "seed is 1e.300"),
        ("placebo(ablate(refusal), seed=-1) @ 1", 1, "seed is -1"),
        ("add(refusal) @ 1 if cosine(refusal) > 1e999", 39, "the number is inf"),
    ],
)
def test_an_error_points_at_the_character(llama: Subject, text: str, at: int, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_recipe(text, names(llama))
    first, shown, pointer = str(caught.value).split("\n")
    assert f"character {at}:" in first
    assert shown.strip() == text.strip()
    assert pointer.index("^") == at + 1  # indented by two


@given(text=st.text(alphabet='ablte()@+*[]~:,.0123456789 -=<>"éx\n', max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_recipe_or_one_clear_error(text: str) -> None:
    def nobody(name: str) -> Asset:
        raise UsageError(f"There is no direction called {name!r}.")

    said = "Recipe, character "
    try:
        parse_recipe(text, nobody)
    except UsageError as error:
        said = str(error)
    assert said.startswith("Recipe, character ")


def test_a_recipe_of_a_book_s_length_is_refused(llama: Subject) -> None:
    with pytest.raises(RecipeError, match="use a recipe file"):
        parse_recipe("add(refusal) @ 1 + " * 1000, names(llama))
