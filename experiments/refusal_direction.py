"""Is refusal mediated by a single direction? After Arditi et al. 2024.

1. A direction of every layer and template position, from train prompts; the paper's rule chooses on validation ones.
2. On test prompts that neither saw: the model as it is, the direction ablated everywhere and added at its layer, and
   the same two edits along a matched random direction.

Yes, where ablating takes refusals of harmful prompts away and adding brings refusals of harmless ones, and the random
direction does neither.
"""

from collections.abc import Mapping

from experiments.experiment import Answer, Reported
from workbench.evaluation.rederiving import rebuilt
from workbench.prompts import Prompts
from workbench.runs import RunFolder
from workbench.search import SearchSettings
from workbench.statistics import Score
from workbench.studies import Parts, demonstrate

RUN = "demonstration"


Settings = Reported


def answer(settings: Reported, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """The search and the five conditions, in a run of their own."""
    parts = Parts(*(settings.pairs(part, prompts) for part in Parts._fields))
    search = SearchSettings(n_train=settings.n_train, n_val=settings.n_val, filtered=settings.filtered)
    run = demonstrate(
        settings.subject, parts, n_test=settings.n_test, max_new_tokens=settings.max_new_tokens, search=search,
        out=folder.path / RUN,
    )  # fmt: skip
    found = run.results()["find"]
    chosen, passed = found["chosen"], found["passed_rule"]
    rule = "by the paper's rule" if passed else "outside the paper's rule, which nothing passes"
    scores = {score.name: score for score in run.manifest.scores}
    return Answer(
        line=f"layer {chosen['layer']}, position {chosen['position']}, {rule}; {told(scores)}",
        figure=rebuilt(run).plot(),
        results={"chosen": chosen, "passed_rule": passed},
        parts=(run,),
    )


def told(scores: Mapping[str, Score]) -> str:
    """Refusals of both kinds of prompts, as the model is, under the edit that should change them, and its control."""
    said = []
    for asked, edit in (("harmful", "ablated"), ("harmless", "added")):
        rates = [f"{name} {scores[f'{name}/{asked}/refusal'].percent}" for name in ("baseline", edit, f"random {edit}")]
        said.append(f"{asked} refused: {', '.join(rates)} (n={scores[f'baseline/{asked}/refusal'].n})")
    return "; ".join(said)
