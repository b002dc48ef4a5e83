"""Files that are whole or not there: everything is written beside its place, then renamed into it.

A full disk, a kill or Ctrl-C in the middle leaves the old file, or none.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from safetensors import SafetensorError

from workbench.errors import RunError


def cache_root() -> Path:
    """Where converted models and captured activations are kept: $WORKBENCH_CACHE, or the user's cache."""
    return Path(os.environ.get("WORKBENCH_CACHE") or user_cache_path("alignment-workbench"))


def runs_root() -> Path:
    """Where run folders are made: $WORKBENCH_RUNS, or `runs` in the current directory."""
    return Path(os.environ.get("WORKBENCH_RUNS") or "runs")


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; when the block ends well, it becomes `target`.

    The block may make a file or a folder of it. Where another process was quicker with a folder, its
    result is kept.
    """
    scratch = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        draft = scratch / target.name
        yield draft
        _move(draft, target)
    except OSError as error:
        raise _explained(error, target) from error
    except SafetensorError as error:
        raise RunError(f"{target} was not written ({error}); is the disk full?") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with writing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_figure(path: Path, figure: Any) -> None:
    """Write a Plotly figure as a page that needs no network: the same bytes for the same figure.

    Plotly would draw the name of its place in the page at random.
    """
    write_text(path, figure.to_html(include_plotlyjs=True, div_id="figure"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours; a damaged one is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"There is no file {path}; check the path.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}; check the path.") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not readable JSON ({error}); remove it and run again.") from error


def append_line(path: Path, value: Any) -> None:
    """Add one JSON line to a journal and hand it to the disk at once."""
    try:
        with path.open("ab") as file:
            file.truncate(_whole_length(path))
            file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise _explained(error, path) from error


def append_text(path: Path, text: str) -> None:
    """Add text to the end of a file that somebody reads."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _explained(error, path) from error


def _whole_length(path: Path) -> int:
    """The bytes of a journal up to its last whole line; a kill may have left part of one behind."""
    length = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(length - 1, 0))
        if file.read(1) == b"\n":
            return length  # whole, as it nearly always is: a long journal is not read for every line that is added
    return path.read_bytes().rfind(b"\n") + 1


def read_lines(path: Path) -> list[Any]:
    """The JSON lines of a journal; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    # Split at newlines alone: a reply may hold other line separators.
    lines = path.read_bytes().split(b"\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); remove its folder and run again.") from error


def _move(draft: Path, target: Path) -> None:
    if not draft.is_dir():
        os.replace(draft, target)
        return
    try:
        os.rename(draft, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _explained(error: OSError, target: Path) -> RunError:
    if error.errno == errno.ENOSPC:
        return RunError(f"The disk is full: {target} was not written; free some space and run again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RunError(f"{target} cannot be written ({error.strerror}); choose a folder that you may write to.")
    return RunError(f"{target} was not written: {error.strerror or error}.")
