"""What was seen of one text, as plain values that are written as JSON, read again, and drawn.

Rows are sites of the stream, from the embedding up; columns are the last tokens of the text. It is one text: numbers
here are no estimates, have no intervals, and say of other texts nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict

from workbench.display import Shown
from workbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from workbench.plots import Figure

PLAIN, EDITED = "as it is", "under the recipe"
Grid = list[list[float]]
_WIDE = 8  # tokens of a map with words in it


class View(BaseModel):
    """The text under one recipe, by site and token: where it stands, and what a logit lens reads.

    `top` are the likeliest tokens, with their probabilities in `likely`; `probability` is that of the followed tokens
    together, `rank` how many tokens are likelier than the likeliest of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinate: Grid
    top: list[list[list[str]]]
    likely: list[list[list[float]]]
    probability: Grid
    rank: list[list[int]]


class NextToken(BaseModel):
    """A token that is likely next, and how likely, under each recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    probability: dict[str, float]


class Seen(BaseModel, Shown):
    """One text under the microscope.

    `depths` are the blocks that the stream has passed, `own` the depth at which the direction was found (None where
    that is no place of the stream). `kl` is KL(under the recipe || as it is) of the next token, in nats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: dict[str, str]
    text: str
    prefill: str
    direction: str
    site: str
    own: int | None
    recipe: str
    followed: list[str]
    tokens: list[str]
    depths: list[int]
    views: dict[str, View]
    following: list[list[NextToken]]
    kl: list[float] | None

    def __repr__(self) -> str:
        return f"Seen({len(self.tokens)} tokens x {len(self.depths)} sites of {self.model['name']}, {self.direction})"

    def grid(self, view: str, what: str = "coordinate") -> Float64[np.ndarray, "site token"]:
        """Numbers of a view; of "change", those under the recipe less those of the model as it is."""
        if view == "change":
            return self.grid(EDITED, what) - self.grid(PLAIN, what)
        if view not in self.views:
            raise UsageError(f"Nothing was seen {view!r}; there are: {', '.join(self.views)}.")
        return np.array(getattr(self.views[view], what), dtype=np.float64)

    def plot(self, view: str = PLAIN, token: int | None = None) -> "Figure":
        """The coordinate at every layer and token."""
        from workbench.plots.microscope import coordinates_map

        title = "change, class gaps" if view == "change" else "class gaps from the negative class"
        return coordinates_map(self.grid(view), self.tokens, self.depths, title, own=self.own, token=token)

    def plot_next(self, token: int) -> "Figure":
        """What comes after a token, under each recipe."""
        from workbench.plots.microscope import next_tokens_figure

        likely = self.following[token]
        bars = {view: [each.probability[view] for each in likely] for view in self.views}
        return next_tokens_figure([each.text for each in likely], bars)

    def plot_lens(self, view: str = PLAIN, by: str = "likely", *, upto: int = -1) -> "Figure":
        """The likeliest token of every layer, after the eight tokens that end with `upto`.

        The ground is its own probability (by "likely"), or that of the followed tokens (by "probability").
        """
        from workbench.plots.lenses import tokens_map
        from workbench.plots.microscope import bar_above

        seen, columns = self.views[view], self.window(upto)
        words = [[line[token][0] for token in columns] for line in seen.top]
        followed = by == "probability"
        values = self.grid(view, by) if followed else np.array(seen.likely)[..., 0]
        title = "probability of the followed tokens" if followed else "probability of the top token"
        hovers = [[self._hover(seen, site, token) for token in columns] for site in range(len(self.depths))]
        tokens = [self.tokens[token] for token in columns]
        return bar_above(tokens_map(values[:, columns], words, tokens, self.depths, hovers, title=title))

    def window(self, upto: int) -> list[int]:
        """The eight tokens that end with one of them, or the first eight: words of more do not fit a page."""
        end = max(upto % len(self.tokens) + 1, min(_WIDE, len(self.tokens)))
        return list(range(max(0, end - _WIDE), end))

    def _hover(self, seen: View, site: int, token: int) -> str:
        pairs = zip(seen.top[site][token], seen.likely[site][token], strict=True)
        lines = [f"{text!r} {100 * share:.1f} %" for text, share in pairs]
        held, rank = seen.probability[site][token], seen.rank[site][token]
        return "\n".join([*lines, f"{' '.join(map(repr, self.followed))}: {100 * held:.2g} %, rank {rank}"])

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each recipe, token and site."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def next_table(self, token: int) -> "pd.DataFrame":
        """A row for each likely next token."""
        import pandas as pd

        return pd.DataFrame([{"token": each.text} | each.probability for each in self.following[token]])

    def _rows(self) -> Iterator[dict[str, Any]]:
        for name, view in self.views.items():
            for token, text in enumerate(self.tokens):
                for site, depth in enumerate(self.depths):
                    yield {
                        "recipe": name, "position": token - len(self.tokens), "token": text, "blocks passed": depth,
                        "coordinate": view.coordinate[site][token], "top token": view.top[site][token][0],
                        "top probability": view.likely[site][token][0],
                        "probability of followed": view.probability[site][token], "rank": view.rank[site][token],
                    }  # fmt: skip
