"""A file is whole or not there, whatever happens in the middle of writing it."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import RunError
from workbench.plots import rates_figure
from workbench.runs import cache_root, read_json, runs_root, write_figure, write_json, writing
from workbench.runs.files import append_line, read_lines
from workbench.statistics import rate_score

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(*arguments: object, **options: object) -> None:
    raise FULL


@pytest.mark.parametrize("where", ["os.replace", "pathlib.Path.write_text"])
def test_a_full_disk_names_the_file_keeps_the_old_one_and_leaves_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    file = tmp_path / "f.json"
    write_json(file, "old")
    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        with pytest.raises(RunError, match=r"The disk is full: .*f\.json was not written; free some space") as caught:
            write_json(file, "new")
    assert caught.value.__cause__ is FULL
    assert read_json(file) == "old"
    assert os.listdir(tmp_path) == ["f.json"]


def test_a_full_disk_while_a_folder_is_moved_leaves_no_scraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> None:
        with writing(tmp_path / "folder") as draft:
            draft.mkdir()
            (draft / "file").write_text("x")

    with monkeypatch.context() as patched:
        patched.setattr("os.rename", full)
        with pytest.raises(RunError, match="disk is full"):
            make()
    assert os.listdir(tmp_path) == []
    make()
    assert (tmp_path / "folder" / "file").read_text() == "x"


def test_nothing_is_at_the_place_until_the_block_has_ended(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "f"
    with writing(target) as draft:
        draft.write_text("whole")
        assert not target.exists()
        assert draft.name == target.name
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["f"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_any_exception_goes_through_as_it_is_and_leaves_no_scraps(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with writing(tmp_path / "folder") as draft:
            draft.mkdir()
            (draft / "half").write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_the_first_writer_of_a_folder_is_kept_and_the_last_of_a_file(tmp_path: Path) -> None:
    def write(target: Path, text: str) -> None:
        with writing(target) as draft:
            if target.name == "folder":
                draft.mkdir()
            (draft / "who" if target.name == "folder" else draft).write_text(text)

    for text in ("first", "second"):
        write(tmp_path / "folder", text)
        write(tmp_path / "file", text)
    assert (tmp_path / "folder" / "who").read_text() == "first"
    assert (tmp_path / "file").read_text() == "second"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_place_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/below"):
        write_json(tmp_path / "file" / "below", 1)
    with pytest.raises(RunError, match=r"no file .*none\.json; check the path"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=r"bad\.json is not readable JSON"):
        read_json(tmp_path / "bad.json")


def test_a_journal_on_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(RunError, match=r"disk is full: .*journal was not written"):
        append_line(tmp_path / "journal", {"n": 1})


def test_wherever_a_kill_cuts_a_line_the_whole_ones_before_it_stay(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    append_line(journal, {"n": 1, "reply": "zwei\nZeilen"})
    whole = journal.read_bytes()
    append_line(journal, {"n": 2, "reply": "答案 é 😀"})
    both = journal.read_bytes()
    for cut in range(len(whole), len(both) - 1):
        journal.write_bytes(both[:cut])
        assert [row["n"] for row in read_lines(journal)] == [1], cut
        append_line(journal, {"n": 3})
        assert [row["n"] for row in read_lines(journal)] == [1, 3], cut


@pytest.mark.skipif(sys.platform == "win32", reason="There is no SIGKILL.")
def test_what_a_killed_process_had_logged_is_there(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from workbench.runs.files import append_line\n"
        "journal = Path(sys.argv[1])\n"
        "for n in range(3): append_line(journal, {'n': n})\n"
        "half = journal.open('ab', buffering=0); half.write(b'{\"n\": 3, \"re')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [row["n"] for row in read_lines(tmp_path / "j")] == [0, 1, 2]


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none") == []


def test_the_roots_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (runs_root(), cache_root()) == (tmp_path / "runs", tmp_path / "cache")
    monkeypatch.setenv("WORKBENCH_RUNS", "")
    monkeypatch.delenv("WORKBENCH_CACHE")
    assert runs_root() == Path("runs")
    assert cache_root().name == "alignment-workbench"


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    figure = rates_figure(["baseline"], {"harmful": [rate_score("a", 5, 10)]}, "Refusals (%)")
    for name in ("a.html", "b.html"):
        write_figure(tmp_path / name, figure)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
