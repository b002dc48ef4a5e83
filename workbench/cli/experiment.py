"""workbench experiment list | run"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import show, table, watching

app = typer.Typer(name="experiment", help="One question each, answered from settings in a file.", no_args_is_help=True)

_Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE over a setting; may be repeated.")]
_File = Annotated[Path | None, typer.Option(help="A TOML file such as the experiment's own.")]
_Log = Annotated[Path | None, typer.Option(help="A file that the result is added to, as a line.")]


@app.command("list")
def list_them(json: o.Json = False) -> None:
    """The questions, where they come from, and how long they take."""
    from experiments.listing import experiments

    found = experiments()
    rows = [[name, each.question, each.source, each.takes] for name, each in found.items()]
    value = {"experiments": {name: each.model_dump() for name, each in found.items()}}
    needs = [f"{name} needs {what}." for name, each in found.items() for what in each.needs.values()]
    hint = "workbench experiment run NAME; --set changes one of its settings, which `list --json` prints."
    show(value, json, table("Experiments", ("name", "question", "after", "takes"), rows), "\n".join([*needs, hint]))


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Which; `workbench experiment list` names them.")],
    settings: _File = None,
    change: _Set = None,
    log: _Log = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """Answer a question; writes a run folder with its figure, and a line in words."""
    with watching():
        from experiments.experiment import FIGURE, run_experiment, settings_of
        from workbench.runs.files import append_text

        chosen = settings_of(name, settings, _changes(change or ()))
        folder = run_experiment(name, chosen, out)
        results = folder.results() | {"run": str(folder.path)}
        if log is not None:
            append_text(log, f"{results['line']}\n")
    where = f"The run is in {folder.path}; its figure is {FIGURE}. `workbench runs verify {folder.path}` checks it."
    show(results, json, str(results["line"]), where)


def _changes(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE, the value as TOML writes it, or as it is where that is no TOML."""
    from workbench.errors import UsageError

    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} cannot be read; write NAME=VALUE.")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value
    return found
