"""Explain a reply by its concepts: what each adds to every token that was said."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.concepts.attribution import PARTS, Attribution, attribute_row, head_of
from workbench.concepts.bottleneck import Bottleneck
from workbench.display import Shown
from workbench.generation import generate
from workbench.interventions import Recipe, steered
from workbench.models import Head, Subject, token_rows
from workbench.prompts import Prompt, Prompts

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Explanation(Shown):
    """A prompt, what was said, and the parts of each said token's logit."""

    prompt: str
    tokens: tuple[str, ...]
    attribution: Attribution

    def __repr__(self) -> str:
        return f"Explanation({len(self.tokens)} tokens of a reply to {self.prompt[:40]!r})"

    def top_concepts(self, n: int = 12) -> list[tuple[str, float]]:
        """The known concepts that added most, in absolute size, over the whole reply: mean logits a token."""
        mean = self.attribution.known.mean(dim=0)
        order = mean.abs().argsort(descending=True)[:n].tolist()
        return [(self.attribution.names[i], float(mean[i])) for i in order]

    def waterfall(self, token: int, n: int = 10) -> list[tuple[str, float]]:
        """The largest parts of one token's logit; the sum is the logit."""
        found = self.attribution
        named = {name: float(found.known[token, i]) for i, name in enumerate(found.names)}
        for number, value in zip(found.numbers[token].tolist(), found.discovered[token].tolist(), strict=True):
            named[f"discovered {number}"] = named.get(f"discovered {number}", 0.0) + value
        largest = sorted(named, key=lambda name: -abs(named[name]))[:n]
        rest = sum(value for name, value in named.items() if name not in largest)
        ends = {"other concepts": rest, "constant": float(found.constant[token]),
                "residual": float(found.residual[token]), "biases": float(found.biases[token])}  # fmt: skip
        return [*((name, named[name]) for name in largest), *((name, value) for name, value in ends.items() if value)]

    def to_json(self) -> dict[str, Any]:
        """The reply's tokens, their shares and the concepts that added most."""
        found = self.attribution
        shares = found.shares.mean(dim=0).tolist()
        return {
            "prompt": self.prompt,
            "tokens": list(self.tokens),
            "logits": found.logit.tolist(),
            "exact": found.exact,
            "error": float((found.total - found.logit).abs().max()) if found.exact else None,
            "shares": dict(zip(PARTS, shares, strict=True)),
            "concepts": dict(self.top_concepts(20)),
            "by_token": self.by_token(),
        }

    def by_token(self, n: int = 12) -> dict[str, Any]:
        """What the figures draw of each token: its shares, what the concepts that matter most added, and its parts."""
        found = self.attribution
        rows = {name: found.known[:, found.names.index(name)].tolist() for name, _ in self.top_concepts(n)}
        parts = [self.waterfall(token) for token in range(len(self.tokens))]
        return {
            "shares": found.shares.tolist(),
            "known": rows,
            "parts": [[list(each) for each in row] for row in parts],
        }

    def to_pandas(self, n: int = 12) -> "pandas.DataFrame":
        """One row a token: its logit, and what the concepts that matter most add to it."""
        import pandas

        added = {
            name: self.attribution.known[:, self.attribution.names.index(name)] for name, _ in self.top_concepts(n)
        }
        values = {name: column.tolist() for name, column in added.items()}
        return pandas.DataFrame({"token": self.tokens, "logit": self.attribution.logit.tolist()} | values)

    def plot(self, n: int = 12) -> Any:
        """The map of what the concepts that matter most add to each token."""
        from workbench.plots.concepts import concept_map_figure

        names = [name for name, _ in self.top_concepts(n)]
        rows = [self.attribution.names.index(name) for name in names]
        return concept_map_figure(self.tokens, names, self.attribution.known[:, rows].T.numpy(), self.attribution.exact)

    def plot_shares(self) -> Any:
        """The shares of known, discovered and residual of each token."""
        from workbench.plots.concepts import shares_figure

        return shares_figure(self.tokens, np.asarray(self.attribution.shares), self.attribution.exact)

    def plot_token(self, token: int) -> Any:
        """How one token's logit comes about."""
        from workbench.plots.concepts import waterfall_figure

        return waterfall_figure(self.waterfall(token), self.tokens[token], self.attribution.exact)


def explain(
    subject: Subject,
    bottleneck: Bottleneck,
    prompts: Prompts,
    recipe: Recipe | None = None,
    *,
    max_new_tokens: int = 32,
) -> list[Explanation]:
    """Let the model reply under a recipe, and take every token of the reply apart, under the same recipe."""
    asked = recipe or Recipe()
    replies = generate(subject, prompts, asked, max_new_tokens=max_new_tokens)
    head, found = head_of(subject, bottleneck), []
    for prompt, reply in zip(prompts, replies, strict=True):
        if not reply.tokens:
            continue
        found.append(_of_reply(subject, bottleneck, head, prompt, list(reply.tokens), asked))
    return found


def _of_reply(
    subject: Subject, bottleneck: Bottleneck, head: Head | None, prompt: Prompt, said: list[int], recipe: Recipe
) -> Explanation:
    (before,) = token_rows(subject, [prompt])
    row = [*before, *said[:-1]]
    asked = torch.tensor([*row[1:], said[-1]])
    with steered(subject, recipe):
        found = attribute_row(subject, bottleneck, row, head, asked, len(before))
    return Explanation(prompt.text, tuple(str(subject.tokenizer.decode([token])) for token in said), found)
