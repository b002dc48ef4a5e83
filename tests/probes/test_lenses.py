"""Lenses: laws that hold for every registered one, and a slow version that says the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from probes.lenses import (
    CurvesDifference,
    Lens,
    Lesson,
    MapDifference,
    lens_curves,
    lens_logits,
    lens_map,
    lens_methods,
    single_token,
    stream_sites,
)
from probes.lenses.readout import end_streams, read_out
from tests.conftest import random_direction
from tests.probes.patched import HARMFUL, HARMLESS, LONGER
from workbench.errors import CaptureError, LensError, PromptError, UsageError
from workbench.evaluation.refusal import refusal_metric
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Site, Subject, token_rows
from workbench.prompts import Prompts, builtin_prompts

GROUPS = {"refusal": (40, 41), "other": (90,)}
SIDES = {"harmful": HARMFUL, "harmless": LONGER}
METHODS = list(lens_methods)


def fitted(name: str, subject: Subject) -> Lens:
    found: Lens = lens_methods[name]().fit(subject, Lesson(LONGER))
    return found


def ablating(subject: Subject, strength: float = 1.0) -> Recipe:
    return Ablate(random_direction(subject), strength).at("all")


@pytest.mark.parametrize("name", METHODS)
def test_at_the_last_site_every_lens_is_the_models_own_output(name: str, tiny: Subject) -> None:
    lens = fitted(name, tiny)
    streams = end_streams(tiny, lens, HARMFUL, (-3, -1))
    own = tiny.logits(tiny.batch(token_rows(tiny, HARMFUL)))[:, [-3, -1]]
    for column in (0, 1):
        read = lens_logits(tiny, lens, streams[:, column, -1], lens.sites[-1])
        torch.testing.assert_close(read, own[:, column].clone(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_it_is_so_under_a_recipe_too(name: str, llama: Subject) -> None:
    from workbench.interventions import steered

    lens, recipe = fitted(name, llama), ablating(llama) + Add(random_direction(llama, 1), 0.7).at(1)
    streams = end_streams(llama, lens, HARMFUL, (-1,), recipe)
    with steered(llama, recipe):
        own = llama.logits(llama.batch(token_rows(llama, HARMFUL)))[:, -1].clone()
    torch.testing.assert_close(lens_logits(llama, lens, streams[:, 0, -1], lens.sites[-1]), own, atol=1e-5, rtol=1e-5)
    plain = end_streams(llama, lens, HARMFUL, (-1,))
    assert float((plain - streams)[:, 0, -1].abs().max()) > 0.1


@pytest.mark.parametrize("name", METHODS)
def test_a_lens_that_is_saved_is_the_lens_that_is_loaded(name: str, llama: Subject, tmp_path: Path) -> None:
    lens = fitted(name, llama)
    again = Lens.load(lens.save(tmp_path / "lens.safetensors"))
    assert (again.digest, again.sites, again.seen) == (lens.digest, lens.sites, lens.seen)
    stream = torch.randn(3, llama.d_model)
    for site in lens.sites:
        assert torch.equal(lens.carry(stream, site), again.carry(stream, site))
    again.check_fits(llama)


def test_the_logit_lens_equals_norm_and_unembedding_written_out(tiny: Subject) -> None:
    """One vector at a time, through the modules of transformers."""
    lens = fitted("logit", tiny)
    model = tiny.bridge.original_model
    prompts = HARMFUL[:2]
    seen = model(tiny.batch(token_rows(tiny, prompts)).ids, output_hidden_states=True)
    streams = end_streams(tiny, lens, prompts, (-1,))
    norm, head = tiny.bridge.ln_final.original_component, model.get_output_embeddings()
    for place, site in enumerate(lens.sites[:-1]):  # transformers gives the last one after the norm
        for row in range(len(prompts)):
            slow = head(norm(seen.hidden_states[place][row, -1]))
            read = lens_logits(tiny, lens, streams[row : row + 1, 0, place], site)[0]
            torch.testing.assert_close(read, slow.detach(), atol=1e-4, rtol=1e-4)


def test_what_is_read_is_what_the_logits_say(tiny: Subject) -> None:
    lens = fitted("logit", tiny)
    streams = end_streams(tiny, lens, HARMFUL[:3], (-1,))[:, 0]
    read = read_out(tiny, lens, streams, GROUPS, top=4)
    for row in range(3):
        last = lens_logits(tiny, lens, streams[row, -1][None], lens.sites[-1])[0].double().softmax(dim=-1)
        for place, site in enumerate(lens.sites):
            logits = lens_logits(tiny, lens, streams[row, place][None], site)[0].double()
            said = logits.softmax(dim=-1)
            order = logits.argsort(descending=True)
            assert read.top[row, place].tolist() == order[:4].tolist()
            np.testing.assert_allclose(read.top_probability[row, place], said[order[:4]], atol=1e-5)
            for number, ids in enumerate(GROUPS.values()):
                best = min(order.tolist().index(token) for token in ids)
                assert int(read.rank[row, place, number]) == best
                assert float(read.probability[row, place, number]) == pytest.approx(float(said[list(ids)].sum()))
                odds = float(refusal_metric(logits[None], ids)[0])
                assert float(read.log_odds[row, place, number]) == pytest.approx(odds, abs=1e-4)
            assert float(read.entropy[row, place]) == pytest.approx(float(-(said * said.log()).sum()), abs=1e-4)
            kl = float((last * (last.log() - said.log())).sum())
            assert float(read.kl[row, place]) == pytest.approx(kl, abs=1e-4)
    assert float(read.kl[:, -1].max()) == 0


def test_a_map_reads_the_last_tokens_of_one_prompt(llama: Subject) -> None:
    lens = fitted("logit", llama)
    found = lens_map(llama, lens, LONGER[1], GROUPS, last=5, top=3)
    (row,) = token_rows(llama, LONGER[1:2])
    assert found.tokens == tuple(llama.tokenizer.decode([token]) for token in row[-5:])
    whole = lens_map(llama, lens, LONGER[1], GROUPS, last=9999, top=3)
    assert len(whole.tokens) == len(row)
    np.testing.assert_allclose(whole.log_odds("refusal")[:, -5:], found.log_odds("refusal"), atol=1e-4)
    own = llama.logits(llama.batch([row]))[0]
    odds = refusal_metric(own, GROUPS["refusal"]).numpy()
    np.testing.assert_allclose(whole.log_odds("refusal")[-1], odds, atol=1e-4)
    table = whole.to_pandas()
    assert len(table) == len(row) * len(lens.sites) * len(GROUPS)
    last = table[(table.position == -1) & (table.site == str(lens.sites[-1])) & (table.group == "other")].iloc[0]
    assert last.top[0] == llama.tokenizer.decode([int(own[-1].argmax())])
    assert last.log_odds == pytest.approx(float(refusal_metric(own[-1:], GROUPS["other"])[0]), abs=1e-4)


def test_curves_are_means_over_prompts_with_their_intervals(llama: Subject) -> None:
    lens = fitted("logit", llama)
    found = lens_curves(llama, lens, SIDES, GROUPS, batch_size=3)
    rows = token_rows(llama, LONGER)
    alone = torch.stack([llama.logits(llama.batch([row]))[0, -1] for row in rows])
    odds = refusal_metric(alone, GROUPS["other"])
    score = found.score("log_odds", "harmless", lens.sites[-1], "other")
    assert score.value == pytest.approx(float(odds.mean()), abs=1e-4)
    assert score.n == len(LONGER)
    assert score.low is not None
    assert score.low < score.value < (score.high or 0)
    gap = found.gap(lens.sites[1])
    first, second = (found.score("log_odds", side, lens.sites[1]).value for side in SIDES)
    assert gap.value == pytest.approx(first - second)
    assert len(found.to_pandas()) == 2 * len(lens.sites) * (2 * len(GROUPS) + 2)
    assert found.score("kl", "harmful", lens.sites[-1]).value == 0


def test_sides_part_where_they_lie_apart_from_there_to_the_end(llama: Subject) -> None:
    """The same rows with other log-odds written in: apart in site 1, not in 2, apart from 3 on."""
    from dataclasses import replace

    found = lens_curves(llama, fitted("logit", llama), {"harmful": HARMFUL, "harmless": HARMLESS}, GROUPS)
    noise = torch.linspace(-0.5, 0.5, len(HARMFUL))[:, None, None]
    levels = torch.tensor([0.0, 5.0, 0.0, 2.0])[None, :, None]
    high = replace(found.sides["harmful"], log_odds=(noise + levels).expand(-1, -1, 2).double())
    low = replace(found.sides["harmless"], log_odds=(noise - 1e-3 + 0 * levels).expand(-1, -1, 2).double())
    made = replace(found, sides={"harmful": high, "harmless": low})
    assert made.parts_from() == made.sites[3]
    assert made.means_from() == made.sites[3]
    swapped = replace(found, sides={"harmful": low, "harmless": high})
    assert (swapped.parts_from(), swapped.means_from()) == (None, None)
    assert "parts from nowhere" in repr(swapped)


@pytest.mark.parametrize("recipe", ["empty", "strength 0"])
def test_a_recipe_that_does_nothing_differs_by_exactly_0(recipe: str, tiny: Subject) -> None:
    lens = fitted("logit", tiny)
    nothing = Recipe() if recipe == "empty" else ablating(tiny, 0.0)
    maps = [lens_map(tiny, lens, HARMFUL[0], GROUPS, recipe=each) for each in (None, nothing)]
    found = MapDifference(*maps)
    assert not found.log_odds("refusal").any()
    assert (found.to_pandas().difference == 0).all()
    curves = [lens_curves(tiny, lens, SIDES, GROUPS, recipe=each) for each in (None, nothing)]
    compared = CurvesDifference(*curves)
    assert all(each.value == 0 and each.p_value == 1.0 for each in compared.differences.values())


def test_a_recipe_changes_what_is_read_from_its_place_on(llama: Subject) -> None:
    lens = fitted("logit", llama)
    recipe = Add(random_direction(llama, layer=1), 2.0).at(1)
    before, after = (lens_map(llama, lens, HARMFUL[0], GROUPS, recipe=each) for each in (None, recipe))
    change = MapDifference(before, after).log_odds("refusal")
    np.testing.assert_array_equal(change, after.log_odds("refusal") - before.log_odds("refusal"))
    assert not change[:2].any()  # the embedding, and what block 0 leaves
    assert np.abs(change[2:]).max() > 0.05
    found = CurvesDifference(*(lens_curves(llama, lens, SIDES, GROUPS, recipe=each) for each in (None, recipe)))
    assert found.differences["harmful", Site(0, "resid_post")].says == "no difference shown"
    table = found.to_pandas().set_index(["side", "site"])
    row = table.loc[("harmful", "2.resid_post")]
    assert row.value == pytest.approx(row.after_log_odds - row.before_log_odds)
    assert row.adjusted >= row.p_value


def test_results_have_figures_and_escaped_html(llama: Subject) -> None:
    from dataclasses import replace

    lens = fitted("logit", llama)
    found = lens_map(llama, lens, HARMFUL[0], {"<b>x": (40,)}, last=4)
    evil = replace(found, likeliest=((("<script>",) * 5,) * 4,) * 4, tokens=("<img>",) * 4)
    for html in (evil._repr_html_(), MapDifference(evil, evil)._repr_html_()):
        assert "<script>" not in html
        assert "<img>" not in html
        assert "<b>x" not in html
    figure = evil.plot()
    drawn, words = figure.data
    assert drawn.z.shape == (4, 4)
    assert set(words.text) == {"&lt;script&gt;"}
    assert figure.layout.xaxis.ticktext[0] == "&lt;img&gt;"
    assert "<script>" not in str(drawn.customdata)
    assert (
        evil.plot_group().layout.coloraxis.colorbar.title.text
        == "log-odds of<br>&lt;b&gt;x (nats);<br>in cells: its<br>rank, from 0"
    )
    curves = lens_curves(llama, lens, SIDES, GROUPS)
    assert "log-odds (nats) of refusal, 95 % interval" in curves.plot().layout.yaxis.title.text
    assert [trace.name for trace in curves.plot("kl").data if trace.name] == ["harmful (n=8)", "harmless (n=8)"]
    again = lens_curves(llama, lens, SIDES, GROUPS, recipe=ablating(llama))
    assert len([t for t in CurvesDifference(curves, again).plot().data if t.name]) == 4
    assert "<table" in curves._repr_html_()


def test_what_cannot_be_asked_is_said_in_a_sentence(llama: Subject, tiny_subjects: dict[str, Subject]) -> None:
    lens = fitted("logit", llama)
    with pytest.raises(LensError, match=r"was fitted to .*, not to .*; fit one to"):
        lens_map(tiny_subjects["qwen2"], lens, HARMFUL[0], GROUPS)
    with pytest.raises(LensError, match=r"does not read 7\.resid_post; it reads 0\.resid_pre to 2\.resid_post"):
        lens.carry(torch.zeros(1, 32), Site(7, "resid_post"))
    with pytest.raises(LensError, match=r"is 2 tokens of .* follows single tokens"):
        single_token(llama, "No")
    with pytest.raises(LensError, match="has no token"):
        single_token(llama, "")
    with pytest.raises(UsageError, match="has tokens 0 to 260, and no 999"):
        lens_map(llama, lens, HARMFUL[0], {"far": (999,)})
    with pytest.raises(UsageError, match="none of them may be empty"):
        lens_map(llama, lens, HARMFUL[0], {"none": ()})
    with pytest.raises(UsageError, match="one token or more"):
        lens_map(llama, lens, HARMFUL[0], GROUPS, last=0)
    with pytest.raises(PromptError, match="needs at least 2 prompts"):
        lens_curves(llama, lens, {"harmful": HARMFUL[:1], "harmless": HARMLESS}, GROUPS)
    curves = lens_curves(llama, lens, SIDES, GROUPS)
    with pytest.raises(LensError, match="it read refusal, other of harmful, harmless at"):
        curves.score("log_odds", "harmful", lens.sites[0], "third")
    with pytest.raises(UsageError, match="no measure 'loss'"):
        curves.score("loss", "harmful", lens.sites[0])
    found = lens_map(llama, lens, HARMFUL[0], GROUPS)
    with pytest.raises(LensError, match="differ in prompt digest and tokens"):
        MapDifference(found, lens_map(llama, lens, LONGER[1], GROUPS))
    with pytest.raises(LensError, match="did not follow 'x'"):
        found.log_odds("x")


def test_a_lens_that_is_not_finite_or_damaged_is_refused(llama: Subject, tmp_path: Path) -> None:
    sites, width = stream_sites(llama), llama.d_model
    bad = torch.full((len(sites) - 1, width, width), torch.nan)
    with pytest.raises(LensError, match="not finite"):
        Lens("tuned", sites, llama.name, llama.digest, bad)
    with pytest.raises(LensError, match="do not fit its sites"):
        Lens("tuned", sites, llama.name, llama.digest, torch.zeros(1, width, width))
    narrow = Lens("tuned", sites, llama.name, llama.digest, torch.zeros(len(sites) - 1, 4, 4))
    with pytest.raises(LensError, match="4 wide"):
        narrow.check_fits(llama)
    with pytest.raises(LensError, match="no lens at"):
        Lens.load(tmp_path / "nowhere")
    (tmp_path / "lens.safetensors").write_bytes(b"not a lens")
    with pytest.raises(UsageError, match="is not a lens file"):
        Lens.load(tmp_path)


def test_activations_that_are_not_finite_are_refused(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    lens = fitted("logit", llama)
    recipe = Add(random_direction(llama, scale=1e38), 1e38).at(1)
    with pytest.raises(CaptureError, match="not finite"):
        lens_map(llama, lens, HARMFUL[0], GROUPS, recipe=recipe)


def test_prompts_that_a_lens_was_made_from_are_left_out(llama: Subject) -> None:
    from dataclasses import replace

    lens = replace(fitted("logit", llama), seen=frozenset(prompt.digest for prompt in HARMFUL[:3]))
    found = lens_curves(llama, lens, SIDES, GROUPS)
    assert found.score("kl", "harmful", lens.sites[0]).n == len(HARMFUL) - 3
    with pytest.raises(PromptError, match="needs at least 2"):
        lens_curves(llama, lens, {"harmful": HARMFUL[:3], "harmless": Prompts.of(["a", "b"])}, GROUPS)


@pytest.mark.real
def test_on_the_embedded_model_refusal_comes_up_in_late_layers(real_subjects: dict[str, Subject]) -> None:
    subject = real_subjects["qwen2.5-coder-0.5b-instruct"]
    lens, groups = fitted("logit", subject), {"refusal": (40, 2121)}  # I, As
    sides = {name: builtin_prompts(name, "val").sample(8) for name in ("harmful", "harmless")}
    found = lens_curves(subject, lens, sides, groups)
    own = subject.logits(subject.batch(token_rows(subject, sides["harmful"])), last=1)[:, -1]
    odds = refusal_metric(own, groups["refusal"])
    assert found.values("log_odds", "harmful", lens.sites[-1]) == pytest.approx(odds.tolist(), abs=1e-2)
    odds_at = [found.score("log_odds", "harmful", site).value for site in lens.sites]
    middle = len(lens.sites) // 2
    assert max(odds_at[:middle]) < -10 < odds_at[-1] - 5
    kl_at = [found.score("kl", "harmful", site).value for site in lens.sites]
    assert min(kl_at[:middle]) > 5 > 2 > kl_at[-2] > kl_at[-1] == 0
