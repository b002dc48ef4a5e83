"""A run folder belongs to one run, and says so when it was touched."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import RunError
from workbench.runs import RunFolder, RunManifest, digest_file, list_runs, read_json, write_json
from workbench.runs.folder import survey_runs
from workbench.runs.manifest import SCHEMA
from workbench.statistics import rate_score

ASKED = {"command": "find", "settings": {"seed": 0}, "model": {"name": "Org/Tiny Model", "digest": "d"}, "data": {}}
SAID = {"cut-short": "not readable JSON", "newer": "newer workbench", "begun": "no manifest.json"}


def manifest(**other: object) -> RunManifest:
    return RunManifest.model_validate(ASKED | other)


@pytest.mark.parametrize(
    "other",
    [
        {"command": "evaluate"},
        {"settings": {"seed": 1}},
        {"settings": {"seed": 0, "more": None}},
        {"model": {"name": "Org/Tiny Model", "digest": "e"}},
        {"data": {"pairs": "p"}},
    ],
)
def test_whatever_decides_the_result_makes_another_run(tmp_path: Path, other: dict[str, object]) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    folder.log("journal", "kept")
    with pytest.raises(RunError, match=r"r holds another run \(find, .*choose another folder with --out"):
        RunFolder.start(manifest(**other), tmp_path / "r")
    with pytest.raises(RunError, match="holds another run"):
        RunFolder.start(manifest(**other), tmp_path / "r", fresh=True)
    assert RunFolder.open(tmp_path / "r").journal("journal", object) == ["kept"]


def test_when_and_with_what_it_ran_does_not_make_another_run() -> None:
    later = manifest(started="2030-01-01", versions={"torch": "9"}, status="done", timings={"a": 1.0})
    assert later.identity == manifest().identity
    assert manifest(settings={"a": 1, "b": 2}).identity == manifest(settings={"b": 2, "a": 1}).identity


def test_without_a_place_a_run_has_its_own_below_the_root(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest())
    assert folder.path == tmp_path / "runs" / f"find-tiny-model-{manifest().identity[:8]}"
    assert RunFolder.start(manifest()).path == folder.path
    assert RunFolder.start(manifest(data={"pairs": "p"})).path != folder.path


def test_a_finished_run_is_handed_back_and_not_begun_again(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    scores = [rate_score("refusal", 1, 3, "lower")]
    folder.finish({"a": 1}, scores)
    again = RunFolder.start(manifest(), tmp_path / "r")
    assert again.done
    assert again.results() == {"a": 1}
    assert again.manifest.scores == scores
    assert again.manifest.started == folder.manifest.started
    fresh = RunFolder.start(manifest(), tmp_path / "r", fresh=True)
    assert not fresh.done
    assert not (tmp_path / "r" / "results.json").exists()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        for fresh in (False, True):
            with pytest.raises(RunError, match="is not a run folder; choose another with --out"):
                RunFolder.start(manifest(), tmp_path / name, fresh=fresh)
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "x"
    (tmp_path / "empty").mkdir()
    assert RunFolder.start(manifest(), tmp_path / "empty").path == tmp_path / "empty"


def test_a_newer_schema_is_named_and_not_overwritten(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    newer = read_json(folder.path / "manifest.json") | {"schema_version": SCHEMA + 1, "invented": "later"}
    write_json(folder.path / "manifest.json", newer)
    for attempt in (lambda: RunFolder.open(folder.path), lambda: RunFolder.start(manifest(), folder.path, fresh=True)):
        with pytest.raises(RunError, match=rf"newer workbench \(schema {SCHEMA + 1}\); update to read it"):
            attempt()
    assert read_json(folder.path / "manifest.json") == newer


@pytest.mark.parametrize("fault", [{"status": "half"}, {"invented": 1}, {"model": {}}, {"timings": {"a": "long"}}])
def test_a_manifest_with_a_fault_is_one_sentence(tmp_path: Path, fault: dict[str, object]) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    write_json(folder.path / "manifest.json", read_json(folder.path / "manifest.json") | fault)
    with pytest.raises(RunError, match=r"manifest\.json is damaged \([a-z.]+: .*\); run again") as caught:
        RunFolder.open(folder.path)
    assert "\n" not in str(caught.value)


def test_a_run_of_which_only_an_inner_run_is_left_is_not_removed(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    RunFolder.start(manifest(), tmp_path / "r" / "find").finish({}, [])
    with pytest.raises(RunError, match="holds another run"):
        RunFolder.start(manifest(settings={"seed": 1}), tmp_path / "r")
    assert RunFolder.open(folder.path / "find").done


def test_an_artefact_that_is_no_file_of_the_run_is_changed(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    folder.log("replies.jsonl", {"n": 1})
    folder.finish({}, [])
    (folder.path / "replies.jsonl").unlink()
    (folder.path / "replies.jsonl").mkdir()
    again = RunFolder.open(folder.path)
    assert again.changed_files() == ["replies.jsonl"]
    again.manifest.artefacts = {"../r/results.json": digest_file(folder.path / "results.json")}
    assert again.changed_files() == ["../r/results.json"]


def test_every_file_but_the_manifest_is_hashed_and_one_changed_byte_shows(tmp_path: Path) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    (folder.path / "tensor.safetensors").write_bytes(bytes(100))
    folder.log("replies.jsonl", {"n": 1})
    folder.finish({}, [])
    assert set(folder.manifest.artefacts) == {"tensor.safetensors", "replies.jsonl", "results.json"}
    assert RunFolder.open(folder.path).changed_files() == []
    for name in folder.manifest.artefacts:
        content = (folder.path / name).read_bytes()
        (folder.path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert RunFolder.open(folder.path).changed_files() == [name]
        (folder.path / name).write_bytes(content)


def test_timings_of_one_name_add_up_also_through_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.start(manifest(), tmp_path / "r")
    clock = iter([0.0, 1.0, 5.0, 7.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    with folder.timed("work"):
        pass
    with pytest.raises(ValueError), folder.timed("work"):
        raise ValueError
    folder.finish({}, [])
    assert read_json(folder.path / "manifest.json")["timings"] == {"work": 3.5}


def test_runs_of_one_second_are_listed_by_name_and_other_folders_are_not(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    for name, started in (("c", "2026-01-01"), ("b", "2026-01-02"), ("a", "2026-01-02")):
        RunFolder.start(manifest(started=started), tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "0.txt").write_text("")
    assert [folder.path.name for folder in list_runs(tmp_path)] == ["c", "a", "b"]


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    for name in ("whole", "cut-short", "newer"):
        RunFolder.start(manifest(), tmp_path / name)
    (tmp_path / "cut-short" / "manifest.json").write_text('{"schema_version": 3, "comm')
    (tmp_path / "newer" / "manifest.json").write_text('{"schema_version": 99}')
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".lock").touch()
    (tmp_path / "notes").mkdir()
    readable, others = survey_runs(tmp_path)
    assert [folder.path.name for folder in readable] == ["whole"]
    assert {name: says in others[name] for name, says in SAID.items()} == dict.fromkeys(SAID, True)
    assert set(others) == set(SAID)


def test_a_run_is_done_or_running_or_was_stopped(tmp_path: Path) -> None:
    where = tmp_path / "r"
    code = (
        "import sys; from pathlib import Path; from workbench.runs import RunFolder, RunManifest\n"
        f"f = RunFolder.start(RunManifest.model_validate({ASKED!r}), Path(sys.argv[1])); f.log('journal', 1)\n"
        "print('begun', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(where)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    assert RunFolder.open(where).state == "running"
    other.kill()
    other.communicate()
    assert RunFolder.open(where).state == "stopped"
    mine = RunFolder.start(manifest(), where)
    assert mine.state == RunFolder.open(where).state == "running"
    mine.finish({}, [])
    assert mine.state == RunFolder.open(where).state == "done"
