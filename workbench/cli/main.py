"""`workbench`: the commands, and one sentence for every error.

Exit status: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C. Nothing heavy is imported here, so that
`workbench --help` answers at once.
"""

import sys
from io import TextIOWrapper

import typer

from workbench.cli import app as dashboard
from workbench.cli import (
    audit_weights,
    bench,
    card,
    concepts,
    cone,
    demo,
    doctor,
    dose,
    evaluate,
    experiment,
    export,
    find,
    generate,
    geometry,
    import_,
    judge,
    lens,
    minimise,
    models,
    patch,
    probe,
    runs,
    sweep,
)
from workbench.errors import WorkbenchError

app = typer.Typer(
    name="workbench",
    help="See what alignment did inside a language model, switch it off and on, and measure what that changed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.command)
app.command("app")(dashboard.command)
app.command("doctor")(doctor.command)
app.command("models")(models.command)
app.command("find")(find.command)
app.command("generate")(generate.command)
app.command("evaluate")(evaluate.command)
app.command("dose")(dose.command)
app.command("export")(export.command)
app.command("import")(import_.command)
app.command("judge")(judge.command)
app.command("minimise")(minimise.command)
app.command("sweep")(sweep.command)
app.command("audit-weights")(audit_weights.command)
app.command("card")(card.command)
app.command("cone")(cone.command)
app.command("geometry")(geometry.command)
app.command("patch")(patch.command)
app.command("lens")(lens.command)
app.command("bench")(bench.command)
app.add_typer(concepts.app)
app.add_typer(experiment.app)
app.add_typer(probe.app)
app.add_typer(runs.app, name="runs")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except WorkbenchError as error:
        _fail(str(error), error.exit_status)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        _fail(f"The output could not be written ({error.strerror or error}); is the disk full?", 1)
    except MemoryError:
        _fail("This machine ran out of memory; use a smaller --batch-size or a smaller model.", 1)


def _fail(sentence: str, status: int) -> None:
    typer.echo(f"workbench: {sentence}", err=True)
    sys.exit(status)
