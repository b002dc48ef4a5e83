"""Replies told token by token in a terminal, each token coloured by its coordinate along a direction.

Blue is where the negative class stands, grey half-way, orange where the positive one does: Okabe and Ito's colours,
which nobody confuses.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from workbench.cli.display import plain, stopping

if TYPE_CHECKING:
    from workbench.directions import Direction
    from workbench.generation import Token
    from workbench.interventions import Recipe
    from workbench.models import Subject
    from workbench.prompts import Prompts

_NEGATIVE, _MIDDLE, _POSITIVE = (0, 114, 178), (150, 150, 150), (213, 94, 0)


def tell(
    subject: "Subject", asked: "Prompts", recipe: "Recipe", directions: "Mapping[str, Direction]",
    options: Mapping[str, Any], divergence: bool, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Stream the replies one after the other, printing them unless `quiet`; what was measured of every token."""
    from workbench.generation import stream
    from workbench.runs import Silent, reporting

    watch = directions or {f"{d.method} {d.site} ({d.digest[:4]})": d for d in recipe.directions}
    console, told = Console(highlight=False), []
    for index in range(len(asked)):
        if not quiet:
            console.print(Text(f"\n> {plain(asked[index].text)}", style="bold"))
        tokens = []
        with (
            stopping(),
            reporting(Silent()),  # a bar would be drawn over the reply
            stream(subject, asked[index : index + 1], recipe, watch=watch, divergence=divergence, **options) as said,
        ):
            for token in said:
                tokens.append(token)
                if not quiet:
                    console.print(Text(plain(token.text), style=_style(token)), end="")
        told.append({"prompt": asked[index].text, "reply": said.replies()[0].text, "tokens": _rows(tokens)})
        if not quiet:
            console.print(Text("\n" + plain(_summary(tokens, divergence)), style="dim"))
    return {"replies": told}


def _style(token: "Token") -> str:
    if not token.watched:
        return ""
    share = min(max(next(iter(token.watched.values())), 0.0), 1.0)
    start, end, way = (_NEGATIVE, _MIDDLE, 2 * share) if share < 0.5 else (_MIDDLE, _POSITIVE, 2 * share - 1)
    red, green, blue = (round(a + (b - a) * way) for a, b in zip(start, end, strict=True))
    return f"rgb({red},{green},{blue})"


def _rows(tokens: "Sequence[Token]") -> list[dict[str, Any]]:
    return [
        {"id": t.id, "text": t.text, "logprob": t.logprob, "entropy": t.entropy, "watched": dict(t.watched), "kl": t.kl}
        for t in tokens
    ]


def _summary(tokens: "Sequence[Token]", divergence: bool) -> str:
    """One line below a reply: what the colours mean, and the means."""
    if not tokens:
        return "no tokens"
    n = len(tokens)
    parts = [f"{n} tokens", f"mean entropy {sum(t.entropy for t in tokens) / n:.2f} nats"]
    if name := next(iter(tokens[0].watched), ""):
        mean = sum(t.watched[name] for t in tokens) / n
        parts.append(f"mean coordinate along {name} {mean:.2f} (blue 0, orange 1, in class gaps)")
    if divergence:
        parts.append(f"mean KL from the unedited model {sum(t.kl or 0.0 for t in tokens) / n:.3f} nats")
    return ", ".join(parts)
