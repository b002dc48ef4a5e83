"""A prompt set by name or file.

harmful, harmless:train, looks-harmful:test     built in
advbench, jailbreakbench, xstest, ...           public, through `datasets` (needs the network once)
set.jsonl  set.json  set.csv  set.txt           a file: a `prompt` column, or one prompt a line
set.jsonl:train  advbench:test                  a part of any of them, near-duplicates kept together; :test is locked
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.errors import PromptError, first_fault
from workbench.prompts import builtin
from workbench.prompts.prompt import Prompt, Prompts
from workbench.prompts.public import PUBLIC, load_public
from workbench.prompts.splits import split

COLUMN = "prompt"
_OPTIONAL = ("label", "category", "source", "system", "history", "prefill", "thinking")
_READERS = (".jsonl", ".json", ".csv", ".txt")


def load_prompts(name: str, label: str | None = None) -> Prompts:
    """Load a set by built-in name, public name or file; `label` fills in where the rows have none."""
    base, _, part = name.partition(":")
    if base in builtin.NAMES:
        return builtin.builtin_prompts(base, part or None)
    whole, colon, part = name.rpartition(":")
    if colon and part in builtin.PARTS and not _path(name).exists():
        return split(load_prompts(whole, label))[part]
    if name.lower() in PUBLIC:
        return load_public(name.lower())
    path = _path(name)
    if path.suffix.lower() not in _READERS:
        raise PromptError(
            f"{name!r} is not a prompt set: give a file ({', '.join(_READERS)}), a built-in set "
            f"({', '.join(builtin.NAMES)}) or a public one ({', '.join(PUBLIC)})."
        )
    return _prompts(path, _decoded(path, _bytes(path)), label)


def parse_prompts(content: bytes, form: str, name: str = "prompts", label: str | None = None) -> Prompts:
    """The prompts of a file's content; `form` is how it is written: "jsonl", "json", "csv" or "txt"."""
    named = Path(f"{name}.{form}")
    if named.suffix not in _READERS:
        raise PromptError(f"Prompts are read from {', '.join(_READERS)}, not from .{form}.")
    return _prompts(named, _decoded(named, content), label)


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise PromptError(f"{name} cannot be found ({error}); write the whole path.") from None


def _prompts(path: Path, text: str, label: str | None) -> Prompts:
    rows = _rows(path, text)
    prompts = []
    for number, row in enumerate(rows, start=1):
        prompts.append(_prompt(path, number, row, label))
    if not prompts:
        raise PromptError(f"{path} has no prompts; put one on each line.")
    return Prompts(tuple(prompts), path.name)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PromptError(f"There is no file {path}; check the path.") from None
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror}.") from None


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None


def _rows(path: Path, text: str) -> list[Any]:
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return [{COLUMN: line.rstrip("\r")} for line in text.split("\n") if line.strip()]
    if suffix == ".csv":
        return _csv_rows(path, text)
    try:
        values = json.loads(text) if suffix == ".json" else _json_lines(text)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{path} is not valid JSON: {error}; mend it.") from None
    if not isinstance(values, list):
        raise PromptError(f"{path} must hold a JSON list of prompts, not {type(values).__name__}.")
    return [{COLUMN: value} if isinstance(value, str) else value for value in values]


def _csv_rows(path: Path, text: str) -> list[Any]:
    try:
        return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise PromptError(f"{path} is not valid CSV: {error}; mend it, or give a .jsonl file.") from None


def _json_lines(text: str) -> list[Any]:
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from None
    return found


def _prompt(path: Path, number: int, row: Any, label: str | None) -> Prompt:
    if not isinstance(row, dict) or COLUMN not in row:
        columns = ", ".join(str(key) for key in row) if isinstance(row, dict) else type(row).__name__
        raise PromptError(f"{path}, row {number}, has no {COLUMN!r} column (it has: {columns}); rename or add it.")
    fields = {key: row[key] for key in _OPTIONAL if row.get(key) not in (None, "")}
    try:
        return Prompt(text=row[COLUMN], **({"label": label} | fields))
    except ValidationError as error:
        raise PromptError(f"{path}, row {number}, field {first_fault(error)}; mend the row.") from None
