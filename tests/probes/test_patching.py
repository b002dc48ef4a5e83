"""Patching: laws that hold for any model, a planted head that is found, and slow versions that say the same."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from probes.patching import (
    LogitDifference,
    RefusalLogOdds,
    ablate_heads,
    attention_patterns,
    causal_path,
    compliance_tokens,
    pair_prompts,
    patch_activations,
    patch_first_order,
    patch_heads,
)
from probes.patching.activation_patching import ALL, STREAMS
from probes.patching.running import Prepared
from probes.patching.shares import shares
from tests.laws.cases import hooks_left
from tests.probes.patched import HARMFUL, HARMLESS, LONGER, OTHER, REFUSAL, WRITER, with_a_writer
from workbench.errors import ModelError, PromptError, UsageError
from workbench.models import Site, Subject
from workbench.prompts import Prompts, builtin_prompts

METRIC = LogitDifference((REFUSAL, 41), (OTHER,))
ODDS = RefusalLogOdds((REFUSAL,))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return with_a_writer(tmp_path_factory.mktemp("planted") / "llama")


@pytest.mark.parametrize("into", ["harmful", "harmless"])
def test_patching_everything_equals_the_other_run(tiny: Subject, into: str) -> None:
    pairs = pair_prompts(tiny, HARMFUL, HARMLESS, n=4, same_length=True)
    assert pairs.same_length
    found = patch_activations(tiny, pairs, METRIC, into=into, streams=("resid_pre",), layers=(0,))
    torch.testing.assert_close(found.effects[0, 0, -1], found.gaps, atol=1e-5, rtol=1e-4)


def test_the_last_stream_at_the_last_token_is_the_other_run_also_of_another_length(tiny: Subject) -> None:
    pairs = pair_prompts(tiny, HARMFUL, LONGER, n=4)
    assert not pairs.same_length
    last = tiny.n_layers - 1
    found = patch_activations(tiny, pairs, METRIC, streams=("resid_post",), layers=(last,))
    torch.testing.assert_close(found.effects[0, 0, -2], found.gaps, atol=1e-5, rtol=1e-4)
    assert float(found.effects[0, 0, :-2].abs().max()) < 1e-5  # nothing is read there any more


def test_patching_equals_a_slow_version_that_replaces_one_vector_at_a_time(tiny: Subject) -> None:
    pairs = pair_prompts(tiny, HARMFUL, LONGER, n=3)
    found = patch_activations(tiny, pairs, ODDS, streams=("attn_out", "mlp_out"), layers=(1,), batch_size=2)
    for s, stream in enumerate(found.streams):
        name = f"blocks.1.hook_{stream}"
        for number, (own, other) in enumerate(zip(pairs.harmful, pairs.harmless, strict=True)):
            alike = pairs.harmful[(number + 1) % 3]
            plain = ODDS(tiny.logits(tiny.batch([own]))[:, -1])
            for sources, effects in ((other, found.effects), (alike, found.control)):
                with torch.inference_mode():
                    _, cache = tiny.bridge.run_with_cache(torch.tensor([sources]), names_filter=[name])
                for place in range(pairs.kept):

                    def put(acts, hook, at=place - pairs.kept, new=cache[name]):  # type: ignore[no-untyped-def]
                        acts = acts.clone()
                        acts[0, at] = new[0, at]
                        return acts

                    with torch.inference_mode():
                        logits = tiny.bridge.run_with_hooks(torch.tensor([own]), fwd_hooks=[(name, put)])
                    slow = (ODDS(logits[:, -1]) - plain)[0]
                    torch.testing.assert_close(effects[s, 0, place, number], slow, atol=2e-5, rtol=1e-3)


def test_all_heads_together_are_the_attention(llama: Subject) -> None:
    """Every head at the last token, one after the other in the last layer, which is linear up to the final norm."""
    pairs = pair_prompts(llama, HARMFUL, HARMLESS, n=4, kept=1)
    found = patch_heads(llama, pairs, METRIC, layers=(2,))
    assert found.effects.shape == (1, 4, 4)
    table = found.to_pandas()
    assert set(table.columns) >= {"layer", "head", "share", "share_low", "share_high", "control", "n"}


def test_a_planted_head_is_found_first_by_every_method(planted: Subject) -> None:
    pairs = pair_prompts(planted, HARMFUL, HARMLESS, same_length=True)
    assert patch_heads(planted, pairs, METRIC).ranked()[0][0] == WRITER
    first = patch_first_order(planted, pairs, METRIC)
    place = int(first.head_shares.value.argmax())
    assert divmod(place, 4) == WRITER
    ablated = ablate_heads(planted, pairs, METRIC, top=2)
    assert ablated.chosen[0] == WRITER
    effect, control = (ablated.score(WRITER, control=each) for each in (False, True))
    assert effect.high is not None
    assert effect.high < 0  # without it refusal is less likely
    assert abs(control.value) < 0.05 * abs(effect.value)
    assert abs(ablated.random_heads.value) < 0.05 * abs(effect.value)


def test_the_path_leads_through_the_planted_head(planted: Subject) -> None:
    pairs = pair_prompts(planted, HARMFUL, HARMLESS, same_length=True)
    found = patch_activations(planted, pairs, METRIC)
    path = causal_path(found, writers=1)
    (writer,) = path.writers
    assert (writer.layer, writer.stream, writer.place) == (WRITER[0], "attn_out", pairs.labels[-1])
    assert writer.share.value > 0.9
    assert abs(writer.control.value) < 0.1
    assert path.carriers[-1].place == pairs.labels[-1]
    assert path.writers[0].share.n == 4  # half of the pairs chose it


def test_control_patching_does_about_nothing_where_the_class_is_all_there_is(planted: Subject) -> None:
    pairs = pair_prompts(planted, HARMFUL, HARMLESS, same_length=True)
    found = patch_activations(planted, pairs, METRIC, streams=("resid_pre",), layers=(0, 2))
    assert found.share("resid_pre", 0, ALL).value == pytest.approx(1.0, abs=1e-4)
    assert abs(found.share("resid_pre", 0, ALL, control=True).value) < 0.1


def test_first_order_equals_exact_where_the_model_is_linear(tmp_path: Path) -> None:
    """The last MLP is silent and the final norm divides by a constant, so that the last attention acts linearly."""
    subject = with_a_writer(tmp_path / "llama")
    last = subject.n_layers - 1
    for name, weight in subject.bridge.original_model.named_parameters():
        if f"layers.{last}.mlp" in name and "down_proj" in name:
            weight.data.zero_()
    pairs = pair_prompts(subject, HARMFUL, HARMLESS, n=4, same_length=True)
    bent = patch_first_order(subject, pairs, METRIC)
    norm = subject.bridge.ln_final.original_component
    norm.variance_epsilon = 1e4
    found = patch_first_order(subject, pairs, METRIC)
    exact = found.exact.effects[0, last, :-1]
    torch.testing.assert_close(found.effects[0, last], exact, atol=1e-9, rtol=1e-3)
    assert float(exact.abs().max()) > 1e-6
    off = (bent.effects[0, last] - bent.exact.effects[0, last, :-1]).abs().max()
    assert float(off / bent.exact.effects[0, last].abs().max()) > 1e-3  # with the norm as it is they differ


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_first_order_agrees_with_exact_patching_of_any_model(tiny: Subject) -> None:
    pairs = pair_prompts(tiny, HARMFUL, HARMLESS, n=4, same_length=True)
    found = patch_first_order(tiny, pairs, METRIC)
    assert found.agreement.value > 0.5
    assert len(found.to_pandas()) == 2 * tiny.n_layers * pairs.kept
    assert "rank correlation" in repr(found)


def test_nothing_stays_on_the_model(tiny: Subject) -> None:
    pairs = pair_prompts(tiny, HARMFUL, HARMLESS, n=4, same_length=True)
    batch = tiny.batch([list(row) for row in pairs.harmful])
    before = tiny.logits(batch)
    asking = [weight.requires_grad for weight in tiny.bridge.original_model.parameters()]
    patch_activations(tiny, pairs, METRIC, layers=(0,))
    patch_first_order(tiny, pairs, METRIC)
    ablated = ablate_heads(tiny, pairs, METRIC, ablation="zero", top=2)
    attention_patterns(tiny, pairs.harmful[0], ablated.chosen)

    def fails(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        patch_heads(tiny, pairs, fails)
    with pytest.raises(RuntimeError, match="in the middle"):
        patch_first_order(tiny, pairs, fails, exact=patch_activations(tiny, pairs, METRIC))
    assert torch.equal(tiny.logits(batch), before)
    assert hooks_left(tiny) == 0
    assert all(weight.grad is None for weight in tiny.bridge.original_model.parameters())
    assert [weight.requires_grad for weight in tiny.bridge.original_model.parameters()] == asking


def test_a_prepared_run_equals_whole_rows(tiny: Subject) -> None:
    rows = [list(row) for row in pair_prompts(tiny, HARMFUL, LONGER, n=4).harmless]
    runs = Prepared.of(tiny, rows, 3)
    slow = torch.cat([METRIC(tiny.logits(tiny.batch([row]))[:, -1]) for row in rows])
    for whole in (False, True):
        for _ in range(2):  # a pass leaves the cache as it was
            torch.testing.assert_close(runs.metric(METRIC, whole=whole), slow, atol=2e-5, rtol=1e-4)


def test_attention_patterns_are_the_models_own(llama: Subject, tiny_folders: dict[str, Path]) -> None:
    row = pair_prompts(llama, HARMFUL, HARMLESS).harmful[0]
    found = attention_patterns(llama, row, [(1, 2), (0, 3)])
    torch.testing.assert_close(found.patterns.sum(dim=-1), torch.ones(2, len(row)))
    assert float(found.patterns.triu(1).abs().max()) == 0
    model = AutoModelForCausalLM.from_pretrained(tiny_folders["llama"], attn_implementation="eager")
    with torch.no_grad():
        own = model(torch.tensor([list(row)]), output_attentions=True).attentions
    torch.testing.assert_close(found.patterns, torch.stack([own[1][0, 2], own[0][0, 3]]), atol=1e-6, rtol=1e-5)
    assert found.tokens[-1] == "\n"


def test_shares_are_ratios_of_means_with_an_interval_that_covers_the_truth() -> None:
    draws = torch.Generator().manual_seed(0)
    covered = 0
    for seed in range(100):
        gaps = 2.0 + torch.randn(20, generator=draws, dtype=torch.float64)
        effects = 0.9 * gaps + 0.1 * torch.randn(20, generator=draws, dtype=torch.float64)
        found = shares(effects[None], gaps, seed)
        assert found.value[0] == pytest.approx(float(effects.mean() / gaps.mean()))
        covered += bool(found.low[0] <= 0.9 <= found.high[0])
    assert 86 <= covered <= 99  # a denominator that is held fixed covers all of them: its interval is too wide


def test_results_have_tables_and_figures(llama: Subject) -> None:
    pairs = pair_prompts(llama, HARMFUL, HARMLESS, n=4, same_length=True)
    patched = patch_activations(llama, pairs, METRIC)
    assert len(patched.to_pandas()) == len(STREAMS) * llama.n_layers * (pairs.kept + 1)
    scale = patched.plot().layout.coloraxis
    assert (scale.cmid, scale.cmin) == (0, -scale.cmax)
    ablated = ablate_heads(llama, pairs, ODDS, top=3)
    patterns = attention_patterns(llama, pairs.harmful[0], ablated.chosen)
    path = causal_path(patched)
    first, heads = patch_first_order(llama, pairs, METRIC), patch_heads(llama, pairs, METRIC)
    figures = [result.plot() for result in (patched, ablated, patterns, path, first, heads)]
    for figure in (*figures, ablated.plot_map()):
        assert figure.layout.xaxis.title.text
        assert "<|" not in figure.to_json()  # a token is text, and no markup
    assert {step.stream for step in path.writers} <= {"attn_out", "mlp_out"}
    assert list(path.to_pandas().role.unique()) == ["carries", "writes"]
    assert list(ablated.to_pandas()["n"]) == [2, 2, 2]
    for result in (patched, ablated, patterns, path, first, heads):
        assert len(repr(result)) < 250


def test_prompts_of_other_lengths_are_refused_where_it_matters(llama: Subject) -> None:
    pairs = pair_prompts(llama, HARMFUL, LONGER, n=4)
    with pytest.raises(PromptError, match=r"pair 1 have \d+ and \d+ tokens; pair prompts of the same length"):
        patch_first_order(llama, pairs, METRIC)
    with pytest.raises(PromptError, match=r"0 of 8 harmful prompts can be paired .* of as many tokens"):
        pair_prompts(llama, HARMFUL, Prompts.of(["A much longer harmless prompt"] * 3), same_length=True)


def test_too_few_prompts_and_locked_ones_are_refused(llama: Subject) -> None:
    with pytest.raises(PromptError, match="needs at least 2 prompts"):
        pair_prompts(llama, HARMFUL[:1], HARMLESS)
    with pytest.raises(PromptError, match="locked"):
        pair_prompts(llama, builtin_prompts("harmful", "test"), HARMLESS)
    with pytest.raises(PromptError, match="there are 2; give 4 or more"):
        ablate_heads(llama, pair_prompts(llama, HARMFUL, HARMLESS, n=2), METRIC)


def test_what_cannot_be_asked_is_named(llama: Subject) -> None:
    pairs = pair_prompts(llama, HARMFUL, HARMLESS, n=4)
    with pytest.raises(UsageError, match="hold one that is empty"):
        LogitDifference((), (3,))
    with pytest.raises(UsageError, match=r"share the tokens \[3\]"):
        LogitDifference((3,), (3, 4))
    with pytest.raises(UsageError, match="not of 'both'"):
        patch_activations(llama, pairs, METRIC, into="both")
    with pytest.raises(UsageError, match="no difference to restore"):
        patch_activations(llama, pair_prompts(llama, HARMFUL, HARMFUL, n=4), METRIC)
    with pytest.raises(UsageError, match="No site 9"):
        patch_activations(llama, pairs, METRIC, layers=(9,))
    with pytest.raises(UsageError, match="99 tokens from the end"):
        pair_prompts(llama, HARMFUL, HARMLESS, kept=99)
    with pytest.raises(UsageError, match="not to 'noise'"):
        ablate_heads(llama, pairs, METRIC, ablation="noise")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="A path needs"):
        causal_path(patch_activations(llama, pairs, METRIC, streams=("resid_pre",), layers=(0,)))


def test_heads_that_are_not_apart_are_refused(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pair_prompts(llama, HARMFUL, HARMLESS, n=4)
    monkeypatch.setattr(
        "probes.patching.activation_patching.activations_of",
        lambda subject, rows, sites, last: {site: torch.zeros(len(rows), last, 32) for site in sites},
    )
    with pytest.raises(ModelError, match="no separate heads"):
        patch_heads(llama, pairs, METRIC)


def test_tokens_of_compliance_are_what_the_model_says_first(llama: Subject) -> None:
    every = tuple(range(llama.bridge.cfg.d_vocab))
    with pytest.raises(UsageError, match="name some with --compliance-token"):
        compliance_tokens(llama, HARMLESS, every)
    found = compliance_tokens(llama, HARMLESS, (0,))
    batch = llama.batch([list(pair_prompts(llama, HARMFUL, HARMLESS).harmless[0])])
    assert set(found.ids) & set(llama.logits(batch)[:, -1].topk(3).indices[0].tolist())
    assert compliance_tokens(llama, HARMLESS, (0,), ["S"]).texts == ("S",)


@pytest.mark.real
def test_on_the_embedded_model_refusal_is_restored_and_the_same_class_restores_little(
    real_subjects: dict[str, Subject],
) -> None:
    subject = real_subjects["qwen2.5-coder-0.5b-instruct"]
    sides = [builtin_prompts(name, "train").sample(64) for name in ("harmful", "harmless")]
    odds = RefusalLogOdds((40, 2121))  # I, As
    pairs = pair_prompts(subject, *sides, n=4, same_length=True)
    found = patch_activations(subject, pairs, odds, streams=("resid_pre",), layers=(0, 23))
    assert float((found.effects[0, 0, -1] - found.gaps).abs().max()) < 1e-3
    last = pairs.labels[-1]
    assert found.share("resid_pre", 23, last).value > 0.8
    assert abs(found.share("resid_pre", 23, last, control=True).value) < 0.4
    assert Site(0, "embed").hook_point(subject.bridge).fwd_hooks == []
    assert hooks_left(subject) == 0
