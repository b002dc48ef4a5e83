"""Harm and refusal: planted apart, they are found apart; dealt out, nothing is found."""

import pytest
import torch

from probes.harm_and_refusal import GROUPS, INSTRUCTION, TEMPLATE, HarmAndRefusal, harm_and_refusal
from workbench.activations import Activations
from workbench.activations.activations import Chunk
from workbench.errors import CaptureError, PromptError
from workbench.models import Subject, post_instruction_length
from workbench.prompts import Prompts, builtin_prompts

N = 24  # prompts of each kind
HARMFUL = Prompts.of([f"Do the bad thing number {i}." for i in range(N)], "harmful")
HARMLESS = Prompts.of([f"Do the good thing number {i}." for i in range(N)], "harmless")
REFUSED = [i % 3 != 0 for i in range(N)] + [i % 3 == 0 for i in range(N)]


def planted(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, size: float = 8.0, common: float = 8.0
) -> HarmAndRefusal:
    """Harm stands along one axis at the instruction, refusal along another one at the template; a third is common."""
    harmful = torch.arange(2 * N) < N
    axes = torch.eye(subject.d_model)[:3] * torch.tensor([[size], [size], [common]])
    values = torch.randn(2 * N, 2, subject.n_layers, subject.d_model, generator=torch.Generator().manual_seed(0))
    values += axes[2]
    values[harmful, 0] += axes[0]
    values[torch.tensor(REFUSED), 1] += axes[1]

    def captured(subject: Subject, prompts: Prompts, *, sites, positions):  # type: ignore[no-untyped-def]
        labels, digests = tuple(p.label for p in prompts), tuple(p.digest for p in prompts)
        return Activations((Chunk(tuple(range(2 * N)), values),), sites, positions, labels, digests, subject.digest)

    monkeypatch.setattr("probes.harm_and_refusal.capture", captured)
    return harm_and_refusal(subject, HARMFUL, HARMLESS, refused=REFUSED)


def test_what_is_planted_apart_is_found_apart(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(llama, monkeypatch)
    for layer in range(llama.n_layers):
        assert abs(float(found.harm[layer].unit[0])) > 0.9
        assert abs(float(found.refusal[layer].unit[1])) > 0.9
        assert abs(found.cosines[layer]) < 0.4
        # Refused, and knowing of no harm; harmful, and not refused.
        assert found.leaning("accepted harmful", INSTRUCTION, layer).low > 0  # type: ignore[operator]
        assert found.leaning("accepted harmful", TEMPLATE, layer).high < 0  # type: ignore[operator]
        assert found.leaning("refused harmless", INSTRUCTION, layer).high < 0  # type: ignore[operator]
        assert found.leaning("refused harmless", TEMPLATE, layer).low > 0  # type: ignore[operator]


def test_a_latent_guard_flags_harm_where_it_is_read_whatever_is_refused(
    llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = planted(llama, monkeypatch)
    at = found.guard_layer(INSTRUCTION)
    assert found.flagged("accepted harmful", INSTRUCTION, at).value == 1.0
    assert found.flagged("refused harmless", INSTRUCTION, at).value == 0.0
    assert found.flagged("accepted harmful", TEMPLATE, found.guard_layer(TEMPLATE)).value == 0.0
    assert found.flagged("accepted harmful", INSTRUCTION, at).n == 8


def test_dealt_out_nothing_is_found(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(llama, monkeypatch)
    for group in GROUPS:
        real, dealt = (found.leaning(group, INSTRUCTION, 0, dealt=each).value for each in (False, True))
        assert abs(dealt) < 0.35 * abs(real)


def test_plain_cases_lean_by_means_of_the_other_half(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is planted, a case must not lean to a mean that it is part of."""
    found = planted(llama, monkeypatch, size=0.0, common=0.0)
    plain = [found.leaning(GROUPS[number], INSTRUCTION, 0).value for number in (0, 3)]
    assert abs(plain[0] - plain[1]) < 0.2


def test_on_a_model_it_has_a_table_and_a_figure(llama: Subject) -> None:
    found = harm_and_refusal(llama, HARMFUL, HARMLESS, refused=REFUSED)
    assert repr(found) == (
        f"HarmAndRefusal({llama.n_layers} layers; 16 refused harmful, "
        "8 accepted harmful, 8 refused harmless, 16 accepted harmless)"
    )
    table = found.to_pandas()
    assert len(table) == llama.n_layers * 2 * 4
    assert set(table.group) == set(GROUPS)
    names = [trace.name for trace in found.plot().data if trace.name]
    assert "refused harmless (n=8)" in names
    assert found.refusal[0].position == -1
    assert found.harm[0].position == -post_instruction_length(llama) - 1


def test_too_few_plain_cases_are_named(llama: Subject) -> None:
    with pytest.raises(CaptureError, match="refuses 0 of the harmful and accepts 24 of the harmless"):
        harm_and_refusal(llama, HARMFUL, HARMLESS, refused=[False] * (2 * N))


def test_where_replies_are_begun_there_is_no_last_token_of_the_instruction(llama: Subject) -> None:
    with pytest.raises(CaptureError, match="Where a reply is prefilled"):
        harm_and_refusal(llama, HARMFUL.changed(prefill="Sure"), HARMLESS.changed(prefill="Sure"), refused=REFUSED)


def test_locked_prompts_give_no_direction(llama: Subject) -> None:
    with pytest.raises(PromptError, match="locked"):
        harm_and_refusal(llama, builtin_prompts("harmful", "test"), HARMLESS)
