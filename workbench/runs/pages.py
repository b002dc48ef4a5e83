"""A page of HTML that is readable without a network: sections, tables, figures. No text that it is given is markup."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .28rem .6rem; border-bottom: 1px solid #ddd } th { border-bottom: 2px solid #888 }
td.n { text-align: right } .quiet { color: #666 } .shown { font-weight: 600 } code { overflow-wrap: anywhere }
.wide { overflow-x: auto }
"""
_HEAD = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'


def page(title: str, sections: Iterable[str]) -> str:
    """The page; empty sections are left out."""
    said = html.escape(title)
    head = f"{_HEAD}<title>{said}</title><style>{_STYLE}</style></head><body><h1>{said}</h1>"
    return "\n".join([head, *filter(None, sections)]) + "</body></html>\n"


def section(name: str, body: str) -> str:
    """A heading above a body; nothing where there is no body."""
    return f"<h2>{html.escape(name)}</h2>{body}" if body else ""


def paragraph(text: str) -> str:
    """Plain text."""
    return f"<p>{html.escape(text)}</p>"


def drawn_in(figure: Any, place: int) -> str:
    """A figure; the first (place 0) brings the script that draws.

    Plotly would name each at random, and no two runs' pages be the same.
    """
    made: str = figure.to_html(full_html=False, include_plotlyjs=place == 0, div_id=f"figure-{place}")
    return made


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; nothing where there are no rows."""
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>' if body else ""


def number(score: Mapping[str, Any]) -> str:
    """A value with its interval."""
    if score["low"] is None:
        return f"{score['value']:.3g}{' [n=1]' if score.get('n') == 1 else ''}"
    return f"{score['value']:.3g} [{score['low']:.3g}, {score['high']:.3g}]"
