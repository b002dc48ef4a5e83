"""Which tokens a direction points to: its cosine with what each token writes, and with what each is read by.

    embedding    cos(u, W_E[t])      what token t puts into the stream
    unembedding  cos(u, W_U[:, t])   what raises the logit of t, the gain of the last norm left out

Among so many tokens some always lie near: the control is the largest cosine that random directions have with any token
(and the least, for the bottom). A token within what random directions reach says nothing. Layers between the
direction's and the unembedding turn the stream, so this is a look at the directions of late layers most of all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.directions.geometry import random_unit
from workbench.display import Shown
from workbench.errors import UsageError
from workbench.models import Subject
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

MATRICES = ("embedding", "unembedding")
ENDS = ("top", "bottom")
_RANDOM = 100  # directions
_ROWS = 16384  # tokens in memory at once, in float32


@dataclass(frozen=True, eq=False)
class Vocabulary(Shown):
    """The nearest and farthest tokens of a direction, by (matrix, end), and what random directions reach there.

    A `random` score's value is the mean over random directions of their extreme; its interval holds 95 % of them.
    """

    tokens: Mapping[tuple[str, str], tuple[tuple[str, float], ...]]
    random: Mapping[tuple[str, str], Score]
    size: int

    def __repr__(self) -> str:
        said = []
        for matrix in MATRICES:
            token, value = self.tokens[matrix, "top"][0]
            said.append(f"{matrix} {token!r} {value:.3f} (random {self.random[matrix, 'top'].value:.3f})")
        return f"Vocabulary({self.size} tokens; nearest: {', '.join(said)})"

    def beyond(self, matrix: str, end: str) -> tuple[str, ...]:
        """The tokens that lie farther out than the extreme of 97.5 % of random directions."""
        control = self.random[matrix, end]
        if control.low is None or control.high is None:
            return ()
        limit = control.high if end == "top" else control.low
        return tuple(token for token, value in self.tokens[matrix, end] if (value > limit) == (end == "top"))

    def plot(self) -> Any:
        """Bars of the named tokens, beside what random directions reach."""
        from workbench.plots.geometry import tokens_figure

        said = {"top": "nearest", "bottom": "farthest"}
        names = {key: f"{key[0]}, {said[key[1]]}" for key in self.tokens}
        return tokens_figure(
            {names[key]: tokens for key, tokens in self.tokens.items()},
            {names[key]: score for key, score in self.random.items()},
        )

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each token that is named, with what random directions reach."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """The same as plain values."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for (matrix, end), named in self.tokens.items():
            control = self.random[matrix, end]
            for token, value in named:
                yield {
                    "matrix": matrix, "end": end, "token": token, "cosine": value, "random": control.value,
                    "random_low": control.low, "random_high": control.high, "random_n": control.n, "n": self.size,
                }  # fmt: skip


def vocabulary_of(subject: Subject, direction: Direction, *, top: int = 10, seed: int = 0) -> Vocabulary:
    """The `top` nearest and farthest tokens of a direction of this model.

    Raises DirectionError where it is of another model, UsageError where `top` is not from 1 to the number of tokens.
    """
    direction.check_fits(subject)
    unit = direction.unit.cpu()
    units = torch.stack([unit, *(random_unit(unit, seed + number) for number in range(_RANDOM))])
    weights = (subject.bridge.W_E, subject.bridge.W_U.T)
    if not 1 <= top <= len(weights[0]):
        raise UsageError(f"{subject.name} has {len(weights[0])} tokens, so {top} of them cannot be named.")
    tokens, random = {}, {}
    for matrix, rows in zip(MATRICES, weights, strict=True):
        cosines = _cosines(units, rows)
        for end in ENDS:
            tokens[matrix, end] = _named(subject, cosines[0], top, end)
            reached = cosines[1:].amax(dim=1) if end == "top" else cosines[1:].amin(dim=1)
            random[matrix, end] = _reached(f"{matrix}, {end}, random", reached.tolist())
    return Vocabulary(tokens, random, len(weights[0]))


@torch.inference_mode()
def _cosines(units: Float[Tensor, "n d_model"], rows: Float[Tensor, "token d_model"]) -> Float[Tensor, "n token"]:
    """Cosines with every row; a row of zeros, which padding may be, has 0."""
    parts = []
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS].cpu().float()
        parts.append(units @ torch.nn.functional.normalize(part, dim=1).T)
    return torch.cat(parts, dim=1)


def _named(subject: Subject, cosines: Float[Tensor, " token"], top: int, end: str) -> tuple[tuple[str, float], ...]:
    values, places = cosines.topk(top, largest=end == "top")
    return tuple(
        (str(subject.tokenizer.decode([token])), value)
        for token, value in zip(places.tolist(), values.tolist(), strict=True)
    )


def _reached(name: str, values: Sequence[float]) -> Score:
    low, high = (float(end) for end in np.quantile(values, [0.025, 0.975]))
    return Score(name=name, value=float(np.mean(values)), low=low, high=high, n=len(values))
