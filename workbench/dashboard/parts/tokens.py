"""A reply as coloured tokens. What the model said is text: every character of it is escaped, and nothing is markup."""

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.generation import Token

# Orange above, blue below: told apart by every kind of colour vision, on light ground and on dark.
_ABOVE, _BELOW = (213, 94, 0), (0, 114, 178)
_STRONGEST = 0.62  # opacity
_BOX = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.75;font-size:0.95rem"


def coloured(
    tokens: "Sequence[Token]", values: Sequence[float | None], of: str, most: float, parted: int | None = None,
    begun: str = "",
) -> str:  # fmt: skip
    """The reply as HTML: each token on a ground as strong as its value, against `most`; the number is its title.

    `of` says what the numbers are, `parted` is the first token that is another than the baseline's, `begun` what the
    reply was begun with.
    """
    spans = [f'<span style="opacity:0.6">{html.escape(begun)}</span>' if begun else ""]
    for index, (token, value) in enumerate(zip(tokens, values, strict=True)):
        mark = "border-left:2px solid #009E73;padding-left:2px;" if index == parted else ""
        title = _title(token, value, of) + (" - the first that is not the baseline's" if index == parted else "")
        spans.append(f'<span style="{_ground(value, most)}{mark}" title="{html.escape(title)}">{_text(token)}</span>')
    return f'<div style="{_BOX}">{"".join(spans)}</div>'


def largest(rows: "Sequence[Sequence[float | None]]", least: float = 1e-6) -> float:
    """The largest size among values, so that columns share a scale."""
    sizes = [abs(value) for row in rows for value in row if value is not None and math.isfinite(value)]
    return max([*sizes, least])


def first_parted(tokens: "Sequence[Token]", baseline: "Sequence[Token]") -> int | None:
    """The first place where two replies say another token; None where there is none yet."""
    both = zip(tokens, baseline, strict=False)
    return next((index for index, (one, other) in enumerate(both) if one.id != other.id), None)


def _text(token: "Token") -> str:
    return html.escape("".join(c if c == "\n" or c.isprintable() else "�" for c in token.text))


def _title(token: "Token", value: float | None, of: str) -> str:
    number = "" if value is None or not math.isfinite(value) else f"{of} {value:+.3g}; "
    return f"{number}log p {token.logprob:.2f}, entropy {token.entropy:.2f} nats"


def _ground(value: float | None, most: float) -> str:
    if value is None or not math.isfinite(value):
        return ""
    red, green, blue = _ABOVE if value >= 0 else _BELOW
    return f"background:rgba({red},{green},{blue},{_STRONGEST * min(1.0, abs(value) / most):.3f});border-radius:3px;"
