"""Divergence and readouts against slow, independent computations, and what a destroyed model scores."""

import pytest
import torch

from tests.conftest import random_direction
from workbench.activations import capture
from workbench.evaluation import Ground, Item, Settings, measure
from workbench.evaluation.metrics.divergence import Divergence
from workbench.evaluation.metrics.first_token import first_token_kl
from workbench.evaluation.metrics.readouts import Readouts
from workbench.evaluation.suites import Suite
from workbench.generation import generate
from workbench.interventions import Ablate, Add, Recipe, steered
from workbench.models import Subject, open_model, token_rows
from workbench.prompts import ContrastPairs, Prompts

ASKED = Prompts.of(["Tell me a story.", "Why?", "Name a river.", "What is the tallest mountain on the moon?"])


def ground(subject: Subject) -> Ground:
    return Ground(subject, {"harmful": ASKED, "harmless": ASKED}, batch_size=3)


def by_hand(subject: Subject, recipe: Recipe, tokens: int) -> list[list[float]]:
    """KL at each position, prompt by prompt, with nothing padded and nothing shared."""
    found = []
    for prompt in ASKED:
        row, said = token_rows(subject, [prompt])[0], generate(subject, Prompts((prompt,)), max_new_tokens=tokens)[0]
        batch = subject.batch([[*row, *said.tokens]])
        base = subject.logits(batch)[0].double().log_softmax(-1)
        with steered(subject, recipe):
            edited = subject.logits(batch)[0].double().log_softmax(-1)
        kl = (base.exp() * (base - edited)).sum(-1)[len(row) - 1 :]
        found.append(kl.tolist()[: None if said.finished else -1])
    return found


@pytest.mark.parametrize("kind", ["ablate", "add"])
def test_divergence_at_each_position_is_the_slow_ones(tiny: Subject, kind: str) -> None:
    direction = random_direction(tiny)
    recipe = Ablate(direction).at("all") if kind == "ablate" else Add(direction).at(1)
    items = Divergence(tokens=6).observe(ground(tiny), recipe)
    expected = by_hand(tiny, recipe, 6)
    for item, row in zip(items, expected, strict=True):
        assert item.series["kl"] == pytest.approx(row, abs=2e-4)
        assert item.values["first_token_kl"] == pytest.approx(row[0], abs=2e-4)
        assert item.values["kl"] == pytest.approx(sum(row[1:]) / len(row[1:]), abs=2e-4)
    first = first_token_kl(tiny, ASKED, recipe)
    assert first == pytest.approx([row[0] for row in expected], abs=2e-4)


def test_an_edit_of_the_reply_alone_does_its_damage_after_the_first_token(llama: Subject) -> None:
    recipe = Add(random_direction(llama), 3.0).at("all", tokens="generated")
    for item in Divergence(tokens=6).observe(ground(llama), recipe):
        assert item.values["first_token_kl"] == pytest.approx(0.0, abs=1e-9)
        assert (item.values["kl"] or 0.0) > 0.01


def test_cross_entropy_on_ones_own_reply_is_that_of_torch(llama: Subject) -> None:
    item: Item = Divergence(tokens=5).observe(ground(llama), Recipe())[0]
    said = generate(llama, ASKED, max_new_tokens=5)[0]
    row = token_rows(llama, [ASKED[0]])[0]
    logits = llama.logits(llama.batch([[*row, *said.tokens]]))[0, len(row) - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits.double(), torch.tensor(said.tokens))
    assert item.values["own_cross_entropy"] == pytest.approx(float(expected), abs=1e-4)


def test_readouts_move_by_what_is_added_also_where_edits_come_after_them(llama: Subject) -> None:
    along, across = random_direction(llama, 1), random_direction(llama, 2)
    recipe = Add(along, 1.0).at(1) + Add(across, 1.0).at(2)  # the second comes after both readouts
    metric = Readouts((("along", along), ("across", across)))
    before, after = (metric.observe(ground(llama), each) for each in (Recipe(), recipe))
    cosine = float(along.unit @ across.unit)
    plain = along.coordinate(capture(llama, ASKED, sites=[along.site], positions=[-1]).at(along.site, -1))
    assert [item.values["along"] for item in before] == pytest.approx(plain.tolist(), abs=1e-4)
    for one, two in zip(before, after, strict=True):
        assert (two.values["along"] or 0) - (one.values["along"] or 0) == pytest.approx(1.0, abs=1e-3)
        assert (two.values["across"] or 0) - (one.values["across"] or 0) == pytest.approx(cosine, abs=1e-3)


def destroyed(folder: str, how: str) -> Subject:
    subject = open_model(folder, dtype="float32")
    model = subject.bridge.original_model
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if how == "noise":
            for weight in model.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator))
            return subject
        head = model.get_output_embeddings()
        token = subject.tokenizer.eos_token_id if how == "empty" else subject.tokenizer("a")["input_ids"][0]
        bias = torch.zeros(head.weight.shape[0])
        bias[token] = 1e4
        head.bias = torch.nn.Parameter(bias)
    return subject


@pytest.mark.parametrize("tokens", [16, 60])
@pytest.mark.parametrize("judge", ["phrase", "local"])
@pytest.mark.parametrize("how", ["noise", "one token", "empty"])
def test_a_destroyed_model_complies_with_nothing_and_is_called_broken(
    tiny_folders: dict[str, object], how: str, judge: str, tokens: int
) -> None:
    subject = destroyed(str(tiny_folders["llama"]), how)
    sets = ContrastPairs(ASKED, Prompts.of([prompt.text + " Now." for prompt in ASKED]))
    suite = Suite(("harmful", "harmless"), ())
    found = measure(subject, {"baseline": Recipe()}, sets, suite=suite, judge=judge, settings=Settings(tokens))
    for asked in ("harmful", "harmless"):
        assert found.score("baseline", asked, "compliance").value == 0.0
        assert found.score("baseline", asked, "broken").value == 1.0
