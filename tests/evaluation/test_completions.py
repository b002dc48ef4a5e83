"""Completions of another tool: judged in parts, and gone on with where the judge was stopped."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas
import pytest

from workbench.evaluation import Exchange, Measured, Verdict, rederive
from workbench.evaluation import completions as module
from workbench.evaluation.completions import record_judged
from workbench.evaluation.judges.phrase import PhraseJudge
from workbench.evaluation.measuring import REPLIES
from workbench.runs import RunFolder


@dataclass(frozen=True)
class Stopped(PhraseJudge):
    """The phrase judge, stopped by Ctrl-C at its second call."""

    asked: list[Exchange] = field(default_factory=list)
    stops: int = 2

    def __call__(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        if len(self.asked) >= 2 * (self.stops - 1):
            raise KeyboardInterrupt
        self.asked.extend(exchanges)
        return super().__call__(exchanges)

    @property
    def identity(self) -> dict[str, object]:
        return PhraseJudge().identity


def test_a_stopped_judge_goes_on_and_asks_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    file, out = tmp_path / "c.json", tmp_path / "r"
    file.write_text(json.dumps([{"prompt": "p", "response": f"Here is answer number {n}."} for n in range(5)]))
    first = Stopped()
    with pytest.raises(KeyboardInterrupt):
        record_judged(file, first, out=out)
    assert len(first.asked) == 2
    second = Stopped(stops=9)
    # The registry names a judge by its type; the second run is the plain judge's own.
    monkeypatch.setattr("workbench.evaluation.completions.judges.name_of", lambda judge: "phrase")
    folder = record_judged(file, second, out=out)
    assert [each.reply for each in second.asked] == [f"Here is answer number {n}." for n in (2, 3, 4)]
    (measured,) = folder.journal(REPLIES, Measured)
    assert [reply.reply for reply in measured.replies] == [f"Here is answer number {n}." for n in range(5)]
    assert len({reply.digest for reply in measured.replies}) == 5
    assert rederive(RunFolder.open(out)) == []
    assert {"scores.csv", "scores.parquet", "replies.parquet"} <= set(folder.manifest.artefacts)
    assert pandas.read_csv(out / "scores.csv")["n"].max() == 5
