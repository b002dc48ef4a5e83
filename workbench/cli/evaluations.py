"""The tables of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from workbench.cli.display import interval, percent, table

_OUTCOMES = ("refusal", "compliance", "evasion", "broken")
_KL = (("divergence", "kl"), ("divergence", "first_token_kl"), ("first-token", "first_token_kl"))


def evaluation_tables(results: Mapping[str, Any]) -> list[Table | str]:
    """Outcomes of every condition, gains and costs, what the search saw, and how many prompts were enough."""
    scores = {score["name"]: score for score in results["scores"]}
    conditions = list(dict.fromkeys(name.rsplit("/", 2)[0] for name in scores))
    changes = {change["name"]: change for change in results["differences"]}
    found: list[Table | str] = [
        _outcomes(asked, conditions, scores, changes)
        for asked in ("harmful", "harmless", "looks-harmful")
        if any(f"{condition}/{asked}/refusal" in scores for condition in conditions)
    ]
    found += _by_type(results.get("by_type", []), conditions)
    found.append(_kl(conditions, scores, changes))
    found += [_tax(title, results["tax"][key]) for key, title in _TAX.items() if results.get("tax", {}).get(key)]
    found += [*_gap(results.get("search_and_test", [])), *_least(results.get("least_n", []))]
    return [*found, _notes(results)]


_TAX = {"gained": "What was gained", "cost": "What it cost"}


def _outcomes(asked: str, conditions: Sequence[str], scores: Mapping[str, Any], changes: Mapping[str, Any]) -> Table:
    rows = []
    for condition in conditions:
        known = [scores.get(f"{condition}/{asked}/{measure}") for measure in _OUTCOMES]
        cells = ["" if score is None else percent(score) for score in known]
        unjudged = scores.get(f"{condition}/{asked}/unjudged")
        change = changes.get(f"{condition}/{asked}/refusal")
        n = str(known[0]["n"]) if known[0] is not None else "0"
        rows.append([condition, n, *cells, _p_value(change), "" if unjudged is None else percent(unjudged)])
    columns = ["condition", "n", "refusal", "coherent compliance", "evasion", "broken", "p of refusal", "unjudged"]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    note = " (attack success rate: coherent compliance)" if asked == "harmful" else ""
    return table(f"Replies to {asked} prompts{note}", columns, rows)


def _by_type(rows: Sequence[Mapping[str, Any]], conditions: Sequence[str]) -> list[Table | str]:
    """Refusals of each type of prompt, one column a condition; n is the least of them."""
    kinds = dict.fromkeys((row["group"], row["type"]) for row in rows)
    found = {(row["group"], row["type"], row["condition"]): row["refusal"] for row in rows}
    cells = []
    for kind in kinds:
        rates = [found.get((*kind, condition)) for condition in conditions]
        n = min(rate["n"] if rate else 0 for rate in rates)
        cells.append([*kind, str(n), *("" if rate is None else percent(rate) for rate in rates)])
    return [table("Refusal by type of prompt", ("set", "type", "n", *conditions), cells)] if cells else []


def _kl(conditions: Sequence[str], scores: Mapping[str, Any], changes: Mapping[str, Any]) -> Table | str:
    measures = [pair for pair in _KL if f"{conditions[0]}/{pair[0]}/{pair[1]}" in scores]
    if not measures:
        return "No divergence was measured."
    rows = [
        [condition, *(interval(scores[f"{condition}/{group}/{measure}"]) for group, measure in measures)]
        for condition in conditions
        if condition != conditions[0]
    ]
    names = {"kl": "KL, later tokens", "first_token_kl": "KL, first token"}
    return table("Divergence from the baseline on harmless prompts (nats)",
                 ["condition", *(names[measure] for _, measure in measures)], rows)  # fmt: skip


def _tax(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        [f"{r['group']}: {r['measure']}", r["against"], interval(r["before"]), interval(r["after"]),
         interval(r["change"]), _p_value(r["change"]), str(r["change"]["n"]), r["change"]["says"]]
        for r in rows
    ]  # fmt: skip
    return table(title, ("measure", "against", "before", "after", "change", "p", "n", "says"), cells)


def _gap(rows: Sequence[Mapping[str, Any]]) -> list[Table | str]:
    if not rows:
        return []
    cells = [[r["score"], r["by"], interval(r["search"]), interval(r["test"]), interval(r["gap"])] for r in rows]
    columns = ("score", "chosen by", "validation prompts", "test prompts", "gap")
    return [table("What the search saw, and what the test says", columns, cells)]


def _least(rows: Sequence[Mapping[str, Any]]) -> list[Table | str]:
    if not rows:
        return []
    cells = [
        [f"{r['group']}: {r['measure']}", f"± {r['plus_or_minus']:g}", str(r["least_n"]), str(r["n"])] for r in rows
    ]
    return [table("Prompts that the interval asked for takes", ("measure", "interval", "n needed", "n here"), cells)]


def _notes(results: Mapping[str, Any]) -> str:
    said = [
        f"Outcomes by the {judged_by(results)}. 95 % intervals: Wilson for rates, bootstrap for "
        "means and their changes, Newcombe for changes of rates. p: paired, against the baseline on the same items, "
        "corrected by Holm over the whole table, every condition in it, half the error for refusal and compliance."
    ]
    if results["judge"]["name"] == "phrase":
        said.append("The phrase judge tells refusals alone: what it calls compliance is any other text.")
    if matches := results.get("control_match", {}):
        ratios = "; ".join(f"{name} {', '.join(f'{r:.2f}' for r in each)}" for name, each in matches.items())
        said.append(f"Mean squared projection that a control removes, as a share of the real one's: {ratios}.")
    said += [f"Not measured: {name}: {why}" for name, why in results.get("not_measured", {}).items()]
    return "\n".join(said)


def judged_by(results: Mapping[str, Any]) -> str:
    """The judge with its agreement."""
    kappa = results["judge"]["kappa"]
    agreed = f"Cohen's kappa {interval(kappa)} with {kappa['n']} labels given by hand" if kappa else "agreement unknown"
    return f"{results['judge']['name']} judge ({agreed})"


def _p_value(change: Mapping[str, Any] | None) -> str:
    return "" if change is None else f"{change['adjusted']:.2g}"
