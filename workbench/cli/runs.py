"""workbench runs list | show | verify"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.card import card_tables
from workbench.cli.concepts import train_tables
from workbench.cli.cone import cone_tables
from workbench.cli.display import found_tables, show, table
from workbench.cli.dose import dose_tables
from workbench.cli.evaluations import evaluation_tables
from workbench.cli.judge import judge_tables
from workbench.cli.minimise import minimise_tables
from workbench.cli.options import Json
from workbench.cli.sweep import sweep_tables

app = typer.Typer(help="What happened: list, show and verify run folders.", no_args_is_help=True)
Run = Annotated[Path, typer.Argument(help="A run folder.")]


@app.command("list")
def list_command(json: Json = False) -> None:
    """All run folders, oldest first."""
    from workbench.runs import list_runs, runs_root

    found = [(folder.path, folder.manifest, folder.state) for folder in list_runs()]
    rows = [[m.command, m.model["name"], state, m.started, str(path)] for path, m, state in found]
    value = {"runs": [{"path": str(path), "identity": m.identity, "status": state} for path, m, state in found]}
    empty = f"There are no runs in {runs_root()} yet; `workbench demo` makes one."
    shown = table("Runs", ("command", "model", "status", "started", "folder"), rows) if rows else empty
    show(value, json, shown)


@app.command("show")
def show_command(run: Run, json: Json = False) -> None:
    """What a run was asked and what it found."""
    from workbench.runs import RunFolder

    folder = RunFolder.open(run)
    value: dict[str, Any] = {"manifest": folder.manifest.model_dump(mode="json")}
    tables: list[Any] = [f"{folder.manifest.command} of {folder.manifest.model['name']}: {folder.state}"]
    if folder.done:
        folder.require_readable()
        value["results"] = folder.results()
        tables += result_tables(folder.manifest.command, value["results"])
    show(value, json, *tables)


@app.command("inspect")
def inspect_command(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: RUN-inspect.")] = None,
    json: Json = False,
) -> None:
    """Write a run's replies as logs that Inspect View opens, one a condition and set."""
    from workbench.errors import RunError
    from workbench.evaluation.inspect_log import write_inspect_logs
    from workbench.evaluation.measuring import REPLIES
    from workbench.evaluation.rederiving import rebuilt
    from workbench.runs import RunFolder

    folder = RunFolder.open(run)
    if not folder.done or not (run / REPLIES).exists():
        raise RunError(f"{run} has no judged replies to write; give a finished evaluate, dose, demo or judge run.")
    where = out or run.resolve().with_name(f"{run.resolve().name}-inspect")
    paths = write_inspect_logs(where, rebuilt(folder), folder.manifest)
    said = f"{len(paths)} logs are in {where}; open them with: inspect view --log-dir {where}"
    show({"logs": [str(path) for path in paths]}, json, said)


@app.command("verify")
def verify_command(run: Run, json: Json = False) -> None:
    """Check the hashes of a run, and derive its scores again from what it stored."""
    from workbench.errors import RunError
    from workbench.runs import RunFolder
    from workbench.studies.verifying import verify_run

    folder = RunFolder.open(run)
    faults = verify_run(folder)
    if faults:
        show({"verified": False, "faults": faults}, json)
        raise RunError(f"{run} does not verify: {' '.join(faults)}")
    files = len(folder.manifest.artefacts)
    said = f"Verified: {files} files as recorded, and every score comes out of them again."
    show({"verified": True, "faults": [], "files": files}, json, said)


def result_tables(command: str, results: dict[str, Any]) -> list[Any]:
    """The tables of a finished run."""
    makers: dict[str, Callable[[dict[str, Any]], list[Any]]] = {
        "attacks": evaluation_tables,
        "card": card_tables,
        "cone": cone_tables,
        "concepts train": train_tables,
        "demo": lambda found: [*found_tables(found["find"]), *evaluation_tables(found["evaluation"])],
        "dose": dose_tables,
        "minimise": minimise_tables,
        "find": found_tables,
        "judge": judge_tables,
        "evaluate": evaluation_tables,
        "sweep": sweep_tables,
    }
    return makers[command](results) if command in makers else []
