"""An evaluation as Inspect logs (UK AI Security Institute), one a condition and set, that Inspect View opens.

Each sample is a prompt with its reply; its score is the outcome by name, since no outcome is right or wrong by itself,
and its metadata hold the numbers that are read from the reply.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.evaluation.comparison import Evaluation
from workbench.evaluation.replies import Judged, Measured
from workbench.runs import RunManifest, writing
from workbench.statistics import Score

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

SCORER = "outcome"


def write_inspect_logs(folder: Path, evaluation: Evaluation, manifest: RunManifest) -> list[Path]:
    """Write a log for each condition and set into `folder`; `inspect view --log-dir FOLDER` opens them.

    Raises UsageError where inspect-ai is not installed.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as error:
        raise UsageError("inspect-ai is not installed; pip install 'alignment-workbench[eval]'.") from error
    made = []
    for number, part in enumerate(evaluation.measured, start=1):
        path = folder / f"{number:02}-{_slug(part.condition)}-{_slug(part.asked)}.eval"
        with writing(path) as draft:
            write_eval_log(inspect_log(part, evaluation, manifest), str(draft), format="eval")
        made.append(path)
    return made


def inspect_log(part: Measured, evaluation: Evaluation, manifest: RunManifest) -> "EvalLog":
    """The log of one condition on one set."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalMetric, EvalResults, EvalScore, EvalSpec

    name, n = f"{part.condition} on {part.asked}", len(part.replies)
    spec = EvalSpec(
        created=manifest.started,
        task=name,
        dataset=EvalDataset(name=part.asked, samples=n),
        model=f"alignment-workbench/{manifest.model['name']}",
        config=EvalConfig(),
        metadata={"condition": part.condition, "judge": evaluation.judge, "settings": manifest.settings},
    )
    prefix = f"{part.condition}/{part.asked}/"
    scores = [score for score in evaluation.scores() if score.name.startswith(prefix)]
    metrics = {m.name: m for s in scores for m in _metrics(EvalMetric, s.name.removeprefix(prefix), s)}
    found = EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)
    results = EvalResults(total_samples=n, completed_samples=n, scores=[found])
    return EvalLog(
        status="success",
        eval=spec,
        results=results,
        samples=[_sample(n, r) for n, r in enumerate(part.replies, start=1)],
    )


def _metrics(kind: Any, name: str, score: Score) -> list[Any]:
    """A score and the ends of its interval."""
    ends = {"": score.value, " (low)": score.low, " (high)": score.high}
    return [kind(name=name + end, value=value) for end, value in ends.items() if value is not None]


def _sample(number: int, reply: Judged) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score as InspectScore

    outcome = InspectScore(value=str(reply.outcome or "unjudged"), answer=reply.reply, explanation=reply.why or None)
    numbers = {name: value for name, value in reply.values().items() if value is not None}
    return EvalSample(
        id=number,
        epoch=1,
        input=reply.prompt,
        target="",
        messages=[ChatMessageUser(content=reply.prompt), ChatMessageAssistant(content=reply.reply)],
        output=ModelOutput.from_content("alignment-workbench", reply.reply),
        scores={SCORER: outcome},
        metadata={"category": reply.category, "digest": reply.digest} | numbers,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-") or "log"
