"""Completions that another tool has made, judged into a run folder: `workbench judge`."""

import json
from pathlib import Path

from workbench.evaluation.comparison import Evaluation
from workbench.evaluation.interchange import read_completions, write_interchange
from workbench.evaluation.judges import Exchange, Judge, judges
from workbench.evaluation.measuring import REPLIES
from workbench.evaluation.replies import Judged, Measured
from workbench.runs import RunFolder, RunManifest, digest_json, note, track, writing

CONDITION, SET = "given", "completions"
VERDICTS = "verdicts.jsonl"
_AT_ONCE = 64  # completions, after which what a judge said is on disk


def record_judged(path: Path, judge: Judge, *, out: Path | None = None) -> RunFolder:
    """Judge the completions of a file; a finished run of the same identity is handed back as it is.

    Raises UsageError where the file cannot be read.
    """
    exchanges = read_completions(path)
    data = {"exchanges": digest_json([list(exchange) for exchange in exchanges])}
    model = {"name": path.stem, "digest": data["exchanges"]}
    manifest = RunManifest(command="judge", settings={"judge": judge.identity}, model=model, data=data)
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"These completions were judged before; the result is in {folder.path}.")
        return folder
    done = folder.journal(VERDICTS, Judged)
    with folder.timed("judge"):
        for start in track(range(len(done), len(exchanges), _AT_ONCE), "Judging completions"):
            for row in judged_rows(exchanges[start : start + _AT_ONCE], judge, start):
                folder.log(VERDICTS, row.model_dump(mode="json"))
                done.append(row)
    measured = Measured(condition=CONDITION, asked=SET, replies=tuple(done))
    with writing(folder.path / REPLIES) as draft:
        draft.write_text(json.dumps(measured.model_dump(mode="json"), ensure_ascii=False) + "\n", encoding="utf-8")
    evaluation = Evaluation((measured,), judge=judges.name_of(judge), agreement=judge.agreement)
    write_interchange(folder.path, evaluation)
    folder.finish(evaluation.to_json(), evaluation.scores())
    return folder


def judged_rows(exchanges: list[Exchange], judge: Judge, start: int) -> list[Judged]:
    """The exchanges with their outcomes, in order; each is an item of its own, also where a prompt comes twice."""
    return [
        Judged(
            prompt=exchange.prompt, digest=digest_json([number, exchange.prompt])[:32], category=None,
            reply=exchange.reply, **verdict.model_dump(),
        )
        for number, (exchange, verdict) in enumerate(zip(exchanges, judge(exchanges), strict=True), start)
    ]  # fmt: skip
