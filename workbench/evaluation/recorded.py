"""An evaluation whose every reply is written down: `workbench evaluate`, and the same from a script."""

from pathlib import Path

from workbench.evaluation.holdout import unseen
from workbench.evaluation.measuring import evaluate
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.prompts import ContrastPairs
from workbench.runs import RunFolder, RunManifest, note, write_text


def record_evaluation(
    subject: Subject,
    recipe: Recipe,
    prompts: ContrastPairs,
    *,
    max_new_tokens: int = 64,
    batch_size: int = 32,
    judge: str = "phrase",
    seed: int = 0,
    out: Path | None = None,
) -> RunFolder:
    """Evaluate a recipe into a run folder; a finished run of the same identity is handed back as it is."""
    recipe.check_fits(subject)
    prompts = unseen(prompts, [recipe])
    settings = {
        "recipe": recipe.to_json(),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "judge": judge,
        "seed": seed,
    }
    data = {"harmful": prompts.positive.digest, "harmless": prompts.negative.digest}
    manifest = RunManifest(command="evaluate", settings=settings, model=subject.identity, data=data)
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"This evaluation was finished before; its result is in {folder.path}.")
        return folder
    with folder.timed("evaluate"):
        evaluation = evaluate(
            subject,
            recipe,
            prompts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            judge=judge,
            seed=seed,
            folder=folder,
        )
    recipe.save(folder.path / "recipe.json")
    write_text(folder.path / "refusals.html", evaluation.plot().to_html(include_plotlyjs=True))
    folder.finish(evaluation.to_json() | {"recipe": str(recipe)}, evaluation.scores())
    return folder
