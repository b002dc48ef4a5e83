"""An evaluation as one HTML page: its tables and figures, readable without a network, and nothing of it is markup."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.evaluation.comparison import BASELINE, HEADLINE, Evaluation
from workbench.evaluation.figures import figures
from workbench.runs.pages import drawn_in, number, page, section, table


def report(title: str, evaluation: Evaluation, results: Mapping[str, Any], command: str) -> str:
    """The page."""
    drawn = figures(evaluation)
    parts = [
        _said(evaluation, command),
        section("What was gained", _tax(results["tax"]["gained"])),
        section("What it cost", _tax(results["tax"]["cost"])),
        section("Attack success rate", _attacks(results.get("attack_success_rate", {}))),
        *(section(name, drawn_in(figure, place)) for place, (name, figure) in enumerate(drawn.items())),
        section("By type of prompt", _types(results.get("by_type", ()))),
        section("What the search saw, and what the test says", _gap(results["search_and_test"])),
        section("All scores", _scores(evaluation)),
        section("Prompts that a narrower interval takes", _least(results["least_n"])),
        section("Not measured", table(("metric", "why"), evaluation.missing.items())),
    ]
    return page(title, parts)


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


def _attacks(rates: Mapping[str, Mapping[str, Any]]) -> str:
    cells = [(condition, number(rate), rate["n"]) for condition, rate in rates.items()]
    return table(("condition", "share of harmful requests that get coherent compliance", "n"), cells)


def _types(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (r["group"], r["type"], r["condition"], *("" if r[m] is None else number(r[m]) for m in HEADLINE),
         r["refusal"]["n"] if r["refusal"] else 0)
        for r in rows
    ]  # fmt: skip
    return table(("set", "type", "condition", "refusal", "coherent compliance", "n"), cells)


def _tax(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (r["group"], r["measure"], r["against"], number(r["before"]), number(r["after"]), number(r["change"]),
         f"{r['change']['adjusted']:.2g}", r["change"]["n"], r["change"]["says"])
        for r in rows
    ]  # fmt: skip
    return table(("set", "measure", "against", "before", "after", "change", "p (Holm)", "n", "says"), cells)


def _gap(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (row["score"], row["by"], number(seen), seen["n"], number(test), test["n"], number(row["gap"]))
        for row, seen, test in ((row, row["search"], row["test"]) for row in rows)
    ]
    return table(("score", "chosen by", "validation prompts", "n", "test prompts", "n", "gap"), cells)


def _scores(evaluation: Evaluation) -> str:
    cells = []
    for score in evaluation.scores():
        condition, group, measure = score.name.rsplit("/", 2)
        change = evaluation.difference(condition, group, measure)
        shown = ("", "", "") if change is None else (number(change.model_dump()), f"{change.adjusted:.2g}", change.says)
        baseline = ("", "", "") if condition == BASELINE else shown
        cells.append((group, measure, condition, number(score.model_dump()), score.n, *baseline))
    cells.sort(key=lambda row: (row[0], row[1]))
    return table(("set", "measure", "condition", "value", "n", "change", "p (Holm)", "says"), cells)


def _least(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [(r["group"], r["measure"], f"± {r['plus_or_minus']:g}", r["least_n"], r["n"]) for r in rows]
    return table(("set", "measure", "for", "n needed", "n here"), cells)
