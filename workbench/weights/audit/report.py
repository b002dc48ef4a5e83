"""What an audit says: a word with its error rates, the direction and the doses, and every tensor."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from workbench.display import Shown
from workbench.statistics import Score, mean_score, rate_score
from workbench.weights.audit.calibration import Calibration
from workbench.weights.audit.comparing import Compared
from workbench.weights.audit.finding import AGREE, Found
from workbench.weights.audit.tracing import Trace

if TYPE_CHECKING:
    import pandas as pd

    from workbench.plots import Figure


@dataclass(frozen=True)
class TensorChange:
    """What became of one tensor: equal, rounded, changed, resized, missing or added."""

    name: str
    status: str
    shape: tuple[int, ...]
    writer: str  # what it writes to the stream, if it does
    size: float  # |D| / |W|
    share: float  # of its numbers, that differ
    rank: int | None  # that explains 99 % of the change above rounding


@dataclass(frozen=True)
class MatrixChange:
    """What a changed writer shows along what was edited, or else along what looks most like it."""

    name: str
    component: str
    layer: int
    size: float  # |D| / |W|
    rank: int
    dose: float
    fit: float
    left: float  # |r^T W'| / |r^T W|
    agrees: float  # how far its own direction lies in what was edited
    edited: bool
    explained: float  # of |D|^2, by the edit
    rounding: float  # the same by rounding, at most


@dataclass(frozen=True)
class Likeness:
    """A direction of the base beside what was found."""

    name: str
    cosine: float | None  # with what was found; of several, with their span
    chance: float  # 95 of 100 random directions have less
    dose: Score | None  # along it, in the changed writers


@dataclass(frozen=True, eq=False)
class Audit(Shown):
    """What was done to a checkpoint. `directions` are what was edited, as rows, the strongest first."""

    suspect: str
    base: str
    verdict: str
    fit: float  # the best of an edit of all changed writers together
    fit_alone: float  # the best of one of them
    calibration: Calibration
    directions: Float[Tensor, "n d_model"]
    form: str  # of an edit along one direction
    ranks: tuple[int, ...]  # of a low-rank change, in the matrices that were looked at
    added: dict[str, float]  # by a writer's bias or to its embeddings, along the direction
    likeness: Likeness | None
    tensors: tuple[TensorChange, ...]
    matrices: tuple[MatrixChange, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        dose = f", dose {self.doses['all']}" if self.doses else ""
        return f"Audit({self.suspect} against {self.base}: {self.verdict}{dose})"

    @property
    def edited(self) -> bool:
        """Whether the verdict is that directions were edited."""
        return self.verdict.startswith("edited")

    @property
    def doses(self) -> dict[str, Score]:
        """Mean doses over the edited matrices: of all, and of each component."""
        edited = [one for one in self.matrices if one.edited]
        kinds = {"all": edited}
        for one in edited:
            kinds.setdefault(one.component, []).append(one)
        return {kind: mean_score(kind, [one.dose for one in some]) for kind, some in kinds.items() if some}

    @property
    def left(self) -> Score | None:
        """What the edited matrices still write along the direction, as a share of what they wrote."""
        some = [one.left for one in self.matrices if one.edited]
        return mean_score("left", some, "lower") if some else None

    @property
    def agreement(self) -> Score | None:
        """The share of the edited matrices whose own direction is the one that was found."""
        some = [one.agrees >= AGREE for one in self.matrices if one.edited]
        return rate_score("agreement", sum(some), len(some)) if some else None

    @property
    def explained(self) -> dict[str, float]:
        """The mean shares of the edited matrices' change that the edit, rounding and something else explain."""
        some = [one for one in self.matrices if one.edited]
        if not some:
            return {}
        edit, rounding = (sum(getattr(one, name) for one in some) / len(some) for name in ("explained", "rounding"))
        return {"edit": edit, "rounding": rounding, "other": max(1 - edit - rounding, 0.0)}

    @property
    def false_positives(self) -> dict[str, Score]:
        """How often an unedited finetune is called edited, by the kind of model that this was measured on."""
        return {kind: count.score(kind) for kind, count in self.calibration.called_edited.items()}

    @property
    def detections(self) -> dict[str, Score]:
        """How often an edited checkpoint is called edited, by its dose."""
        return {dose: count.score(dose) for dose, count in self.calibration.found.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything but the vectors."""
        return {
            "suspect": self.suspect, "base": self.base, "verdict": self.verdict, "fit": self.fit,
            "fit_alone": self.fit_alone, "limits": self.calibration.limits.model_dump(),
            "false_positives": _plain(self.false_positives),
            "detections": _plain(self.detections), "directions": len(self.directions), "form": self.form,
            "ranks": list(self.ranks), "doses": _plain(self.doses), "left": _plain(self.left),
            "agreement": _plain(self.agreement), "explained": self.explained, "added": self.added,
            "likeness": _plain(self.likeness), "notes": list(self.notes),
            "matrices": _plain(self.matrices), "tensors": _plain(self.tensors),
        }  # fmt: skip

    def to_pandas(self) -> "pd.DataFrame":
        """One row for each tensor; of changed writers with their doses."""
        import pandas as pd

        tensors = pd.DataFrame([asdict(one) for one in self.tensors])
        if not self.matrices:
            return tensors
        matrices = pd.DataFrame([asdict(one) for one in self.matrices]).drop(columns=["size", "rank"])
        return tensors.merge(matrices, on="name", how="left")

    def plot(self) -> "Figure":
        """By layer: how much each writer changed, and its dose along what was found."""
        from workbench.plots import audit_figure

        points = [(one.component, one.layer, one.size, one.dose if one.edited else None) for one in self.matrices]
        return audit_figure(points, f"{self.suspect}: {self.verdict}")


def tensors_of(compared: Sequence[Compared]) -> tuple[TensorChange, ...]:
    """The table of all tensors."""
    return tuple(
        TensorChange(
            one.part.name, one.status, one.part.shape, str(one.part.writer or ""),
            one.difference.size if one.difference else 0.0, one.difference.share if one.difference else 0.0,
            one.difference.rank if one.difference else None,
        )
        for one in compared
    )  # fmt: skip


def matrices_of(changed: Sequence[Compared], found: Found) -> tuple[MatrixChange, ...]:
    """The table of the writers that changed."""
    shown = [(one, index, found.shown(index)) for index, one in enumerate(changed)]
    return tuple(_matrix(one, index, trace, found) for one, index, trace in shown if trace is not None)


def _matrix(one: Compared, index: int, shown: Trace, found: Found) -> MatrixChange:
    dose, fit, writer = shown.doses[index], shown.fits[index], one.part.writer
    assert writer is not None
    explained = min(shown.shares[index] * one.whole.old / one.whole.energy, 1.0)
    rounding = min(one.whole.rounding / one.whole.energy, 1.0 - explained)
    return MatrixChange(
        one.part.name, writer.component, writer.layer, one.whole.size, one.whole.rank or 0, dose, fit,
        shown.left[index], found.agreement(one), found.is_edit(dose, fit), explained, rounding,
    )  # fmt: skip


def dose_of(matrices: Sequence[MatrixChange]) -> float:
    """The mean dose of the edited matrices."""
    some = [one.dose for one in matrices if one.edited]
    return sum(some) / len(some) if some else 0.0


def chance(width: int, directions: int) -> float:
    """The 95th percentile of the cosine between a random direction and a span: its square has a Beta distribution."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, directions / 2, max(width - directions, 1) / 2) ** 0.5)


def _plain(value: Any) -> Any:
    """Scores and tables as JSON."""
    if isinstance(value, Score):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return {key: _plain(each) for key, each in vars(value).items()} if hasattr(value, "__dataclass_fields__") else value
