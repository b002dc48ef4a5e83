"""A proof on the open model: what is switched off changes no bit, and nothing is left behind.

1. Logits of the token after one prompt, with nothing done to the model.
2. The same with the direction ablated at strength 0, and at strength 1.
3. The same again, after both.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.dashboard.engine import Job
    from workbench.models import Subject

PROMPT = "Which bread goes well with soup?"


def prove(subject: "Subject", job: "Job") -> dict[str, Any]:
    """How many logits differ from those of step 1 at each step, and by how much; plain numbers."""
    from workbench.dashboard import shelf
    from workbench.interventions import Recipe, steered
    from workbench.models import token_rows
    from workbench.prompts import Prompt
    from workbench.runs import track

    name = next(iter(shelf.shelf(subject.digest)), "")
    ablated = f"ablate({name}) @ all" if name else ""
    written = {"strength 0": f"0 * {ablated}", "strength 1": ablated, "afterwards": ""} if name else {"afterwards": ""}
    (_, batch), *_ = subject.batches(token_rows(subject, [Prompt(text=PROMPT)]), 1)
    before = subject.logits(batch, last=1)
    found = {}
    for step, text in track(written.items(), "Comparing logits"):
        with steered(subject, shelf.read(text) if text else Recipe()):
            apart = (subject.logits(batch, last=1) - before).float()
        found[step] = {"changed": int((apart != 0).sum()), "most": float(apart.abs().max())}
    return {"direction": name, "logits": before.numel(), "steps": found}
