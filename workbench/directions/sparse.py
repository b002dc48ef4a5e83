"""Features of sparse autoencoders, read from safetensors.

    f(h) = act(W_enc (h - b_in) + b_enc)        act: ReLU; JumpReLU (Rajamanoharan et al. 2024); top-k (Gao et al. 2024)
    h    = sum_i f_i(h) W_dec[i] + b_dec + error

Three layouts are read, told apart by the names of their tensors: SAELens (`W_enc [d_in d_sae]`, `cfg.json` beside it;
also Gemma Scope's), EleutherAI's sparsify (`encoder.weight [d_sae d_in]`, `W_dec`) and dictionary_learning
(`encoder.weight`, `decoder.weight [d_in d_sae]`). Autoencoders that scale their input first are refused, for their
features would be read wrongly; .pt and .npz files are refused, for they hold pickles.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workbench.directions.asset import About, assets, read_asset, require_fit, write_asset
from workbench.errors import DirectionError, UsageError
from workbench.models import Site
from workbench.runs import digest_tensors

if TYPE_CHECKING:
    from workbench.models import Subject

KIND = "feature"
# Settings, the values under which an autoencoder is read rightly here, and what it does otherwise.
_PLAIN = (
    ("normalize_activations", ("none",), "scales its input"),
    ("rescale_acts_by_decoder_norm", (False,), "scales its features"),
    ("transcode", (False,), "is a transcoder and no autoencoder"),
    ("activation_fn", ("relu",), "has another activation"),
    ("activation_fn_str", ("relu",), "has another activation"),
)


class _About(About):
    """What a feature file says beside its tensors."""

    index: int
    own: int
    k: int | None


@assets.register(KIND)
@dataclass(frozen=True, eq=False)
class Feature:
    """One feature of a sparse autoencoder of the stream at `site`.

    `encoder [n d_model]` and `bias [n]` hold the rows that decide its activation: its own alone, or those of all
    features where only the `k` largest are active; `own` is its row. `reads` [d_model] is taken from the activation
    before it is encoded, `threshold` is the activation below which the feature is off, `writes` [d_model] its row of
    the decoder.
    """

    encoder: Float[Tensor, "n d_model"]
    bias: Float[Tensor, " n"]
    reads: Float[Tensor, " d_model"]
    writes: Float[Tensor, " d_model"]
    threshold: float
    index: int
    own: int
    k: int | None
    site: Site
    model_name: str
    model_digest: str
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not all(bool(torch.isfinite(tensor).all()) for tensor in self._tensors.values()):
            raise DirectionError(f"Feature {self.index} at {self.site} has values that are not finite numbers.")
        n, width = self.encoder.shape if self.encoder.ndim == 2 else (0, 0)
        fits = self.bias.shape == (n,) and self.reads.shape == self.writes.shape == (width,)
        if not (fits and 0 <= self.own < n and (self.k is None or 1 <= self.k <= n)):
            raise DirectionError(
                f"The tensors of feature {self.index} at {self.site} do not fit together; make it again."
            )

    def __repr__(self) -> str:
        return f"Feature({self.index} at {self.site} of {self.model_name})"

    def __call__(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """How active the feature is."""
        wide = acts.float()
        encoder, bias, reads = (t.to(wide.device) for t in (self.encoder, self.bias, self.reads))
        before = (wide - reads) @ encoder.T + bias
        mine = before[..., self.own]
        active = mine > self.threshold
        if self.k is not None:
            active = active & (mine >= before.topk(self.k, dim=-1).values[..., -1])
        return torch.where(active, mine, torch.zeros_like(mine))

    @property
    def width(self) -> int:
        return int(self.writes.shape[0])

    @property
    def _tensors(self) -> dict[str, Tensor]:
        cut = torch.tensor([self.threshold])
        return {"encoder": self.encoder, "bias": self.bias, "reads": self.reads, "writes": self.writes, "cut": cut}

    @cached_property
    def digest(self) -> str:
        where = torch.tensor([self.own, self.k or 0])
        return digest_tensors(self._tensors | {f"{self.site}|{self.model_digest}": where})

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where it is of another model or width."""
        require_fit("feature", self, self.model_name, self.model_digest, subject)

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        about = _About(
            site=str(self.site), index=self.index, own=self.own, k=self.k, model_name=self.model_name,
            model_digest=self.model_digest, seen=sorted(self.seen),
        )  # fmt: skip
        return write_asset(path, KIND, about, self._tensors)

    @classmethod
    def load(cls, path: Path) -> "Feature":
        """Read what `save` wrote."""
        about, held = read_asset(path, KIND, _About)
        try:
            cut, site = float(held.pop("cut")), Site.parse(about.site)
            rest = about.model_dump(exclude={"site", "seen"})
            whole: dict[str, Any] = held | rest
            return cls(**whole, threshold=cut, site=site, seen=frozenset(about.seen))
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise DirectionError(f"{path} is not a feature file, or is damaged ({error}); make it again.") from error


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """An autoencoder of the stream at `site`: `encoder` and `decoder` [d_sae d_model], in float32."""

    encoder: Float[Tensor, "d_sae d_model"]
    decoder: Float[Tensor, "d_sae d_model"]
    encoder_bias: Float[Tensor, " d_sae"]
    decoder_bias: Float[Tensor, " d_model"]
    reads: Float[Tensor, " d_model"]
    threshold: Float[Tensor, " d_sae"]
    k: int | None = None

    @classmethod
    def load(cls, path: Path) -> "SparseAutoencoder":
        """Read a safetensors file in one of the common layouts, with the `cfg.json` beside it where there is one.

        Raises DirectionError where the layout is unknown or needs something that is not done here.
        """
        if path.suffix != ".safetensors":
            raise DirectionError(f"{path} is not a .safetensors file; other formats hold pickles, convert it first.")
        try:
            held = {name: tensor.float() for name, tensor in load_file(path).items()}
        except (SafetensorError, OSError) as error:
            raise DirectionError(f"{path} cannot be read ({error}); fetch it again.") from error
        return _from_layout(path, held, _settings(path))

    def __call__(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_sae"]:
        """Every feature's activation."""
        before = (acts.float() - self.reads) @ self.encoder.T + self.encoder_bias
        active = before > self.threshold
        if self.k is not None:
            active &= before >= before.topk(self.k, dim=-1).values[..., -1:]
        return torch.where(active, before, torch.zeros_like(before))

    def decode(self, features: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_model"]:
        """The reconstruction, without the error."""
        found: Tensor = features @ self.decoder + self.decoder_bias
        return found

    def feature(self, index: int, subject: "Subject", site: Site) -> Feature:
        """One feature, as an edit holds it."""
        if not 0 <= index < len(self.encoder):
            raise DirectionError(f"There is no feature {index}; the autoencoder has 0-{len(self.encoder) - 1}.")
        rows = slice(None) if self.k is not None else slice(index, index + 1)
        found = Feature(
            encoder=self.encoder[rows],
            bias=self.encoder_bias[rows],
            reads=self.reads,
            writes=self.decoder[index],
            threshold=float(self.threshold[index]),
            index=index,
            own=index if self.k is not None else 0,
            k=self.k,
            site=site,
            model_name=subject.name,
            model_digest=subject.digest,
        )
        found.check_fits(subject)
        return found


def _settings(path: Path) -> dict[str, Any]:
    for name in ("cfg.json", "config.json"):
        file = path.with_name(name)
        if file.exists():
            try:
                value = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise DirectionError(f"{file} is not readable JSON ({error}); fetch it again.") from error
            return value if isinstance(value, dict) else {}
    return {}


def _from_layout(path: Path, held: dict[str, Tensor], settings: dict[str, Any]) -> SparseAutoencoder:
    for name, plain, what in _PLAIN:
        if settings.get(name) not in (None, *plain):
            raise DirectionError(f"{path} {what} ({name}: {settings[name]}), which is not read here.")
    architecture = str(settings.get("architecture") or "standard")
    if architecture not in ("standard", "jumprelu", "topk", "batchtopk"):
        raise DirectionError(f"{path} is a {architecture} autoencoder; standard, jumprelu and topk ones are read.")
    try:
        if "W_enc" in held:
            encoder, decoder, bias = held["W_enc"].T, held["W_dec"], held["b_enc"]
            # Gemma Scope's files come without settings, have a threshold, and encode the activation as it is.
            before = settings.get("apply_b_dec_to_input", "threshold" not in held)
        elif "decoder.weight" in held:
            encoder, decoder, bias = held["encoder.weight"], held["decoder.weight"].T, held["encoder.bias"]
            held["b_dec"], before = held.get("bias", held.get("b_dec", torch.zeros(decoder.shape[1]))), True
        else:
            encoder, decoder, bias, before = held["encoder.weight"], held["W_dec"], held["encoder.bias"], True
        after = held["b_dec"]
    except KeyError as error:
        raise DirectionError(
            f"{path} has no tensor {error} and its layout is not known here (it has: {', '.join(sorted(held))}); "
            "give SAELens, sparsify or dictionary_learning weights."
        ) from None
    if architecture == "batchtopk" and "threshold" not in held:
        raise DirectionError(f"{path} keeps the largest features of a batch, without a threshold; fold one in first.")
    k = settings.get("k") if architecture in ("standard", "topk") else None
    # dictionary_learning keeps it among the weights, and a threshold of -1 until one was learned in its stead.
    if k is None and "k" in held and not bool((held.get("threshold", torch.zeros(1)) > 0).any()):
        k = int(held["k"].reshape(-1)[0])
    if (architecture == "topk" and k is None) or not (k is None or (type(k) is int and 1 <= k <= len(bias))):
        raise DirectionError(f"{path} keeps the largest features alone and cfg.json does not say how many (k): {k}.")
    threshold = held.get("threshold", torch.zeros(len(bias)))
    if threshold.numel() not in (1, len(bias)):
        raise DirectionError(f"{path} has {threshold.numel()} thresholds for {len(bias)} features; fetch it again.")
    threshold = threshold.reshape(-1).expand(len(bias)).clamp_min(0.0)  # no feature is active below 0
    _require_shapes(path, encoder, decoder, bias, after)
    reads = after if before else torch.zeros_like(after)
    return SparseAutoencoder(encoder.contiguous(), decoder.contiguous(), bias, after, reads, threshold.contiguous(), k)


def _require_shapes(path: Path, encoder: Tensor, decoder: Tensor, bias: Tensor, after: Tensor) -> None:
    if encoder.shape != decoder.shape or bias.shape != encoder.shape[:1] or after.shape != encoder.shape[1:]:
        raise DirectionError(f"The tensors of {path} do not fit together; fetch it again.")
