"""Re-derive a run's scores from its stored replies: judge every reply again and compute every number again."""

from workbench.evaluation.comparison import Evaluation, Measured
from workbench.evaluation.judges import judges
from workbench.evaluation.measuring import REPLIES
from workbench.runs import RunFolder


def rederive(folder: RunFolder) -> list[str]:
    """What does not come out as it is recorded, one sentence each; empty where all does."""
    judge = judges[str(folder.manifest.settings.get("judge", "phrase"))]
    faults, measured = [], []
    for part in folder.journal(REPLIES, Measured):
        again = tuple(r.model_copy(update={"outcome": judge(r.prompt, r.reply)}) for r in part.replies)
        changed = sum(a.outcome != b.outcome for a, b in zip(part.replies, again, strict=True))
        if changed:
            faults.append(f"{changed} outcomes of {part.condition} on {part.asked} differ when judged again.")
        measured.append(part.model_copy(update={"replies": again}))
    recorded = {score.name: score for score in folder.manifest.scores}
    found = {score.name: score for score in Evaluation(tuple(measured)).scores()}
    for name in sorted(recorded.keys() | found.keys()):
        if recorded.get(name) != found.get(name):
            faults.append(f"{name} is recorded as {recorded.get(name)} and comes out as {found.get(name)}.")
    return faults
