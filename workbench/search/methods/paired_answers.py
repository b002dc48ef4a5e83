"""Paired answers: the same prompts with two answers begun for the model (CAA, Panickssery et al. 2024).

    d = mean over prompts of h(prompt + answer of the behaviour) - h(prompt + the other answer)

at the last token of the answer. Both classes hold the same prompts, so the direction is about what is said and not
about what is asked.
"""

from workbench.prompts import ContrastPairs, Prompts
from workbench.search.methods import Task, methods
from workbench.search.scoring import Candidates


@methods.register("paired-answers")
def paired_answers(task: Task) -> Candidates:
    """The difference in means at the last token of the two answers, at every searched layer."""
    asked = Prompts((*task.train.positive, *task.train.negative), "asked")
    yes, no = task.settings.answers
    return task.extracted(
        "difference-in-means", ContrastPairs(asked.changed(prefill=yes), asked.changed(prefill=no)), positions=(-1,)
    )
