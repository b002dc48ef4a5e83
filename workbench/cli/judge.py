"""workbench judge"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli import judging as j
from workbench.cli import options as o
from workbench.cli.display import interval, percent, show, table, watching

_MEASURES = ("refusal", "compliance", "evasion", "broken", "unjudged")


def command(
    completions: Annotated[Path, typer.Argument(help="JSON of prompts and responses, from any tool.")],
    judge: j.Name = "local",
    judge_model: j.Model = None,
    judge_url: j.Url = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """Judge stored completions, such as those of Heretic or of the paper's code; writes a run folder."""
    with watching():
        from workbench.evaluation.completions import record_judged

        folder = record_judged(completions, j.make(judge, judge_model, judge_url), out=out)
    results = folder.results() | {"run": str(folder.path)}
    show(results, json, *judge_tables(results), f"The run is in {folder.path} (scores.csv, replies.parquet).")


def judge_tables(results: Mapping[str, Any]) -> list[Any]:
    """The outcomes of a file of completions."""
    scores = {score["name"].split("/")[-1]: score for score in results["scores"]}
    rows = [[name, percent(scores[name]), str(scores[name]["n"])] for name in _MEASURES if name in scores]
    rows += [[m, interval(scores[m]), str(scores[m]["n"])] for m in ("judge_score", "repetition") if m in scores]
    kappa = results["judge"]["kappa"]
    agreed = f"Cohen's kappa {interval(kappa)}, n={kappa['n']}" if kappa else "agreement with hand labels unknown"
    return [table(f"Outcomes by the {results['judge']['name']} judge ({agreed})", ("outcome", "share", "n"), rows)]
