"""A run folder: `manifest.json`, `results.json`, tensors as safetensors, journals as JSON lines.

A folder belongs to one identity, and to one process at a time. Opened again with the same identity, an unfinished
run is continued and a finished one is handed back; with another identity it is an error, so nothing is overwritten.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from workbench.errors import RunError, first_fault
from workbench.runs.files import append_line, read_json, read_lines, runs_root, write_json
from workbench.runs.fingerprint import digest_file
from workbench.runs.manifest import SCHEMA, RunManifest
from workbench.runs.progress import note
from workbench.statistics import Score

MANIFEST = "manifest.json"
RESULTS = "results.json"
LOCK = ".lock"
T = TypeVar("T")


@dataclass
class RunFolder:
    """One run on disk."""

    path: Path
    manifest: RunManifest
    _timings: dict[str, float] = field(default_factory=dict)
    _lock: FileLock = field(init=False)

    def __post_init__(self) -> None:
        # One lock a path in this process; it is let go when nothing holds the folder any more.
        self._lock = FileLock(self.path / LOCK, is_singleton=True)

    @classmethod
    def start(cls, manifest: RunManifest, out: Path | None = None, fresh: bool = False) -> "RunFolder":
        """Open the folder of this run: a new one, or the same run's where it was left (unless `fresh`)."""
        name = f"{manifest.command}-{_slug(manifest.model['name'])}-{manifest.identity[:8]}"
        path = out if out is not None else runs_root() / name
        if (path / MANIFEST).exists() and not fresh:
            found = cls.open(path)
            if found.done and found.manifest.identity == manifest.identity:
                return found
        folder = cls(path, manifest)
        folder._require_ours()
        folder._claim()
        try:
            return folder._begin(fresh)
        except BaseException:
            folder._lock.release()
            raise

    def _begin(self, fresh: bool) -> "RunFolder":
        """Go on with the run in this folder, or write its manifest; the folder is claimed."""
        if (self.path / MANIFEST).exists():
            found = RunFolder.open(self.path)
            if found.manifest.identity == self.manifest.identity and not fresh:
                return found
            # A run that failed before its first result is nobody's loss: its corrected command may have the folder.
            if found.manifest.identity != self.manifest.identity and (found.done or found._written()):
                raise RunError(
                    f"{self.path} holds another run ({found.manifest.command}, other settings or data); "
                    "choose another folder with --out, or remove it."
                )
            self._empty()
        self._require_ours()
        write_json(self.path / MANIFEST, self.manifest.model_dump(mode="json"))
        return self

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run folder."""
        if not (path / MANIFEST).exists():
            raise RunError(f"{path} is not a run folder (it has no {MANIFEST}); `workbench runs list` shows them.")
        value = read_json(path / MANIFEST)
        newer = isinstance(value, dict) and value.get("schema_version", 0)
        if isinstance(newer, int) and newer > SCHEMA:
            raise RunError(f"{path} was written by a newer workbench (schema {newer}); update to read it.")
        try:
            return cls(path, RunManifest.model_validate(value))
        except ValidationError as error:
            raise RunError(f"{path / MANIFEST} is damaged ({first_fault(error)}); run again.") from error

    @property
    def done(self) -> bool:
        return self.manifest.status == "done"

    @property
    def state(self) -> Literal["done", "running", "stopped"]:
        """Whether it is finished, at work in this or another process, or was left unfinished."""
        if self.done:
            return "done"
        if self._lock.is_locked:
            return "running"
        try:
            with self._lock.acquire(blocking=False):
                return "stopped"
        except Timeout:
            return "running"
        except OSError:  # a folder that we may not write is not ours
            return "stopped"

    def require_readable(self) -> None:
        """Raise RunError where the run has the layout of an older workbench."""
        if self.manifest.schema_version < SCHEMA:
            raise RunError(f"{self.path} was made by an older workbench, whose runs had another layout; run it again.")

    def journal(self, name: str, shape: type[T]) -> list[T]:
        """The rows written so far to a journal of this run, each of the given shape."""
        try:
            return TypeAdapter(list[shape]).validate_python(read_lines(self.path / name))  # type: ignore[valid-type]
        except ValidationError as error:
            raise RunError(
                f"{self.path / name} is damaged (line {first_fault(error)}, counted from 0); remove the folder and run "
                "again."
            ) from error

    def log(self, name: str, row: Any) -> None:
        """Add a row to a journal."""
        append_line(self.path / name, row)

    def results(self) -> dict[str, Any]:
        """What the finished run found."""
        found = read_json(self.path / RESULTS)
        if not isinstance(found, dict):
            raise RunError(f"{self.path / RESULTS} is damaged (a {type(found).__name__}, no mapping); run again.")
        return found

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes to the run's timings."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[name] = self._timings.get(name, 0.0) + time.perf_counter() - start

    def finish(self, results: dict[str, Any], scores: list[Score]) -> None:
        """Write the results, hash every file of the run, and mark it done."""
        write_json(self.path / RESULTS, results)
        self.manifest.scores = scores
        self.manifest.timings = {name: round(seconds, 3) for name, seconds in self._timings.items()}
        self.manifest.artefacts = {file.name: digest_file(file) for file in self._files()}
        self.manifest.status = "done"
        self.manifest.seal = self.manifest.sealed()
        write_json(self.path / MANIFEST, self.manifest.model_dump(mode="json"))
        self._lock.release(force=True)

    def changed_files(self) -> list[str]:
        """Names of artefacts that are missing or no longer have the recorded hash."""
        return [name for name, recorded in self.manifest.artefacts.items() if self._digest(name) != recorded]

    def _digest(self, name: str) -> str | None:
        """Of a file of this run; None where it is not there, is no file of it, or cannot be read."""
        try:
            return digest_file(self.path / name) if name == Path(name).name else None
        except OSError:
            return None

    def _require_ours(self) -> None:
        """Raise RunError where the place holds something that no run has written."""
        taken = self.path.exists() and not self.path.is_dir()
        if self.path.is_dir() and not (self.path / MANIFEST).exists():
            taken = any(file.name != LOCK for file in self.path.iterdir())
        if taken:
            raise RunError(f"{self.path} is there already and is not a run folder; choose another with --out.")

    def _claim(self) -> None:
        """Lock the folder against other processes; the lock dies with this one."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0.2)  # not at once: who only asks for our state holds it for a moment
        except Timeout:
            raise RunError(
                f"Another process is at work in {self.path}; wait for it, or choose another --out."
            ) from None
        except OSError as error:
            raise RunError(f"{self.path} cannot be written ({error.strerror}); choose another with --out.") from error

    def _files(self) -> list[Path]:
        """What the run has written so far, without its manifest."""
        return [file for file in self._written() if file.is_file()]

    def _written(self) -> list[Path]:
        """The same with its folders, which are runs of their own."""
        return sorted(f for f in self.path.iterdir() if f.name != MANIFEST and not f.name.startswith("."))

    def _empty(self) -> None:
        """Remove everything but the lock that we hold."""
        for file in self.path.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name != LOCK:
                file.unlink()


def list_runs(root: Path | None = None) -> list[RunFolder]:
    """All readable run folders below `root`, oldest first; one that cannot be read is noted and left out."""
    folders, unreadable = survey_runs(root)
    for sentence in unreadable.values():
        note(sentence)
    return folders


def survey_runs(root: Path | None = None) -> tuple[list[RunFolder], dict[str, str]]:
    """The readable run folders below `root`, oldest first, and why each of the others cannot be read, by name.

    A folder that was claimed and has no manifest is one of these: its run was stopped as it began.
    """
    base = root if root is not None else runs_root()
    folders, unreadable = [], {}
    for path in sorted({file.parent for name in (MANIFEST, LOCK) for file in base.glob(f"*/{name}")}):
        try:
            folders.append(RunFolder.open(path))
        except RunError as error:
            unreadable[path.name] = str(error)
    return sorted(folders, key=lambda folder: (folder.manifest.started, folder.path.name)), unreadable


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", Path(text).name.lower()).strip("-") or "model"
