"""The counterfactual twin of a reply: what another recipe would have said at every token, after the same words.

    KL(other || recipe) at each position, over the whole vocabulary, teacher-forced on the reply      (nats)

and the other's most likely tokens there. Both recipes read the reply in one pass, side by side.
"""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.display import Shown
from workbench.errors import UsageError
from workbench.generation.divergence import in_float64, kl_divergence
from workbench.generation.replies import Reply
from workbench.interventions import Recipe, steered
from workbench.models import Batch, Subject, token_rows

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure

_MOST = 100  # alternatives


@dataclass(frozen=True)
class Alternative:
    """A token that the other recipe finds likely, and how likely."""

    text: str
    probability: float


@dataclass(frozen=True)
class TwinToken:
    """One token of the reply: its log-probability (nats) under both recipes, their divergence, and the other's best."""

    text: str
    logprob: float
    other_logprob: float
    kl: float
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class Counterfactual(Shown):
    """A reply, token by token, beside what `other` would have said in its place."""

    recipe: Recipe
    other: Recipe
    tokens: tuple[TwinToken, ...]

    def __repr__(self) -> str:
        return f"Counterfactual({len(self.tokens)} tokens, {self.recipe} against {self.other})"

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a token."""
        import pandas

        def best(token: TwinToken) -> str:
            return " ".join(f"{each.text!r} {each.probability:.3f}" for each in token.alternatives)

        rows = [(t.text, t.logprob, t.other_logprob, t.kl, best(t)) for t in self.tokens]
        return pandas.DataFrame(rows, columns=["token", "logprob", "other_logprob", "kl", "alternatives"])

    def plot(self) -> "Figure":
        """The reply, each token coloured by its divergence; the other's best are shown under the pointer."""
        from workbench.plots import tokens_figure

        hovers = [
            f"log p {t.logprob:.2f}, of the other {t.other_logprob:.2f}; KL {t.kl:.3f} nats<br>instead: "
            + ", ".join(f"{html.escape(repr(a.text))} {a.probability:.2f}" for a in t.alternatives)
            for t in self.tokens
        ]
        return tokens_figure(
            [t.text for t in self.tokens], [t.kl for t in self.tokens], hovers, "KL(other || recipe), nats"
        )


def counterfactual(
    subject: Subject, reply: Reply, recipe: Recipe, other: Recipe | None = None, *, top: int = 5
) -> Counterfactual:
    """The twin of `reply`, which was said under `recipe`; `other` is the unedited model by default.

    Raises UsageError where the reply has no tokens.
    """
    if not reply.tokens:
        raise UsageError("The reply is empty, so it has no twin; choose another.")
    if not 1 <= top <= _MOST:
        raise UsageError(f"The alternatives are 1 to {_MOST}, not {top}.")
    instead = other or Recipe()
    prompt = token_rows(subject, [reply.prompt])[0]
    whole = subject.batch([[*prompt, *reply.tokens]] * 2)
    n = len(reply.tokens)
    batch = Batch(whole.ids, whole.attention, whole.prompt_lengths - n)
    with steered(subject, [recipe, instead]):
        logits = subject.logits(batch, last=n + 1)[:, :-1]
    said, twin = in_float64(logits).log_softmax(dim=-1)
    divergence = kl_divergence(logits[1], logits[0]).tolist()
    best = twin.topk(top, dim=-1)
    tokens = tuple(
        TwinToken(
            text=_text(subject, token),
            logprob=float(said[place, token]),
            other_logprob=float(twin[place, token]),
            kl=divergence[place],
            alternatives=tuple(
                Alternative(_text(subject, int(index)), float(value.exp()))
                for index, value in zip(best.indices[place], best.values[place], strict=True)
            ),
        )
        for place, token in enumerate(reply.tokens)
    )
    return Counterfactual(recipe, instead, tokens)


def _text(subject: Subject, token: int) -> str:
    return str(subject.tokenizer.decode([token]))
