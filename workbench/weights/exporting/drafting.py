"""A folder that is made beside its place, and comes to it whole or not at all.

It differs from `runs.writing` in what it does with a place that is taken: nothing that is there is ever replaced, and a
folder that appears in the meantime is an error. What a killed process left beside the place is removed by the next one.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.errors import RunError, UsageError
from workbench.runs import cache_root, digest_json, writing

_MARK = ".workbench-export"  # in a folder of ours that is under way


@contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends well, and is gone otherwise.

    Raises UsageError where something is there, RunError where another process makes it or it cannot be written.
    """
    _require_free(target)
    with _alone(target):
        _sweep(target)
        with writing(target) as draft:
            (draft.parent / _MARK).touch()
            draft.mkdir()
            yield draft
            ours = draft.stat().st_ino
        if target.stat().st_ino != ours:
            raise UsageError(_taken(target))


def require_space(target: Path, needed: int) -> None:
    """Raise RunError where the disk of `target` has less than `needed` bytes free."""
    place = next(parent for parent in (target, *target.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RunError(
            f"The export takes {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free in {place}; free some space, or "
            "choose another disk with --out."
        )


def _require_free(target: Path) -> None:
    """Raise UsageError where something is at `target` already, other than an empty folder."""
    if target.is_dir():
        if any(target.iterdir()):
            raise UsageError(_taken(target))
    elif target.exists() or target.is_symlink():
        raise UsageError(f"{target} is a file; choose another folder with --out.")


def _taken(target: Path) -> str:
    return f"{target} is there already and is not empty; choose another folder with --out, or remove it."


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock of a place; it is kept in the cache, so that nothing is left beside the place."""
    locks = cache_root() / "exports"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{digest_json(str(target))[:32]}.lock", blocking=False):
            yield
    except Timeout:
        raise RunError(f"Another process is writing {target}; wait for it, or choose another --out.") from None


def _sweep(target: Path) -> None:
    """Remove what a killed process left: the lock is ours, so that it is nobody's."""
    for mark in target.parent.glob(f"*/{_MARK}"):
        if mark.parent.name.startswith(f".{target.name}."):
            shutil.rmtree(mark.parent, ignore_errors=True)
