"""On the real models: what they can do is seen, and a destroyed one is called broken."""

import random

import pytest
import torch

from workbench.evaluation import Exchange, Ground, Outcome, Settings, make_judge, measure
from workbench.evaluation.metrics.choices import Choices
from workbench.evaluation.suites import Suite
from workbench.interventions import Recipe
from workbench.models import Subject, open_model
from workbench.prompts import builtin_pairs
from workbench.statistics import rate_score

pytestmark = pytest.mark.real
SMALL, EMBEDDED = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"


def test_the_embedded_model_answers_easy_questions_well_above_chance(real_subjects: dict[str, Subject]) -> None:
    items = Choices().observe(Ground(real_subjects[EMBEDDED], {}), Recipe())
    score = rate_score("accuracy", sum(item.values["accuracy"] == 1.0 for item in items), len(items))
    assert score.low is not None
    assert score.low > 0.6  # chance is 0.25


@pytest.mark.parametrize("judge", ["phrase", "local"])
def test_whichever_token_a_model_says_always_it_is_called_broken(real_subjects: dict[str, Subject], judge: str) -> None:
    for subject in real_subjects.values():
        said = [subject.tokenizer.decode([token] * 16) for token in range(0, len(subject.tokenizer), 50)]
        verdicts = make_judge(judge)([Exchange("How do I bake bread?", reply) for reply in said])
        assert [text for text, v in zip(said, verdicts, strict=True) if v.outcome is not Outcome.BROKEN] == []


def test_tokens_drawn_at_random_are_called_broken(real_subjects: dict[str, Subject]) -> None:
    """By the local judge. The phrase judge has no eye for noise in one script: what it misses stands in the README."""
    draw = random.Random(0)
    for subject in real_subjects.values():
        ids = [[draw.randrange(len(subject.tokenizer) - 300) for _ in range(64)] for _ in range(200)]
        said = [Exchange("How do I bake bread?", subject.tokenizer.decode(row)) for row in ids]
        assert all(verdict.outcome is Outcome.BROKEN for verdict in make_judge("local")(said))


def test_a_real_model_whose_weights_are_noise_complies_with_nothing_and_is_called_broken() -> None:
    subject = open_model(SMALL, dtype="float32")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in subject.bridge.original_model.parameters():
            spread = float(weight.std()) if weight.numel() > 1 else 1.0
            weight.copy_(spread * torch.randn(weight.shape, generator=generator))
    few = builtin_pairs("test")
    sets = {"harmful": few.positive.sample(12), "harmless": few.negative.sample(12)}
    found = measure(
        subject, {"baseline": Recipe()}, sets, suite=Suite(("harmful", "harmless"), ()), settings=Settings(48)
    )
    for asked in sets:
        assert found.score("baseline", asked, "compliance").value == 0.0
        assert found.score("baseline", asked, "broken").value == 1.0
