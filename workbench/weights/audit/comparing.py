"""What changed, tensor by tensor; and of a matrix that writes to the stream, along which direction by itself."""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from workbench.weights.audit.pairing import Part
from workbench.weights.audit.reading import FLOATS, Pair
from workbench.weights.audit.spectra import Difference, Pool, difference, equal
from workbench.weights.audit.tracing import Seen, Trace, best, seen_through, traces

_OWN = 8  # directions of one matrix that its own trace is looked for in
_EACH = 16  # columns that one of them takes: fewer, and anything fits


@dataclass(frozen=True, eq=False)
class Compared:
    """A tensor, what became of it, and how much; of a changed writer, its own best trace as a unit vector too."""

    part: Part
    status: str  # equal, rounded, changed, resized, missing or added
    difference: Difference | None = None
    own: Trace | None = None
    direction: Float[Tensor, " d_model"] | None = None

    @property
    def pair(self) -> Pair:
        """Both tensors; only of what has a counterpart."""
        assert self.part.pair is not None
        return self.part.pair

    @property
    def whole(self) -> Difference:
        """The difference; only of what differs."""
        assert self.difference is not None
        return self.difference

    @property
    def changed(self) -> bool:
        """Whether its numbers differ by more than rounding."""
        return self.difference is not None and not self.difference.rounded

    @property
    def is_matrix(self) -> bool:
        return len(self.part.shape) == 2

    @property
    def centred(self) -> bool:
        """Whether a constant may have been added to each of its columns: they are tokens."""
        return self.part.writer is not None and self.part.writer.component in ("embed", "pos_embed")

    def through(self, basis: Float[Tensor, "d_model k"]) -> Seen:
        """How a changed writer is seen through the columns of a basis."""
        return Seen(seen_through(self.pair, basis), self.whole, self.centred)


def compare(part: Part, pool: Pool) -> Compared:
    """Compare one tensor of both; a writer joins the pool. Raises ModelError where a number is not finite."""
    if part.pair is None:
        return Compared(part, "missing" if part.missing else "added")
    one, other = part.pair.entries
    resized = one.shape != other.shape
    if equal(part.pair):
        return Compared(part, "resized" if resized else "equal")
    if one.dtype not in FLOATS or other.dtype not in FLOATS:
        return Compared(part, "changed")
    writes = part.writer is not None
    found = difference(part.pair, pool if writes else None)
    status = "resized" if resized else "rounded" if found.rounded else "changed"
    made = Compared(part, status, found)
    return _with_own(made) if writes and made.changed else made


def _with_own(compared: Compared) -> Compared:
    """The same with the direction along which this matrix alone shows an edit best."""
    whole = compared.whole
    assert whole.vectors is not None
    basis = whole.vectors[:, : max(1, min(_OWN, whole.columns // _EACH))]
    found = best(traces([compared.through(basis)]))
    return replace(compared, own=found, direction=basis @ found.along.float())
