"""Direct logit attribution: parts add up, TransformerLens says the same, and a planted head is found first."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformer_lens.tools.analysis import direct_logit_attribution

from probes.patching import LogitDifference, attribute_logits
from probes.patching.attributed import Part
from tests.probes.patched import HARMFUL, HARMLESS, LONGER, OTHER, REFUSAL, WRITER, with_a_writer
from workbench.errors import ModelError, PromptError, UsageError
from workbench.models import Subject, open_model, token_rows
from workbench.prompts import builtin_prompts

METRIC = LogitDifference((REFUSAL, 41), (OTHER,))


def test_the_parts_add_up_to_the_logit_difference(tiny: Subject) -> None:
    found = attribute_logits(tiny, HARMFUL, LONGER, METRIC, batch_size=3)
    for side, values, prompts in (("harmful", found.harmful, HARMFUL), ("harmless", found.harmless, LONGER)):
        rows = token_rows(tiny, prompts)
        alone = torch.cat([METRIC(tiny.logits(tiny.batch([row]))[:, -1]) for row in rows]).float()
        assert float((values.sum(dim=1) - alone).abs().max()) < 1e-3, side
    kinds = {part.kind for part in found.parts}
    assert kinds == {"embedding", "head", "attention bias", "MLP", "biases"}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
@pytest.mark.filterwarnings("ignore")  # TransformerLens's, of a model that is folded for the comparison alone
def test_transformer_lens_says_the_same(architecture: str, tiny_folders: dict[str, Path]) -> None:
    subject = open_model(str(tiny_folders[architecture]), dtype="float32")
    metric = LogitDifference((REFUSAL,), (OTHER,))
    found = attribute_logits(subject, HARMFUL[:4], HARMLESS[:4], metric)
    rows = torch.tensor(token_rows(subject, HARMFUL[:4]))
    folded = open_model(str(tiny_folders[architecture]), dtype="float32").bridge
    folded.enable_compatibility_mode()
    ours = {str(part): found.harmful[:, i] for i, part in enumerate(found.parts)}
    for layer in range(subject.n_layers):
        heads = sum(ours[f"L{layer}H{head}"] for head in range(4))
        ours |= {f"{layer}_attn_out": heads + ours[f"attention bias {layer}"], f"{layer}_mlp_out": ours[f"MLP {layer}"]}
    seen = 0
    # Folding moves the values' biases of GPT-2 from its heads to the attention's bias, so that heads are not the same.
    for unit in ("component", "head") if architecture != "gpt2" else ("component",):
        theirs = direct_logit_attribution(folded, rows, REFUSAL, OTHER, unit=unit)
        for label, values in zip(theirs.labels, theirs.attribution, strict=True):
            if label in ours:
                torch.testing.assert_close(values.detach(), ours[label], atol=1e-4, rtol=1e-3)
                seen += 1
    assert seen == subject.n_layers * (6 if architecture != "gpt2" else 2)


def test_a_planted_head_is_first_and_nothing_is_left(tmp_path: Path) -> None:
    subject = with_a_writer(tmp_path / "llama")
    batch = subject.batch(token_rows(subject, HARMFUL))
    before = subject.logits(batch)
    found = attribute_logits(subject, HARMFUL, HARMLESS, METRIC)
    assert found.ranked[0] == Part("head", *WRITER)
    assert "most from L1H2" in repr(found)
    first = found.ranked[0]
    assert abs(found.gap(first).value) > 3 * abs(found.gap(first, control=True).value)
    assert found.gap(*found.parts).value == pytest.approx(
        float(found.differences[0][1::2].mean() - found.differences[1][1::2].mean()), abs=1e-3
    )
    assert torch.equal(subject.logits(batch), before)
    assert not any(point.fwd_hooks for point in subject.bridge.hook_dict.values())


def test_what_ranks_the_parts_is_not_what_they_are_told_of(llama: Subject) -> None:
    found = attribute_logits(llama, HARMFUL, HARMLESS, METRIC)
    lifted = found.harmful.clone()
    lifted[::2, 5] += 1e3
    chosen = replace(found, harmful=lifted)
    assert chosen.ranked[0] == found.parts[5]
    assert chosen.score(found.parts[5]) == found.score(found.parts[5])
    mean = float(found.harmful[1::2, 5].mean())
    assert found.score(found.parts[5]).value == pytest.approx(mean)


def test_it_has_a_table_and_figures(llama: Subject) -> None:
    found = attribute_logits(llama, HARMFUL, HARMLESS, METRIC)
    table = found.to_pandas()
    assert len(table) == len(found.parts) == 1 + 3 * (4 + 2) + 1
    assert (table.gap_low <= table.gap).all()
    assert found.plot().layout.xaxis.title.text == "logits, harmful less harmless prompts, 95 % interval"
    assert found.plot_heads().data[0].z.shape == (3, 4)


def test_too_few_prompts_and_one_token_are_refused(llama: Subject) -> None:
    with pytest.raises(PromptError, match="needs at least 4 prompts"):
        attribute_logits(llama, HARMFUL[:1], HARMLESS, METRIC)
    with pytest.raises(UsageError, match="hold one that is empty"):
        attribute_logits(llama, HARMFUL, HARMLESS, replace(METRIC, away=()))


def test_an_architecture_whose_parts_do_not_add_up_is_refused(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    project = llama.bridge.blocks[1].attn.o.original_component
    bias = torch.nn.Parameter(torch.ones(llama.d_model))
    kept = project.forward

    def twice(acts: torch.Tensor) -> torch.Tensor:
        return kept(acts) + bias * kept(acts).square()

    monkeypatch.setattr(project, "forward", twice)
    with pytest.raises(ModelError, match="no separate heads"):
        attribute_logits(llama, HARMFUL, HARMLESS, METRIC)


@pytest.mark.real
def test_the_parts_of_the_embedded_model_add_up(real_subjects: dict[str, Subject]) -> None:
    subject = real_subjects["qwen2.5-coder-0.5b-instruct"]
    sides = [builtin_prompts(name, "train").sample(4) for name in ("harmful", "harmless")]
    found = attribute_logits(subject, *sides, LogitDifference((40, 2121), (785,)))
    assert float((found.harmful.sum(dim=1) - found.differences[0]).abs().max()) < 1e-3
