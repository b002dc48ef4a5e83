"""Measure conditions - baseline, treated, controls - on the same harmful and harmless prompts.

Replies are generated under each recipe and judged; on harmless prompts the divergence from the base model is
measured too. With a run folder every finished part is written down, and an interrupted run goes on from there.
"""

from collections.abc import Mapping

from workbench.errors import UsageError
from workbench.evaluation.comparison import BASELINE, Evaluation, Judged, Measured
from workbench.evaluation.holdout import unseen
from workbench.evaluation.judges import judges
from workbench.evaluation.metrics import first_token_kl
from workbench.generation import generate
from workbench.interventions import Recipe, match_ratios, random_control
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder, note

REPLIES = "replies.jsonl"


def evaluate(
    subject: Subject,
    recipe: Recipe,
    prompts: ContrastPairs,
    *,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    judge: str = "phrase",
    seed: int = 0,
    folder: RunFolder | None = None,
) -> Evaluation:
    """Baseline, `recipe` and its random control on harmful (`positive`) and harmless (`negative`) prompts."""
    if not len(recipe):
        raise UsageError("There is nothing to evaluate: the recipe is empty; give a direction to ablate or add.")
    recipe.check_fits(subject)
    control = random_control(subject, recipe, prompts.positive, seed, batch_size=batch_size)
    conditions = {BASELINE: Recipe(), "treated": recipe, "random control": control}
    return measure(
        subject,
        conditions,
        prompts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        judge=judge,
        folder=folder,
    )


def measure(
    subject: Subject,
    conditions: Mapping[str, Recipe],
    prompts: ContrastPairs,
    *,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    judge: str = "phrase",
    folder: RunFolder | None = None,
) -> Evaluation:
    """Every condition on both sides of `prompts`, without those that a direction was found with."""
    prompts = unseen(prompts, conditions.values())
    known = {(part.condition, part.asked): part for part in _stored(folder)}
    measured = []
    for asked, texts in (("harmful", prompts.positive), ("harmless", prompts.negative)):
        for condition, recipe in conditions.items():
            part = known.get((condition, asked))
            if part is None:
                note(f"{condition} on {len(texts)} {asked} prompts")
                part = _measure(subject, condition, asked, recipe, texts, max_new_tokens, batch_size, judge)
                if folder is not None:
                    folder.log(REPLIES, part.model_dump(mode="json"))
            measured.append(part)
    matches = {name: match_ratios(recipe) for name, recipe in conditions.items()}
    return Evaluation(tuple(measured), judge, {name: ratios for name, ratios in matches.items() if ratios})


def _stored(folder: RunFolder | None) -> list[Measured]:
    return [] if folder is None else folder.journal(REPLIES, Measured)


def _measure(
    subject: Subject,
    condition: str,
    asked: str,
    recipe: Recipe,
    prompts: Prompts,
    max_new_tokens: int,
    batch_size: int,
    judge: str,
) -> Measured:
    decide = judges[judge]
    replies = generate(subject, prompts, recipe, max_new_tokens=max_new_tokens, batch_size=batch_size)
    divergence: list[float | None] = [None] * len(prompts)
    if asked == "harmless":
        divergence = [*first_token_kl(subject, prompts, recipe, batch_size)]
    rows = tuple(
        Judged(
            prompt=reply.prompt.text,
            digest=reply.prompt.digest,
            category=reply.prompt.category,
            reply=reply.text,
            outcome=decide(reply.prompt.text, reply.text),
            kl=kl,
        )
        for reply, kl in zip(replies, divergence, strict=True)
    )
    return Measured(condition=condition, asked=asked, replies=rows)
