"""One prompt under a lens: what each layer would say after each token, and how it stands to chosen tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from probes.lenses.lens import Lens, depth
from probes.lenses.readout import Groups, Readout, end_streams, read_out
from workbench.errors import LensError, UsageError
from workbench.interventions import Recipe
from workbench.models import Site, Subject, token_rows
from workbench.prompts import Prompt, Prompts

if TYPE_CHECKING:
    import pandas as pd

_ROWS_SHOWN = 12


@dataclass(frozen=True, eq=False)
class LensMap:
    """A `Readout` whose rows are the last tokens of one prompt. `likeliest` are the texts of its top tokens."""

    method: str
    model_name: str
    prompt_digest: str
    sites: tuple[Site, ...]
    tokens: tuple[str, ...]
    groups: tuple[str, ...]
    likeliest: tuple[tuple[tuple[str, ...], ...], ...]
    read: Readout

    def __repr__(self) -> str:
        said = " → ".join(repr(self.likeliest[-1][site][0]) for site in self._few)
        return f"LensMap({self.method} lens of {self.model_name}, {len(self.tokens)} tokens; after the last: {said})"

    @property
    def _few(self) -> list[int]:
        return sorted({round(each) for each in np.linspace(0, len(self.sites) - 1, 5)})

    def _repr_html_(self) -> str:
        kept = self.to_pandas().tail(_ROWS_SHOWN * len(self.groups)).to_html(index=False, escape=True)
        return f"<code>{escape(repr(self))}</code>{kept}"

    def log_odds(self, group: str) -> Float64[np.ndarray, "site token"]:
        """The log-odds of a group at every site and token."""
        return self.read.log_odds[..., self.group(group)].numpy().T

    def group(self, name: str) -> int:
        """The number of a group. Raises LensError where there is none of that name."""
        if name not in self.groups:
            raise LensError(f"The lens did not follow {name!r}; it followed: {', '.join(map(repr, self.groups))}.")
        return self.groups.index(name)

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each token, site and group."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        read, first = self.read, -len(self.tokens)
        for row, token in enumerate(self.tokens):
            for place, site in enumerate(self.sites):
                top = self.likeliest[row][place]
                where = {"position": first + row, "token": token, "site": str(site), "depth": depth(site)}
                said = {"top": list(top), "top_probability": read.top_probability[row, place].tolist()}
                off = {"entropy": float(read.entropy[row, place]), "kl": float(read.kl[row, place])}
                for number, name in enumerate(self.groups):
                    yield where | said | off | {
                        "group": name, "rank": int(read.rank[row, place, number]),
                        "probability": float(read.probability[row, place, number]),
                        "log_odds": float(read.log_odds[row, place, number]),
                    }  # fmt: skip

    def plot(self) -> Any:
        """The likeliest token of every layer after every token; the darker, the likelier."""
        from workbench.plots.lenses import tokens_map

        words = [[self.likeliest[row][place][0] for row in range(len(self.tokens))] for place in range(len(self.sites))]
        return tokens_map(self.read.top_probability[..., 0].numpy().T, words, self.tokens, self._depths, self._hovers())

    def plot_group(self, group: str | None = None) -> Any:
        """The log-odds of a group (default: the first) at every layer and token, its rank in the cells."""
        from workbench.plots.lenses import values_map

        name = self.groups[0] if group is None else group
        ranks = self.read.rank[..., self.group(name)].numpy().T
        return values_map(
            self.log_odds(name), [[_short(int(rank)) for rank in line] for line in ranks], self.tokens, self._depths,
            f"log-odds of<br>{name} (nats);<br>in cells: its<br>rank, from 0",
        )  # fmt: skip

    @property
    def _depths(self) -> list[int]:
        return [depth(site) for site in self.sites]

    def _hovers(self) -> list[list[str]]:
        """For every site and token, the top tokens and the groups' numbers, line by line."""
        return [[self._hover(row, place) for row in range(len(self.tokens))] for place in range(len(self.sites))]

    def _hover(self, row: int, place: int) -> str:
        read = self.read
        top = zip(self.likeliest[row][place], read.top_probability[row, place].tolist(), strict=True)
        lines = [f"{text!r} {100 * probability:.1f} %" for text, probability in top]
        lines += [
            f"{name}: rank {int(read.rank[row, place, g])}, {100 * float(read.probability[row, place, g]):.2g} %"
            for g, name in enumerate(self.groups)
        ]
        return "\n".join([*lines, f"KL to the output {float(read.kl[row, place]):.2f} nats"])


def _short(rank: int) -> str:
    return str(rank) if rank < 1000 else f"{rank / 1000:.0f}k"


def lens_map(
    subject: Subject,
    lens: Lens,
    prompt: Prompt,
    groups: Groups,
    *,
    recipe: Recipe | None = None,
    last: int = 16,
    top: int = 5,
) -> LensMap:
    """Read the `last` tokens of one prompt, or all of them where it has fewer, under a recipe.

    `groups` are the tokens to follow, by name. Raises LensError where the lens is of another model, UsageError where a
    token is unknown, CaptureError where an activation is not a finite number.
    """
    if last < 1:
        raise UsageError(f"A map needs one token or more; {last} were asked for.")
    one = Prompts((prompt,), "the prompt")
    (row,) = token_rows(subject, one)
    kept = min(last, len(row))
    streams = end_streams(subject, lens, one, range(-kept, 0), recipe)
    read = read_out(subject, lens, streams[0], groups, top)
    texts = {token: str(subject.tokenizer.decode([token])) for token in {*row, *read.top.flatten().tolist()}}
    likeliest = tuple(tuple(tuple(texts[t] for t in top) for top in line) for line in read.top.tolist())
    tokens = tuple(texts[token] for token in row[-kept:])
    return LensMap(lens.method, subject.name, prompt.digest, lens.sites, tokens, tuple(groups), likeliest, read)
