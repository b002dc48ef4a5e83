"""Evaluations in the forms of others, and completions from others.

Out: `scores.csv` and `scores.parquet` (one row a score), `replies.parquet` (one row a reply). Inspect logs are in
`inspect_log`. In: the completions of the paper's pipeline, of Heretic, or any JSON of prompts and responses.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.evaluation.comparison import Evaluation
from workbench.evaluation.judges import Exchange
from workbench.runs import writing

_PROMPTS = ("prompt", "goal", "question", "instruction", "behavior", "forbidden_prompt")
_REPLIES = ("response", "completion", "reply", "answer", "generation", "output")
_LISTS = ("completions", "responses", "results", "data", "rows", "samples")


def write_interchange(folder: Path, evaluation: Evaluation) -> None:
    """Write the tables of an evaluation beside its results."""
    scores = evaluation.to_pandas()
    with writing(folder / "scores.csv") as draft:
        scores.to_csv(draft, index=False)
    with writing(folder / "scores.parquet") as draft:
        scores.to_parquet(draft, index=False)
    with writing(folder / "replies.parquet") as draft:
        replies_table(evaluation).to_parquet(draft, index=False)


def replies_table(evaluation: Evaluation) -> Any:
    """One row a reply, as a pandas data frame."""
    import pandas

    rows = [
        {"condition": part.condition, "set": part.asked} | reply.model_dump(include={
            "prompt", "digest", "category", "reply", "outcome", "score", "why"}) | reply.values()
        for part in evaluation.measured
        for reply in part.replies
    ]  # fmt: skip
    return pandas.DataFrame(rows).astype({"outcome": "string"})


def read_completions(path: Path) -> list[Exchange]:
    """Prompts and replies of a JSON or JSON-lines file, whatever its keys are called in the tools we know.

    Raises UsageError where the file cannot be read so.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}; check the path.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    found = [_exchange(path, number, row) for number, row in enumerate(_rows(path, text), start=1)]
    if not found:
        raise UsageError(f"{path} has no completions; it needs rows with a prompt and a response.")
    return found


def _rows(path: Path, text: str) -> Iterator[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as whole:
        lines = [line for line in text.split("\n") if line.strip()]
        try:
            value = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            raise UsageError(f"{path} is not JSON ({whole}), nor JSON lines; mend it.") from None
    if isinstance(value, dict):
        value = next((value[name] for name in _LISTS if isinstance(value.get(name), list)), [value])
    if not isinstance(value, list):
        raise UsageError(f"{path} must hold a list of completions, not {type(value).__name__}.")
    yield from value


def _exchange(path: Path, number: int, row: Any) -> Exchange:
    if isinstance(row, dict):
        prompt = next((row[name] for name in _PROMPTS if isinstance(row.get(name), str)), None)
        reply = next((row[name] for name in _REPLIES if isinstance(row.get(name), str)), None)
        if prompt is not None and reply is not None:
            return Exchange(*(text.encode("utf-8", "replace").decode() for text in (prompt, reply)))
    has = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
    raise UsageError(
        f"{path}, row {number}, has no prompt and response (it has: {has}); name them {_PROMPTS[0]!r} and "
        f"{_REPLIES[0]!r}."
    )
