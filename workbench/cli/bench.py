"""workbench bench"""

from typing import Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import show, table, watching

MAIN = ("search", "capture", "steering", "generation")
MORE = ("search-whole", "search-french", "concepts", "monitor")


def command(
    name: Annotated[str, typer.Argument(help=f"{', '.join(MAIN)}, all of these; or {', '.join(MORE)}.")],
    model: o.EmbeddedModel = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is run.")] = 3,
    dtype: o.Dtype = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Our way and the plain way, interleaved in one run, beside what the machine can do at most."""
    with watching():
        from experiments.benchmarks import benchmarks
        from experiments.benchmarks.machine import machine
        from workbench.models.catalog import DEFAULT_MODEL

        chosen = {each: benchmarks[each] for each in (MAIN if name == "all" else [name])}
        subject = o.open_subject(model or DEFAULT_MODEL, dtype, device)
        found: dict[str, Any] = {"model": subject.identity, "machine": machine(subject.dtype, subject.device)}
        found |= {each: benchmark(subject, rounds) for each, benchmark in chosen.items()}
    limit = found["machine"]
    peak = f"{limit['matmul_gflops']:.0f} GFLOP/s ({limit['dtype']}), {limit['read_gb_per_s']:.0f} GB/s"
    tables: list[Any] = []
    for each in chosen:
        timings = found[each]["timings"]
        parts = timings.items() if isinstance(timings, dict) else [("", timings)]
        tables += [_table(f"{each} {part}".strip(), rows) for part, rows in parts]
    show(found, json, *tables, f"This machine: {limit['threads']} threads on {limit['device']}, {peak}.")


def _table(title: str, rows: list[dict[str, Any]]) -> Any:
    columns = list(rows[0])
    cells = [[str(row[column]) for column in columns] for row in rows]
    return table(f"{title}; ratio: how many times as long as ours", columns, cells)
