"""Files that are whole or not there, digests that notice, folders that are never overwritten."""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from workbench.errors import RunError
from workbench.runs import (
    RunFolder,
    RunManifest,
    digest_json,
    digest_tensors,
    list_runs,
    note,
    read_json,
    remembered_digest,
    reporting,
    track,
    write_json,
    writing,
)  # fmt: skip
from workbench.runs.files import append_line, read_lines


def manifest(**settings: object) -> RunManifest:
    return RunManifest(command="find", settings=settings, model={"name": "M", "digest": "d"}, data={"pairs": "p"})


def test_progress_reaches_the_reporter_of_the_context_and_nobody_else() -> None:
    said: list[object] = []

    class Listening:
        @contextmanager
        def task(self, description: str, total: int | None) -> Iterator[object]:
            said.append((description, total))
            yield said.append

        def note(self, text: str) -> None:
            said.append(text)

    assert list(track([1, 2], "Silent")) == [1, 2]
    with reporting(Listening()):
        assert list(track("ab", "Loud")) == ["a", "b"]
        note("hm")
    note("nobody hears")
    assert said == [("Loud", 2), 1, 1, "hm"]


def test_digests_notice_what_matters_and_nothing_else() -> None:
    assert digest_json({"a": 1, "b": [2]}) == digest_json({"b": [2], "a": 1}) != digest_json({"a": 1, "b": [3]})
    zeros = torch.zeros(2, 3)
    digests = [
        digest_tensors({"t": tensor})
        for tensor in (zeros, zeros.clone(), zeros.reshape(3, 2), zeros.bfloat16(), zeros + 1e-30)
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_a_remembered_digest_notices_a_changed_file(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    before = remembered_digest(file)
    assert remembered_digest(file) == before
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert remembered_digest(file) != before


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    write_json(file, 1)
    with pytest.raises(ZeroDivisionError), writing(file) as draft:
        draft.write_text("half" * (1 // draft.write_text("")))
    assert read_json(file) == 1
    assert os.listdir(tmp_path) == ["f.json"]


@pytest.mark.parametrize(("code", "says"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "cannot be written")])
def test_a_disk_that_fails_is_one_sentence_and_leaves_nothing(tmp_path: Path, code: int, says: str) -> None:
    def failing(draft: Path) -> None:
        draft.write_text("half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(RunError, match=says), writing(tmp_path / "f") as draft:
        failing(draft)
    assert os.listdir(tmp_path) == []


def test_two_writers_of_one_folder_leave_one_whole_folder(tmp_path: Path) -> None:
    barrier, target = threading.Barrier(2), tmp_path / "made"

    def write(name: str) -> None:
        with writing(target) as draft:
            draft.mkdir()
            (draft / "who").write_text(name)
            barrier.wait()

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.listdir(tmp_path) == ["made"]
    assert (target / "who").read_text() in "ab"


def test_a_journal_survives_a_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    append_line(journal, {"n": 1})
    with journal.open("a") as file:
        file.write('{"n": 2, "half')
    assert read_lines(journal) == [{"n": 1}]
    append_line(journal, {"n": 3})
    append_line(journal, {"n": "a\u2028b\x85c"})
    assert read_lines(journal) == [{"n": 1}, {"n": 3}, {"n": "a\u2028b\x85c"}]


def test_the_same_run_is_continued_and_another_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(seed=0), tmp_path / "r")
    folder.log("j", 1)
    again = RunFolder.start(manifest(seed=0), tmp_path / "r")
    assert (again.done, again.journal("j", object)) == (False, [1])
    with pytest.raises(RunError, match="holds another run"):
        RunFolder.start(manifest(seed=1), tmp_path / "r")
    fresh = RunFolder.start(manifest(seed=0), tmp_path / "r", fresh=True)
    assert fresh.journal("j", object) == []


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    code = (
        "import sys; from pathlib import Path; from workbench.runs import RunFolder, RunManifest\n"
        "m = RunManifest(command='find', settings={}, model={'name': 'M', 'digest': 'd'}, data={'pairs': 'p'})\n"
        "RunFolder.start(m, Path(sys.argv[1]))"
    )
    other = [sys.executable, "-c", code, str(tmp_path / "r")]
    assert "Another process is at work in" in subprocess.run(other, capture_output=True, text=True).stderr
    folder.finish({}, [])
    assert subprocess.run(other, capture_output=True, text=True).returncode == 0


def test_a_finished_run_notices_what_was_changed(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    with folder.timed("work"):
        folder.log("j", 1)
    folder.finish({"answer": 42}, [])
    opened = RunFolder.open(tmp_path / "r")
    assert opened.done
    assert opened.results() == {"answer": 42}
    assert opened.manifest.timings.keys() == {"work"}
    assert opened.changed_files() == []
    (tmp_path / "r" / "j").write_text("2\n")
    (tmp_path / "r" / "results.json").unlink()
    assert opened.changed_files() == ["j", "results.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not readable JSON"),
        ("[]", "damaged"),
        ('{"command": "find"}', "damaged"),
        (json.dumps({"schema_version": 99}), "newer workbench"),
    ],
)
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RunError, match=says):
        RunFolder.open(tmp_path)


def test_one_damaged_run_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        RunFolder.start(manifest(name=name), tmp_path / name)
    (tmp_path / "a" / "manifest.json").write_text("{")
    assert [folder.path.name for folder in list_runs(tmp_path)] == ["b"]


def test_a_run_that_failed_before_its_first_result_gives_its_folder_away(tmp_path: Path) -> None:
    RunFolder.start(manifest(seed=0), tmp_path / "r")
    assert RunFolder.start(manifest(seed=1), tmp_path / "r").manifest.settings == {"seed": 1}
    RunFolder.open(tmp_path / "r").log("j", 1)
    with pytest.raises(RunError, match="holds another run"):
        RunFolder.start(manifest(seed=2), tmp_path / "r")


def test_a_line_that_is_whole_and_wrong_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "j").write_text('{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(RunError, match="j is damaged"):
        read_lines(tmp_path / "j")


def test_a_place_where_no_folder_can_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="choose another with --out"):
        RunFolder.start(manifest(), tmp_path / "file")
    with pytest.raises(RunError, match="choose another with --out"):
        RunFolder.start(manifest(), tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "x"


def test_runs_are_listed_by_age(tmp_path: Path) -> None:
    for name, started in (("b", "2026-01-01"), ("a", "2026-01-02")):
        made = manifest(name=name)
        made.started = started
        RunFolder.start(made, tmp_path / name)
    assert [folder.path.name for folder in list_runs(tmp_path)] == ["b", "a"]
