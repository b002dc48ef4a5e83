"""Sparse autoencoders: three layouts, one trained small on planted features, and edits that change nothing else.

No published autoencoder can be had without a model hub, so that none is tested here.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.laws.cases import a_feature, logits_of
from workbench.directions import Direction, Feature, SparseAutoencoder, StoredActivation, load_asset
from workbench.errors import DirectionError
from workbench.interventions import ClampFeature, steered
from workbench.models import Site, Subject

D, N = 32, 48


@pytest.fixture(scope="module")
def trained() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A ReLU autoencoder trained on sums of a few of 24 planted features; and these."""
    torch.manual_seed(0)
    planted = torch.nn.functional.normalize(torch.randn(24, D), dim=-1)
    encoder, decoder = (torch.nn.Parameter(0.1 * torch.randn(N, D)) for _ in "ab")
    bias, after = torch.nn.Parameter(torch.zeros(N)), torch.nn.Parameter(torch.zeros(D))
    optimiser = torch.optim.Adam([encoder, decoder, bias, after], lr=5e-3)
    for _ in range(1500):
        on = (torch.rand(256, 24) < 0.08) * (0.5 + torch.rand(256, 24))
        acts = on @ planted
        features = torch.relu((acts - after) @ encoder.T + bias)
        loss = (features @ decoder + after - acts).pow(2).sum(-1).mean()
        sparsity = (features * decoder.norm(dim=-1)).sum(-1).mean()
        optimiser.zero_grad()
        (loss + 0.05 * sparsity).backward()
        optimiser.step()
    held = {"W_enc": encoder.T, "W_dec": decoder, "b_enc": bias, "b_dec": after}
    return {name: tensor.detach().contiguous() for name, tensor in held.items()}, planted


def written(folder: Path, tensors: dict[str, torch.Tensor], settings: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae_weights.safetensors")
    if settings is not None:
        (folder / "cfg.json").write_text(json.dumps(settings))
    return folder / "sae_weights.safetensors"


def test_a_trained_autoencoder_has_the_planted_features(
    trained: tuple[dict[str, torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    tensors, planted = trained
    sae = SparseAutoencoder.load(written(tmp_path, tensors))
    cosines = torch.nn.functional.normalize(sae.decoder, dim=-1) @ planted.T
    assert float(cosines.max(dim=0).values.min()) > 0.95
    assert float((sae(planted) > 0).float().sum(-1).mean()) < 8


def test_the_layouts_of_three_libraries_are_the_same_autoencoder(
    trained: tuple[dict[str, torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    held, _ = trained
    acts = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
    expected = torch.relu((acts - held["b_dec"]) @ held["W_enc"] + held["b_enc"])
    rows = {"encoder.weight": held["W_enc"].T, "encoder.bias": held["b_enc"]}
    layouts = {
        "saelens": (held, {"architecture": "standard", "apply_b_dec_to_input": True}),
        "sparsify": (rows | {"W_dec": held["W_dec"], "b_dec": held["b_dec"]}, None),
        "dictionary_learning": (rows | {"decoder.weight": held["W_dec"].T, "bias": held["b_dec"]}, None),
    }
    for name, (tensors, settings) in layouts.items():
        sae = SparseAutoencoder.load(written(tmp_path / name, tensors, settings))
        torch.testing.assert_close(sae(acts), expected)
        torch.testing.assert_close(sae.decode(sae(acts)), expected @ held["W_dec"] + held["b_dec"])
    aside = SparseAutoencoder.load(written(tmp_path / "aside", held, {"apply_b_dec_to_input": False}))
    torch.testing.assert_close(aside(acts), torch.relu(acts @ held["W_enc"] + held["b_enc"]))


def test_a_top_k_of_dictionary_learning_keeps_k_among_the_weights(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    held = {
        "encoder.weight": torch.randn(N, D, generator=generator), "encoder.bias": torch.randn(N, generator=generator),
        "decoder.weight": torch.randn(D, N, generator=generator), "b_dec": torch.randn(D, generator=generator),
    }  # fmt: skip
    acts = torch.randn(9, D, generator=generator)
    before = (acts - held["b_dec"]) @ held["encoder.weight"].T + held["encoder.bias"]
    top = torch.zeros_like(before).scatter(1, before.topk(4).indices, before.topk(4).values.relu())
    unlearned, learned = torch.tensor(-1.0), torch.tensor(0.7)
    for threshold in ({}, {"threshold": unlearned}):
        sae = SparseAutoencoder.load(written(tmp_path, held | {"k": torch.tensor(4)} | threshold))
        torch.testing.assert_close(sae(acts), top)
    sae = SparseAutoencoder.load(written(tmp_path, held | {"k": torch.tensor(4), "threshold": learned}))
    torch.testing.assert_close(sae(acts), torch.where(before > 0.7, before, 0.0))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_a_feature_reads_what_the_whole_autoencoder_reads(llama: Subject, tmp_path: Path, architecture: str) -> None:
    generator = torch.Generator().manual_seed(3)
    held = {
        "W_enc": torch.randn(D, N, generator=generator), "W_dec": torch.randn(N, D, generator=generator),
        "b_enc": torch.randn(N, generator=generator), "b_dec": torch.randn(D, generator=generator),
    }  # fmt: skip
    if architecture == "jumprelu":
        held["threshold"] = 3 * torch.rand(N, generator=generator)
    settings = {"architecture": architecture} | ({"k": 6} if architecture == "topk" else {})
    sae = SparseAutoencoder.load(written(tmp_path, held, settings))
    acts = torch.randn(40, D, generator=generator)
    features = sae(acts)
    if architecture == "topk":
        assert int((features > 0).sum(-1).max()) <= 6
    site = Site(1, "resid_pre")
    for index in (0, 7, N - 1):
        feature = sae.feature(index, llama, site)
        torch.testing.assert_close(feature(acts), features[:, index])
        again = Feature.load(feature.save(tmp_path / "f.safetensors"))
        assert again.digest == feature.digest
        assert torch.equal(again(acts), feature(acts))
        # Clamping it is decoding with it changed, the error added back.
        changed = features.clone()
        changed[:, index] = 2.5
        expected = sae.decode(changed) + (acts - sae.decode(features))
        torch.testing.assert_close(ClampFeature(feature, 2.5)(acts[None])[0], expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(DirectionError, match=r"no feature 48; the autoencoder has 0-47"):
        sae.feature(N, llama, site)


def test_a_feature_held_at_its_own_value_changes_nothing_but_rounding(llama: Subject) -> None:
    feature = a_feature(llama)
    silent = Feature(
        feature.encoder, feature.bias - 1e6, feature.reads, feature.writes, 0.0, 0, 0, None, feature.site,
        feature.model_name, feature.model_digest,
    )  # fmt: skip
    plain = logits_of(llama)
    with steered(llama, ClampFeature(silent, 0.0).at(1)):
        assert torch.equal(logits_of(llama), plain)


@pytest.mark.parametrize(
    ("settings", "names", "says"),
    [
        ({"normalize_activations": "layer_norm"}, {}, "scales its input"),
        ({"architecture": "gated"}, {}, "is a gated autoencoder"),
        ({"architecture": "standard", "activation_fn_str": "topk"}, {}, "has another activation"),
        ({"rescale_acts_by_decoder_norm": True}, {}, "scales its features"),
        ({"transcode": True}, {}, "is a transcoder"),
        ({"architecture": "topk", "k": "6"}, {}, r"does not say how many \(k\): 6"),
        ({"architecture": "topk", "k": 99}, {}, r"does not say how many \(k\): 99"),
        ({"architecture": "topk"}, {}, r"does not say how many \(k\)"),
        ({"architecture": "batchtopk"}, {}, "without a threshold"),
        ({}, {"W_dec": "weight"}, "its layout is not known here"),
        ({}, {"b_enc": "b_dec", "b_dec": "b_enc"}, "do not fit together"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(
    tmp_path: Path, settings: dict[str, object], names: dict[str, str], says: str
) -> None:
    held = {"W_enc": torch.ones(D, N), "W_dec": torch.ones(N, D), "b_enc": torch.ones(N), "b_dec": torch.ones(D)}
    path = written(tmp_path, {names.get(name, name): tensor for name, tensor in held.items()}, settings)
    with pytest.raises(DirectionError, match=says):
        SparseAutoencoder.load(path)


def test_thresholds_are_one_or_one_each_and_gemma_scopes_files_encode_the_activation_as_it_is(
    llama: Subject, tmp_path: Path
) -> None:
    held = {"W_enc": torch.eye(D), "W_dec": torch.eye(D), "b_enc": torch.zeros(D), "b_dec": torch.ones(D)}
    for threshold in (torch.tensor(0.5), torch.full((D,), 0.5)):
        sae = SparseAutoencoder.load(written(tmp_path, held | {"threshold": threshold}))
        torch.testing.assert_close(sae(torch.full((1, D), 0.6)), torch.full((1, D), 0.6))
        assert float(sae.feature(3, llama, Site(1, "resid_pre"))(torch.full((1, D), 0.4))) == 0.0
    with pytest.raises(DirectionError, match="3 thresholds for 32 features"):
        SparseAutoencoder.load(written(tmp_path, held | {"threshold": torch.zeros(3)}))
    good = a_feature(llama)
    for odd in ({"own": 1}, {"own": -1}, {"k": 2}, {"k": 0}):
        with pytest.raises(DirectionError, match="do not fit together"):
            replace(good, **odd)


def test_pickles_and_damaged_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", W_enc=np.ones(3))
    with pytest.raises(DirectionError, match="hold pickles"):
        SparseAutoencoder.load(tmp_path / "params.npz")
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    with pytest.raises(DirectionError, match="cannot be read"):
        SparseAutoencoder.load(tmp_path / "x.safetensors")
    (tmp_path / "cfg.json").write_text("{")
    save_file({"W_enc": torch.ones(2, 2)}, tmp_path / "y.safetensors")
    with pytest.raises(DirectionError, match="not readable JSON"):
        SparseAutoencoder.load(tmp_path / "y.safetensors")


def test_an_asset_file_says_what_it_is(llama: Subject, tmp_path: Path) -> None:
    stored = StoredActivation(torch.randn(D), Site(1, "mlp_out"), "of a prompt", "llama", llama.digest, frozenset("ab"))
    assets = [stored, a_feature(llama)]
    for number, asset in enumerate(assets):
        again = load_asset(asset.save(tmp_path / f"{number}.safetensors"))
        assert type(again) is type(asset)
        assert (again.digest, again.seen) == (asset.digest, asset.seen)
    with pytest.raises(DirectionError, match="not a direction file"):
        Direction.load(tmp_path / "0.safetensors")
    with pytest.raises(DirectionError, match="not a vector of finite numbers"):
        StoredActivation(torch.tensor([1.0, float("nan")]), Site(0, "embed"), "x", "m", "d")
