"""An evaluation as one HTML page: its tables and figures, readable without a network, and nothing of it is markup."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.evaluation.comparison import BASELINE, HEADLINE, Evaluation
from workbench.evaluation.figures import figures

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .28rem .6rem; border-bottom: 1px solid #ddd } th { border-bottom: 2px solid #888 }
td.n { text-align: right } .quiet { color: #666 } .shown { font-weight: 600 } code { overflow-wrap: anywhere }
.wide { overflow-x: auto }
"""
_HEAD = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'


def report(title: str, evaluation: Evaluation, results: Mapping[str, Any], command: str) -> str:
    """The page."""
    drawn = figures(evaluation)
    parts = [
        f"{_HEAD}<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>",
        _said(evaluation, command),
        _section("What was gained", _tax(results["tax"]["gained"])),
        _section("What it cost", _tax(results["tax"]["cost"])),
        _section("Attack success rate", _attacks(results.get("attack_success_rate", {}))),
        *(_section(name, _drawn(figure, place)) for place, (name, figure) in enumerate(drawn.items())),
        _section("By type of prompt", _types(results.get("by_type", ()))),
        _section("What the search saw, and what the test says", _gap(results["search_and_test"])),
        _section("All scores", _scores(evaluation)),
        _section("Prompts that a narrower interval takes", _least(results["least_n"])),
        _section("Not measured", _table(("metric", "why"), evaluation.missing.items())),
    ]
    return "\n".join(part for part in parts if part) + "</body></html>\n"


def _said(evaluation: Evaluation, command: str) -> str:
    agreed = evaluation.agreement
    kappa = f"Cohen's kappa {agreed} with {agreed.n} labels given by hand" if agreed else "agreement unknown"
    return (
        f"<p>Outcomes by the {html.escape(evaluation.judge)} judge ({kappa}). Intervals are 95 %: Wilson for rates, "
        "bootstrap for means and their changes, Newcombe for changes of rates. p values are of paired tests on the "
        "same items (McNemar, exact; sign flips), corrected by Holm over the whole table, every condition in it, "
        "half of the error kept for refusal and compliance. Controls are live passes.</p>"
        f"<p>Derive every number again, in the folder of this page: <code>{html.escape(command)}</code></p>"
    )


def _section(name: str, body: str) -> str:
    return f"<h2>{html.escape(name)}</h2>{body}" if body else ""


def _drawn(figure: Any, place: int) -> str:
    """The first brings the script that draws; Plotly would name each at random, and no two runs' pages be the same."""
    made: str = figure.to_html(full_html=False, include_plotlyjs=place == 0, div_id=f"figure-{place}")
    return made


def _attacks(rates: Mapping[str, Mapping[str, Any]]) -> str:
    cells = [(condition, number(rate), rate["n"]) for condition, rate in rates.items()]
    return _table(("condition", "share of harmful requests that get coherent compliance", "n"), cells)


def _types(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (r["group"], r["type"], r["condition"], *("" if r[m] is None else number(r[m]) for m in HEADLINE),
         r["refusal"]["n"] if r["refusal"] else 0)
        for r in rows
    ]  # fmt: skip
    return _table(("set", "type", "condition", "refusal", "coherent compliance", "n"), cells)


def _tax(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (r["group"], r["measure"], r["against"], number(r["before"]), number(r["after"]), number(r["change"]),
         f"{r['change']['adjusted']:.2g}", r["change"]["n"], r["change"]["says"])
        for r in rows
    ]  # fmt: skip
    return _table(("set", "measure", "against", "before", "after", "change", "p (Holm)", "n", "says"), cells)


def _gap(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (row["score"], row["by"], number(seen), seen["n"], number(test), test["n"], number(row["gap"]))
        for row, seen, test in ((row, row["search"], row["test"]) for row in rows)
    ]
    return _table(("score", "chosen by", "validation prompts", "n", "test prompts", "n", "gap"), cells)


def _scores(evaluation: Evaluation) -> str:
    cells = []
    for score in evaluation.scores():
        condition, group, measure = score.name.rsplit("/", 2)
        change = evaluation.difference(condition, group, measure)
        shown = ("", "", "") if change is None else (number(change.model_dump()), f"{change.adjusted:.2g}", change.says)
        baseline = ("", "", "") if condition == BASELINE else shown
        cells.append((group, measure, condition, number(score.model_dump()), score.n, *baseline))
    cells.sort(key=lambda row: (row[0], row[1]))
    return _table(("set", "measure", "condition", "value", "n", "change", "p (Holm)", "says"), cells)


def _least(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [(r["group"], r["measure"], f"± {r['plus_or_minus']:g}", r["least_n"], r["n"]) for r in rows]
    return _table(("set", "measure", "for", "n needed", "n here"), cells)


def number(score: Mapping[str, Any]) -> str:
    """A value with its interval."""
    if score["low"] is None:
        return f"{score['value']:.3g}{' [n=1]' if score.get('n') == 1 else ''}"
    return f"{score['value']:.3g} [{score['low']:.3g}, {score['high']:.3g}]"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>' if body else ""
