"""Lenses that learn: planted truths, TransformerLens's own estimate, and what is kept of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformer_lens.tools.analysis import JacobianLens, logit_readout

from probes.lenses import Lens, Lesson, fitted_lens, lens_logits, lens_methods, stream_sites
from probes.lenses.descent import Descent, DescentSettings, Targets
from probes.lenses.fitting import CONTROL, LOGIT
from probes.lenses.jacobians import Sums, dealt_coordinates, sum_jacobians
from probes.lenses.quality import measure_lenses
from probes.lenses.streams import gather_streams
from probes.lenses.translators import least_squares
from tests.probes.patched import HARMFUL, LONGER
from tests.tiny import save_model
from workbench.activations import capture
from workbench.errors import CaptureError, LensError, PromptError, RunError
from workbench.models import Head, Subject, open_model, token_rows
from workbench.prompts import Prompts, builtin_prompts
from workbench.statistics import mean_score

# Of many different bytes, every one of which is a token.
TEXTS = ["".join(chr(33 + (7 * i + 13 * j + i * j) % 90) for j in range(12)) for i in range(40)]
TAUGHT, HELD = Prompts.of(TEXTS[:30], name="taught"), Prompts.of(TEXTS[30:], name="held")


@pytest.fixture(scope="module")
def turn() -> torch.Tensor:
    drawn = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(drawn)[0]


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory, turn: torch.Tensor) -> Subject:
    """A llama whose blocks write nothing, but for the last, whose MLP turns the stream by `turn`."""
    subject = open_model(str(save_model("llama", tmp_path_factory.mktemp("rotated") / "llama")), dtype="float32")
    at = {n.replace("_original_component.", ""): w for n, w in subject.bridge.original_model.named_parameters()}
    last = subject.n_layers - 1
    with torch.no_grad():
        for layer in range(subject.n_layers):
            at[f"model.layers.{layer}.self_attn.o_proj.weight"].zero_()
            at[f"model.layers.{layer}.mlp.down_proj.weight"].zero_()
        table = at["model.embed_tokens.weight"]
        table.copy_(table / table.square().mean(dim=-1, keepdim=True).sqrt())  # so that the norm changes nothing
        at[f"model.layers.{last}.post_attention_layernorm.weight"].fill_(1.0)
        at["lm_head.weight"].mul_(4.0)
    change = (turn - torch.eye(subject.d_model)).T
    subject.bridge.blocks[last].mlp.original_component.forward = lambda acts: acts @ change
    return subject


@pytest.mark.parametrize("name", ["tuned", "jacobian"])
def test_a_planted_rotation_is_recovered_and_the_logit_lens_does_not_see_it(
    name: str, rotated: Subject, turn: torch.Tensor
) -> None:
    options = {"tuned": {"penalty": 1e-6}, "jacobian": {"rounds": 1.0}}[name]
    lens = lens_methods[name](**options).fit(rotated, Lesson(TAUGHT))
    assert lens.matrices is not None
    for matrix in lens.matrices[:-1]:  # what block 1 leaves is the last that is not yet turned
        # The MLP's norm takes from the gradient what lies along the stream itself: a 32nd.
        torch.testing.assert_close(matrix, turn, atol={"tuned": 0.01, "jacobian": 0.1}[name], rtol=0)
    kl = measure_lenses(rotated, {name: lens, "logit": lens_methods["logit"]().fit(rotated)}, HELD).kl
    for learned, plain in zip(kl[name], kl["logit"], strict=True):
        assert learned.value < 0.01 * plain.value
        assert plain.value > 1.0


def test_quality_is_the_mean_over_prompts_of_their_tokens(llama: Subject) -> None:
    lens = lens_methods["logit"]().fit(llama)
    quality = measure_lenses(llama, {"logit": lens}, LONGER, each=3)
    assert quality.tokens == 3 * len(LONGER)
    streams, found = gather_streams(llama, LONGER, lens.sites, each=3), []
    for number in range(len(LONGER)):
        mine = streams.values[:, streams.prompt == number]
        p, q = (lens_logits(llama, lens, mine[at], lens.sites[at]).log_softmax(dim=-1) for at in (-1, 1))
        found.append(float((p.exp() * (p - q)).sum(dim=-1).mean()))
    score = quality.kl["logit"][1]
    assert (score.value, score.n) == (pytest.approx(np.mean(found), rel=1e-4), len(LONGER))
    assert score.low == pytest.approx(mean_score("", found).low, rel=1e-3)


def test_shuffled_targets_teach_no_rotation(rotated: Subject) -> None:
    method = lens_methods["tuned"]()
    lens, control = (each.fit(rotated, Lesson(TAUGHT)) for each in (method, method.control()))
    kl = measure_lenses(rotated, {"real": lens, "shuffled": control}, HELD).kl
    for real, shuffled in zip(kl["real"], kl["shuffled"], strict=True):
        assert real.value < 0.2 * shuffled.value


def test_least_squares_equal_a_slow_version(llama: Subject) -> None:
    """Gradient descent on the loss as the module's first lines write it."""
    streams = gather_streams(llama, TAUGHT, stream_sites(llama))
    matrices, shifts = least_squares(streams, 0.3)
    x, y = streams.values[1].double(), streams.values[-1].double()
    weight = 1 / y.square().mean(dim=1)
    weight = weight / weight.mean()
    size = (weight[:, None] * (x - (weight[:, None] * x).mean(dim=0)).square()).sum(dim=0)
    eye = torch.eye(32, dtype=torch.float64)

    def loss(matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        off = (weight * (x @ matrix.T + shift - y).square().sum(dim=1)).sum()
        return off + 0.3 * (size * (matrix - eye).square()).sum()

    found = [each.double().requires_grad_() for each in (matrices[1], shifts[1])]
    best = loss(*found)
    slopes = torch.autograd.grad(best, found)
    assert all(float(slope.abs().max()) < 1e-4 * best.item() for slope in slopes)
    assert best.item() < 0.9 * float(loss(eye, torch.zeros(32, dtype=torch.float64)))


def test_the_loss_of_a_descent_is_the_kl_but_for_a_constant(tiny: Subject) -> None:
    """Its slope is that of the KL over the whole vocabulary, written out with TransformerLens's readout."""
    streams = gather_streams(tiny, TAUGHT, stream_sites(tiny))
    begin, tokens, head = least_squares(streams, 0.1), torch.arange(0, 60, 7), Head.of(tiny)
    descent = Descent(head, streams, begin, DescentSettings())
    targets = Targets.of(head, streams.values[-1], 4096)
    descent.loss(tokens, targets, torch.zeros(0, dtype=torch.long)).backward()
    matrices, shifts = (each.clone().requires_grad_() for each in begin)
    p = logit_readout(tiny.bridge, streams.values[-1, tokens]).values.log_softmax(dim=-1)
    carried = torch.einsum("sti,soi->sto", streams.values[:-1, tokens], matrices) + shifts[:, None]
    q = logit_readout(tiny.bridge, carried, enable_grad=True).values.log_softmax(dim=-1)
    slopes = torch.autograd.grad((p.exp() * (p - q)).sum(dim=-1).mean(dim=1).sum(), (matrices, shifts))
    torch.testing.assert_close(descent.matrices.grad, slopes[0], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(descent.shifts.grad, slopes[1], atol=1e-5, rtol=1e-3)
    assert all(weight.grad is None for weight in tiny.bridge.original_model.parameters())


def test_drawn_tokens_stand_for_those_that_are_left_out(llama: Subject) -> None:
    streams, head = gather_streams(llama, TAUGHT, stream_sites(llama)), Head.of(llama)
    descent, tokens = Descent(head, streams, least_squares(streams, 0.1), DescentSettings()), torch.arange(20)
    whole, part = (Targets.of(head, streams.values[-1], frequent) for frequent in (4096, 40))
    assert (len(whole.others), len(part.others)) == (0, 261 - 40)
    mass = head.logits(streams.values[-1]).softmax(dim=-1).sum(dim=0)
    assert mass[part.frequent].min() >= mass[part.others].max()
    exact = descent.loss(tokens, whole, torch.zeros(0, dtype=torch.long)).item()
    random = np.random.default_rng(0)
    drawn = [torch.from_numpy(random.integers(221, size=30)) for _ in range(200)]
    assert np.mean([descent.loss(tokens, part, each).item() for each in drawn]) == pytest.approx(exact, abs=0.02)
    assert descent.loss(tokens, part, drawn[0][:0]).item() < exact - 0.5


def test_a_descent_lowers_the_kl_of_least_squares(llama: Subject) -> None:
    steps = {
        n: lens_methods["tuned"](descent=DescentSettings(steps=n, rate=1e-3)).fit(llama, Lesson(TAUGHT))
        for n in (0, 80)
    }
    kl = measure_lenses(llama, {str(n): lens for n, lens in steps.items()}, TAUGHT).kl
    pairs = [(before.value, after.value) for before, after in zip(kl["0"], kl["80"], strict=True)]
    assert all(after < before for before, after in pairs), pairs


def test_a_descent_alone_turns_the_identity_to_the_planted_rotation(rotated: Subject) -> None:
    sites = stream_sites(rotated)
    streams, n, width = gather_streams(rotated, TAUGHT, sites), len(sites) - 1, rotated.d_model
    begin = torch.eye(width).repeat(n, 1, 1), torch.zeros(n, width)
    affine = Descent(Head.of(rotated), streams, begin, DescentSettings(steps=200, rate=0.02)).run()
    lens = Lens("tuned", sites, rotated.name, rotated.digest, *affine)
    kl = measure_lenses(rotated, {"descended": lens, "logit": lens_methods["logit"]().fit(rotated)}, HELD).kl
    for descended, plain in zip(kl["descended"], kl["logit"], strict=True):
        assert descended.value < 0.2 * plain.value


def test_a_model_that_bends_its_logits_stays_with_least_squares(
    llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama.bridge.original_model.config, "final_logit_softcapping", 30.0, raising=False)
    lens = lens_methods["tuned"]().fit(llama, Lesson(TAUGHT))
    assert lens.settings["descended"] is False
    plain = lens_methods["tuned"](descent=DescentSettings(steps=0)).fit(llama, Lesson(TAUGHT))
    assert torch.equal(lens.matrices, plain.matrices)  # type: ignore[arg-type]


def test_jacobians_of_every_row_are_transformer_lenss_own(tiny: Subject) -> None:
    prompts = LONGER[:3]
    rows, sites, width = token_rows(tiny, prompts), stream_sites(tiny), tiny.d_model
    every = np.stack([np.random.default_rng(number).permutation(width) for number in range(len(rows))])
    ours = sum_jacobians(tiny, rows, sites, every, Sums.empty(len(sites) - 1, width), batch_size=2).mean()
    shared = min(next(i for i, pair in enumerate(zip(*two, strict=False)) if len({*pair}) > 1)
                 for two in ((rows[0], rows[1]), (rows[0], rows[2]), (rows[1], rows[2])))  # fmt: skip
    # The reference leaves the last token out, so it is given one more.
    texts = [str(number) for number in range(len(rows))]
    told = dict(zip(texts, rows, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny.bridge, "to_tokens", lambda text: torch.tensor([[*told[text], 3]]), raising=False)
        theirs = JacobianLens.fit(
            tiny.bridge, texts, corpus="test", skip_first_positions=shared, show_progress=False
        )  # fmt: skip
    for layer in range(tiny.n_layers - 1):
        torch.testing.assert_close(ours[layer + 1], theirs.jacobians[layer], atol=1e-5, rtol=1e-4)
    stream = torch.randn(4, width)
    lens = Lens("jacobian", sites, tiny.name, tiny.digest, ours)
    torch.testing.assert_close(lens.carry(stream, sites[1]), theirs.transport(stream, 0), atol=1e-4, rtol=1e-4)


def test_dealt_rows_are_asked_for_equally_often_and_estimate_the_same(llama: Subject) -> None:
    for n, width, rounds in ((30, 32, 2.0), (7, 32, 1.0), (40, 32, 0.5), (500, 32, 1.0)):
        counts = np.bincount(dealt_coordinates(n, width, rounds).ravel(), minlength=width)
        assert counts.max() - counts.min() <= 1
    rows, sites = token_rows(llama, TAUGHT), stream_sites(llama)
    whole, part = (
        sum_jacobians(llama, rows, sites, dealt_coordinates(30, 32, rounds), Sums.empty(3, 32), batch_size=8).mean()
        for rounds in (30.0, 8.0)
    )
    eye = torch.eye(32)
    assert float((part - whole).norm()) < 0.5 * float((whole - eye).norm())


@pytest.mark.parametrize("name", ["tuned", "jacobian"])
def test_the_same_lesson_gives_the_same_lens(name: str, llama: Subject) -> None:
    one, other = (lens_methods[name]().fit(llama, Lesson(TAUGHT)) for _ in range(2))
    assert one.digest == other.digest
    assert one.seen == {prompt.digest for prompt in TAUGHT}
    assert not any(point.fwd_hooks for point in llama.bridge.hook_dict.values())
    assert all(weight.requires_grad for weight in llama.bridge.original_model.parameters())


def test_a_fit_that_was_stopped_goes_on_and_ends_the_same(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, checkpoint = lens_methods["jacobian"](batch_size=8), tmp_path / "checkpoint.safetensors"
    whole = method.fit(llama, Lesson(TAUGHT))
    added, kept = [0], Sums.add

    def stopping(self: Sums, *arguments: object) -> None:
        added[0] += 1
        if added[0] == 8:
            raise KeyboardInterrupt
        kept(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Sums, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        method.fit(llama, Lesson(TAUGHT, checkpoint))
    assert 0 < int(load_file(checkpoint)["done"]) < 4
    again = method.fit(llama, Lesson(TAUGHT, checkpoint))
    assert added[0] < 8 + 12
    torch.testing.assert_close(again.matrices, whole.matrices)
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(RunError, match="remove it and fit again"):
        method.fit(llama, Lesson(TAUGHT, checkpoint))


def test_a_descent_that_was_stopped_goes_on_and_ends_the_same(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, checkpoint = lens_methods["tuned"](descent=DescentSettings(steps=12, keep_every=4)), tmp_path / "c"
    whole = method.fit(llama, Lesson(TAUGHT))
    taken, step = [], Descent._step

    def stopping(self: Descent, number: int, targets: Targets) -> None:
        taken.append(number)
        if len(taken) == 7:
            raise KeyboardInterrupt
        step(self, number, targets)

    monkeypatch.setattr(Descent, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        method.fit(llama, Lesson(TAUGHT, checkpoint))
    again = method.fit(llama, Lesson(TAUGHT, checkpoint))
    assert taken == [*range(7), *range(4, 12)]
    assert again.digest == whole.digest
    with pytest.raises(RunError, match="other settings or tokens"):
        lens_methods["tuned"]().fit(llama, Lesson(TAUGHT, checkpoint))


def test_streams_are_those_that_capture_gives(tiny: Subject) -> None:
    sites = stream_sites(tiny)
    streams = gather_streams(tiny, LONGER, sites, each=1)
    alone = capture(tiny, LONGER, sites=sites, positions=(-1,)).values[:, 0]
    order = torch.argsort(streams.prompt)
    torch.testing.assert_close(streams.values[:, order].transpose(0, 1).float(), alone, atol=1e-4, rtol=1e-4)
    few = gather_streams(tiny, LONGER, sites, most=20)
    assert len(few) <= 20
    assert len(set(few.prompt.tolist())) < len(LONGER)


def test_a_fitted_lens_is_measured_beside_its_controls_and_kept(llama: Subject, tmp_path: Path) -> None:
    lens = fitted_lens(llama, "tuned", TAUGHT, HELD)
    assert lens.quality is not None
    assert set(lens.quality.kl) == {"tuned lens", LOGIT, CONTROL}
    assert {(len(scores), scores[0].n) for scores in lens.quality.kl.values()} == {(3, len(HELD))}
    assert lens.seen == {prompt.digest for prompt in TAUGHT}
    again = fitted_lens(llama, "tuned", TAUGHT, HELD)
    assert (again.digest, again.quality) == (lens.digest, lens.quality)
    other = fitted_lens(llama, "tuned", TAUGHT, HELD, options={"penalty": 5.0})
    assert other.digest != lens.digest
    both = fitted_lens(llama, "tuned", Prompts((*TAUGHT, *HELD)), HELD)
    assert both.digest == lens.digest
    assert [trace.name for trace in lens.plot().data if trace.name] == [
        f"{name} (n={len(HELD)})" for name in ("tuned lens", LOGIT, CONTROL)
    ]
    assert "held-out KL at" in repr(lens)
    assert set(fitted_lens(llama, "jacobian", TAUGHT, HELD).quality.kl) == {"jacobian lens", LOGIT}  # type: ignore[union-attr]
    assert fitted_lens(llama, "logit", TAUGHT, HELD).quality is None


def test_what_cannot_be_fitted_is_said_in_a_sentence(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tuned", "jacobian"):
        with pytest.raises(LensError, match="is fitted to prompts, two or more"):
            lens_methods[name]().fit(llama)
        with pytest.raises(LensError, match="is fitted to prompts, two or more"):
            fitted_lens(llama, name, HARMFUL[:1], HELD)
    with pytest.raises(PromptError, match="locked"):
        fitted_lens(llama, "tuned", builtin_prompts("harmful", "test"), HELD)
    with pytest.raises(PromptError, match="locked"):
        fitted_lens(llama, "tuned", TAUGHT, builtin_prompts("harmful", "test"))
    with pytest.raises(LensError, match="Nothing was measured"):
        lens_methods["logit"]().fit(llama).plot()


def test_activations_that_are_not_finite_teach_nothing(tmp_path: Path) -> None:
    subject = open_model(str(save_model("llama", tmp_path / "llama")), dtype="float32")
    subject.bridge.blocks[1].mlp.original_component.forward = lambda acts: acts * torch.nan
    with pytest.raises(CaptureError, match="not finite"):
        lens_methods["tuned"]().fit(subject, Lesson(TAUGHT))
    with pytest.raises(CaptureError, match="not finite"):
        lens_methods["jacobian"]().fit(subject, Lesson(TAUGHT))
