"""A defence teaches a model to refuse, leaves the open one as it was, and is attacked while it learns if it says so."""

from pathlib import Path

import pytest
import torch

from tests.laws.cases import logits_of, same_bits
from workbench.errors import ModelError, PromptError, UsageError
from workbench.models import Subject, open_model
from workbench.prompts import builtin_pairs
from workbench.studies.defence import DefenceSettings, defences, train_defence, training
from workbench.studies.defence.lessons import lessons

QUICK = {"steps": 12, "batch": 4, "rate": 1e-2, "reply_tokens": 24, "n_train": 12}


@pytest.mark.parametrize("method", list(defences))
def test_a_defence_is_learned_and_the_open_model_is_left_as_it_was(llama: Subject, tmp_path: Path, method: str) -> None:
    said = logits_of(llama)
    losses = train_defence(llama, builtin_pairs("train"), tmp_path / "out", DefenceSettings(method=method, **QUICK))
    assert losses[-1] < losses[0] - 0.3
    assert same_bits(logits_of(llama), said)
    taught = open_model(str(tmp_path / "out"), dtype="float32")
    assert taught.digest != llama.digest
    assert float((logits_of(taught) - said).abs().max()) > 0.1


def test_only_the_adversarial_defence_is_attacked_and_only_on_harmful_prompts(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[bool]] = {}
    loss = training._Trainer._loss

    def watched(self, batch):  # type: ignore[no-untyped-def]
        hooks = [hook for layer in self._inner().layers for hook in layer._forward_hooks.values()]
        hooked = any(hook.__qualname__.startswith("_removing") for hook in hooks)
        seen.setdefault(self.settings.method, []).append(hooked)
        return loss(self, batch)

    monkeypatch.setattr(training._Trainer, "_loss", watched)
    for method in ("extended-refusal", "adversarial"):
        train_defence(llama, builtin_pairs("train"), tmp_path / method, DefenceSettings(method=method, **QUICK))
    assert not any(seen["extended-refusal"])
    assert any(seen["adversarial"][0::2])
    assert not all(seen["adversarial"][0::2])
    assert not any(seen["adversarial"][1::2])


def test_the_attack_takes_the_direction_out_of_every_layer() -> None:
    unit = torch.nn.functional.normalize(torch.randn(8), dim=0)
    acts = torch.randn(2, 3, 8)
    for output in (acts, (acts, "cache")):
        found = training._removing(unit)(None, (), output)
        found = found[0] if isinstance(found, tuple) else found
        assert float((found @ unit).abs().max()) < 1e-6


def test_the_loss_is_that_of_the_replies_tokens_alone(llama: Subject, tmp_path: Path) -> None:
    """Against the slow way: the whole row's logits, one lesson at a time, and nothing of the prompt counted."""
    settings = DefenceSettings(**QUICK)
    model = training._adapted(llama, settings)
    refusals, answers = lessons(llama, builtin_pairs("train"), defences["extended-refusal"](), 16, 0)
    trainer = training._Trainer(llama, model, defences["extended-refusal"](), refusals, answers, settings)
    batch, total, n = refusals[:3], 0.0, 0
    with torch.no_grad():
        quick = float(trainer._loss(batch))
        for lesson in batch:
            logits = model(torch.tensor([[*lesson.prompt, *lesson.reply]])).logits[0].log_softmax(-1)
            for place, token in enumerate(lesson.reply):
                total, n = total - float(logits[len(lesson.prompt) + place - 1, token]), n + 1
    assert quick == pytest.approx(total / n, abs=1e-4)


def test_refusals_are_whole_sentences_about_the_category() -> None:
    import numpy as np

    prompt = builtin_pairs("train").positive[0]
    for name in defences:
        texts = {defences[name]().refusal(prompt, np.random.default_rng(seed)) for seed in range(20)}
        assert len(texts) > 3
        assert all(text.endswith(".") and "{" not in text for text in texts)
    assert prompt.text not in defences["extended-refusal"]().refusal(prompt, np.random.default_rng(0))


def test_nothing_is_taught_on_a_test_part(llama: Subject, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="locked"):
        train_defence(llama, builtin_pairs("test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_that_mean_nothing_are_refused(llama: Subject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rank"):
        DefenceSettings(rank=0)
    with pytest.raises(UsageError, match="no defence called 'wall'"):
        train_defence(llama, builtin_pairs("train"), tmp_path / "out", DefenceSettings(method="wall", n_train=2))


def test_a_model_without_a_folder_cannot_be_trained(llama: Subject, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(ModelError, match="folder of weights"):
        train_defence(replace(llama, folder=None), builtin_pairs("train"), tmp_path / "out", DefenceSettings(n_train=2))
