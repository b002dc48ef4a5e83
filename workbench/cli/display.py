"""Showing results: one JSON document on stdout, or tables for a person. Everything else goes to stderr."""

import json
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(value: Any, as_json: bool, *tables: Table | str) -> None:
    """Print `value` as JSON, or the tables."""
    console = Console(soft_wrap=False)
    if as_json:
        print(json.dumps(_strict(value), ensure_ascii=not _says_all(), indent=2, allow_nan=False))  # noqa: T201
    for table in () if as_json else tables:
        if isinstance(table, str):
            console.print(_text(table), soft_wrap=True)  # a path or a command is copied whole
        else:
            console.print(table)
    sys.stdout.flush()


def _says_all() -> bool:
    """Whether stdout can write any character."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def plain(text: str) -> str:
    """Text without characters that a terminal would obey."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in text)


def _text(text: str) -> Text:
    """Text as it is: never markup, and nothing that a terminal would obey."""
    return Text(plain(text))


def _strict(value: Any) -> Any:
    """`value` with null where a number is not finite, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


@contextmanager
def watching() -> Iterator[None]:
    """Progress bars on stderr for everything inside the block; Ctrl-C ends it in one sentence."""
    from workbench.runs import reporting, stderr_reporter

    with stopping(), stderr_reporter() as reporter, reporting(reporter):
        yield


@contextmanager
def stopping() -> Iterator[None]:
    """Ctrl-C ends the block in one sentence; nothing is drawn, where the block itself writes to the terminal."""
    from workbench.errors import Stopped

    try:
        yield
    except KeyboardInterrupt:
        raise Stopped("Stopped. What was finished is kept; the same command goes on from there.") from None


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table; cells are text, not markup."""
    made = Table(title=_text(title), title_justify="left", show_lines=False)
    for column in columns:
        made.add_column(_text(column), overflow="fold")
    for row in rows:
        made.add_row(*[_text(str(cell)) for cell in row])
    return made


def kept(out: Path, name: str, results: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """Write results as `name`.json and each figure below its own name; the files."""
    from workbench.runs import write_figure, write_json

    write_json(out / f"{name}.json", results)
    for title, figure in figures.items():
        write_figure(out / f"{title}.html", figure)
    return [str(out / file) for file in (f"{name}.json", *(f"{title}.html" for title in figures))]


def told_of(files: Sequence[str] | None) -> list[str]:
    """A line for each file that was written."""
    return [f"Written: {file}" for file in files or ()]


def percent(score: Mapping[str, Any]) -> str:
    """A rate with its interval, in per cent."""
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def interval(score: Mapping[str, Any]) -> str:
    """A mean with its interval."""
    if score["low"] is None:
        return f"{score['value']:.3f}{' [n=1]' if score.get('n') == 1 else ''}"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def found_tables(found: Mapping[str, Any]) -> list[Table | str]:
    """The choice, why the others were dropped, and the front."""
    columns = ("position", "layer", "bypass", "induce", "KL", "n")
    chosen = found["chosen"]
    rule = "by the paper's rule" if found["passed_rule"] else "outside the paper's rule: nothing passes it"
    dropped = ", ".join(f"{count} by {reason}" for reason, count in found["dropped"].items()) or "none"
    head = (
        f"Chosen {rule}: position {chosen['position']}, layer {chosen['layer']} of {found['search']['candidates']} "
        f"candidates, {found['search']['measured']} of them measured{_sureness(found['search'])}. Of these dropped: "
        f"{dropped}."
    )
    rows = [_candidate(row, row == chosen) for row in found["front"]]
    if chosen not in found["front"]:
        rows.append(_candidate(chosen, True))
    n = chosen["n"]
    title = (
        f"Front of bypass (on up to {n['refusal_score']} prompts) against KL and induce (up to {n['kl_div_score']}), "
        "95 % bootstrap intervals; n: the fewest validation prompts of the three; * chosen"
    )
    return [head, table(title, columns, rows)]


def _sureness(search: Mapping[str, Any]) -> str:
    return f" (in {search['sure']:.0%} of resamples the first of its rivals)" if "sure" in search else ""


def _candidate(row: Mapping[str, Any], chosen: bool) -> list[str]:
    scores = []
    for key, (low, high) in row["intervals"].items():
        scores.append(f"{row[key]:.2f}" if low is None else f"{row[key]:.2f} [{low:.2f}, {high:.2f}]")
    scores.append(str(min(row["n"].values())))
    return [f"{row['position']}{' *' if chosen else ''}", str(row["layer"]), *scores]
