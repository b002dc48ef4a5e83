"""Gates and schedules: decided where and when they say, and by what the stream was there."""

import pytest
import torch

from tests.conftest import random_direction
from tests.laws.cases import PROMPTS, head_direction, logits_of, same_bits
from workbench.directions import Coordinate, Cosine
from workbench.errors import DirectionError, RecipeError
from workbench.generation import generate
from workbench.interventions import Add, Gate, Recipe, Schedule, steered
from workbench.models import Layout, Site, Subject, token_rows
from workbench.runs import reporting
from workbench.runs.reporters import Silent


class Listening(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


def test_the_cosine_is_signed_and_the_coordinate_is_in_class_gaps(llama: Subject) -> None:
    direction, acts = random_direction(llama), torch.randn(2, 3, 32)
    cosine = torch.nn.functional.cosine_similarity(acts, direction.unit.expand_as(acts), dim=-1)
    torch.testing.assert_close(Cosine(direction)(acts), cosine)
    torch.testing.assert_close(Cosine(direction)(-acts), -cosine)
    torch.testing.assert_close(Coordinate(direction, bias=0.5)(acts), acts @ direction.unit / 4.0 + 0.5)
    assert float(Cosine(direction)(torch.zeros(1, 1, 32))) == 0.0


@pytest.mark.parametrize("decided", ["prompt", "last"])
@pytest.mark.parametrize("below", [False, True])
def test_a_gate_opens_the_rows_whose_prompts_say_so(llama: Subject, decided: str, below: bool) -> None:
    read, edit = random_direction(llama, 5), Add(random_direction(llama), 3.0)
    site = Site(1, "resid_pre")
    seen: list[torch.Tensor] = []
    with llama.hooked([(site, lambda acts, hook: seen.append(acts.clone()))]):
        plain = logits_of(llama)
    lengths = [len(row) for row in token_rows(llama, PROMPTS)]
    values = [read.coordinate(acts[-n:]) for acts, n in zip(seen[0], lengths, strict=True)]
    asked = [float(v[1:].mean() if decided == "prompt" else v[-1]) for v in values]  # without the first token
    threshold = sorted(asked)[1] - 1e-6  # two rows are above it
    gate = Gate(Coordinate(read, threshold), site, decided, below)
    with steered(llama, edit.at("2", gate=gate)):
        edited = logits_of(llama)
    for row, value in enumerate(asked):
        assert same_bits(edited[row], plain[row]) != ((value > threshold) != below)


def test_a_token_gate_edits_the_tokens_that_it_opens_for(llama: Subject) -> None:
    read, edit, site = random_direction(llama, 5), Add(random_direction(llama), 3.0), Site(1, "resid_pre")
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str):  # type: ignore[no-untyped-def]
        return lambda acts, hook: seen.__setitem__(name, acts.clone())

    with llama.hooked([(site, keep("before"))]):
        logits_of(llama)
    gate = Gate(Cosine(read, 0.05), site)
    with steered(llama, edit.at(1, gate=gate)), llama.hooked([(site, keep("after"))]):
        logits_of(llama)
    opened = Cosine(read)(seen["before"]) > 0.05
    assert opened.any()
    assert not opened.all()
    assert torch.equal(seen["after"][~opened], seen["before"][~opened])
    torch.testing.assert_close(seen["after"][opened], edit(seen["before"])[opened])


def test_a_gate_that_never_opens_is_said_and_is_no_error(llama: Subject) -> None:
    gate = Gate(Cosine(random_direction(llama), 2.0), Site(0, "resid_pre"))
    recipe = Add(random_direction(llama), 3.0).at(1, gate=gate)
    listening = Listening()
    with reporting(listening):
        said = generate(llama, PROMPTS, recipe, max_new_tokens=5)
    assert [r.tokens for r in said] == [r.tokens for r in generate(llama, PROMPTS, max_new_tokens=5)]
    assert any("if cosine(" in text and "never opened" in text for text in listening.heard)


def test_a_gate_that_cannot_be_asked_in_time_is_refused(llama: Subject) -> None:
    late = Gate(Cosine(random_direction(llama)), Site(2, "resid_pre"))
    with pytest.raises(RecipeError, match=r"read at 2\.resid_pre, after 1\.resid_pre, where it is needed"):
        Add(random_direction(llama)).at(1, gate=late).check_fits(llama)
    heads = Gate(Cosine(random_direction(llama)), Site(0, "attn_heads"))
    Add(random_direction(llama)).at(1, gate=heads).check_fits(llama)  # as wide, by chance
    with pytest.raises(RecipeError, match="decided by token, prompt, last"):
        Gate(Cosine(random_direction(llama)), Site(0, "resid_pre"), "sometimes")


def test_what_is_of_the_heads_stays_at_the_heads(llama: Subject) -> None:
    with pytest.raises(RecipeError, match="place it on attn_heads"):
        Add(head_direction(llama)).at(1).check_fits(llama)
    Add(head_direction(llama)).at("1.attn_heads").check_fits(llama)


def test_an_error_names_the_part_of_the_recipe(tiny_subjects: dict[str, Subject]) -> None:
    recipe = Add(random_direction(tiny_subjects["llama"])).at(1) + Add(random_direction(tiny_subjects["phi3"]), 2.0).at(
        2
    )
    with pytest.raises(DirectionError, match=r"2 \* add\(\w+\) @ 2: The direction was found in phi3"):
        recipe.check_fits(tiny_subjects["llama"])


def test_a_schedule_is_straight_between_its_points_and_exact_at_them() -> None:
    position = torch.arange(12)[None]
    layout = Layout(position, position >= 0, torch.tensor([3]), torch.zeros_like(position))
    shares = Schedule(((0, 1.0), (4, 0.0), (6, 0.5))).shares(layout)[0].tolist()
    assert shares == [1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.25, 0.5, 0.5, 0.5]
    for points in ((), ((-1, 1.0),), ((4, 1.0), (4, 0.0)), ((10**9, 1.0),)):
        with pytest.raises(RecipeError, match="not in order"):
            Schedule(points)
    with pytest.raises(RecipeError, match="not a finite number"):
        Schedule(((0, float("nan")),))


def test_a_schedule_that_has_faded_leaves_the_model_alone(llama: Subject) -> None:
    edit = Add(random_direction(llama), 3.0)
    faded = edit.at("all", schedule=Schedule(((0, 0.0), (1, 1.0))))
    plain = logits_of(llama)
    with steered(llama, faded):
        assert same_bits(logits_of(llama), plain)  # the prompt's share is that of the first token
    half = edit.at("all", "last", schedule=Schedule(((0, 0.5),)))
    with steered(llama, half):
        shared = logits_of(llama)
    with steered(llama, Add(edit.direction, 1.5).at("all", "last")):
        torch.testing.assert_close(shared, logits_of(llama), atol=1e-5, rtol=1e-5)


def test_the_empty_recipe_has_no_part(llama: Subject) -> None:
    assert (len(Recipe()), str(Recipe()), Recipe().seen) == (0, "nothing", frozenset())


@pytest.mark.parametrize("decided", ["prompt", "last"])
def test_the_mean_over_a_prompt_leaves_out_its_first_token_and_the_padding(llama: Subject, decided: str) -> None:
    position = torch.tensor([[-1, 0, 1, 2, 3], [0, 1, 2, 3, 4]])
    layout = Layout(position, position >= 0, torch.tensor([3, 4]), torch.zeros_like(position))
    direction = random_direction(llama, scale=1.0)
    values = torch.tensor([[99.0, 50.0, 1.0, 2.0, 77.0], [50.0, 1.0, 1.0, 4.0, 77.0]])
    acts = values[..., None] * direction.unit
    expected = [1.5, 2.0] if decided == "prompt" else [2.0, 4.0]
    for low, wanted in ((-0.01, True), (0.01, False)):
        for row in range(2):
            gate = Gate(Coordinate(direction, expected[row] + low), Site(0, "resid_pre"), decided)
            assert bool(gate.opened_rows(acts, layout)[row]) is wanted


@pytest.mark.parametrize("scope", ["2:5", "-3:2", "first 2", "generated no special"])
def test_an_edit_acts_on_the_tokens_in_scope_and_on_no_others_in_every_pass(tiny: Subject, scope: str) -> None:
    site, edit = Site(1, "resid_pre"), Add(random_direction(tiny), 3.0)
    seen: dict[str, list[torch.Tensor]] = {"before": [], "after": []}

    def keep(name: str):  # type: ignore[no-untyped-def]
        return lambda acts, hook: seen[name].append(acts[0].clone())

    with tiny.hooked([(site, keep("before"))]), steered(tiny, edit.at(1, scope)), tiny.hooked([(site, keep("after"))]):
        said = decoded_inside(tiny)
    before, after = (torch.cat(seen[name]) for name in ("before", "after"))
    changed = (before != after).any(dim=-1)
    row = token_rows(tiny, PROMPTS[1:2])[0]
    place, length = torch.arange(len(changed)), len(row)
    ids = torch.tensor([*row, *said])[: len(changed)]
    expected = {
        "2:5": (place >= 2) & (place < 5),
        "-3:2": (place >= length - 3) & (place < length + 2),
        "first 2": (place >= length) & (place < length + 2),
        "generated no special": (place >= length) & ~torch.isin(ids, torch.tensor(sorted(tiny.special_tokens))),
    }[scope]
    assert torch.equal(changed, expected)


def decoded_inside(subject: Subject) -> tuple[int, ...]:
    """Tokens decoded with a cache inside a block of somebody else's hooks."""
    row = token_rows(subject, PROMPTS[1:2])[0]
    said: list[int] = []
    cache = None
    for _ in range(5):
        ids = torch.tensor([row if not said else [said[-1]]])
        start = 0 if not said else len(row) + len(said) - 1
        position = torch.arange(start, start + ids.shape[1])[None]
        layout = Layout(position, torch.ones_like(ids, dtype=torch.bool), torch.tensor([len(row)]), ids)
        attention = torch.ones(1, len(row) + len(said), dtype=torch.bool)
        logits, cache = subject.step(ids, attention, layout, cache)
        said.append(int(logits.argmax()))
    return tuple(said)


@pytest.mark.parametrize("decided", ["prompt", "last"])
def test_reading_what_prompts_share_once_changes_no_gate_and_no_row(tiny: Subject, decided: str) -> None:
    gate = Gate(Coordinate(random_direction(tiny, 5)), Site(0, "resid_pre"), decided)
    gated = Add(random_direction(tiny), 3.0).at("all", gate=gate)
    batch = tiny.batch(token_rows(tiny, PROMPTS))
    for recipe in (
        gated,
        [gated, Recipe(), Add(random_direction(tiny)).at(1)],
        Add(random_direction(tiny)).at(1, "-4:1"),
    ):
        with steered(tiny, recipe):
            whole = tiny.logits(batch)[:, -1]
            shared = tiny.last_logits([batch])[0]
        torch.testing.assert_close(shared, whole, atol=1e-4, rtol=1e-4)
    nothing = Add(random_direction(tiny), 0.0).at("all", "-4:1", gate=gate)
    plain = tiny.last_logits([batch])[0]
    with steered(tiny, nothing):
        assert same_bits(tiny.last_logits([batch])[0], plain)


def test_a_share_of_an_edit_that_does_not_fit_the_dtype_fits_where_the_share_does(llama: Subject) -> None:
    huge = Add(random_direction(llama), strength=1e6 / random_direction(llama).scale)
    acts = torch.randn(1, 3, llama.d_model, generator=torch.Generator().manual_seed(0)).half()
    share = torch.full((1, 3, 1), 0.01)
    expected = (acts.float() + 0.01 * (huge(acts.float()) - acts.float())).half()
    assert torch.isfinite(huge.partly(acts, share)).all()
    torch.testing.assert_close(huge.partly(acts, share), expected, rtol=2e-3, atol=1e-2)
