"""A card into a run folder: `workbench card`, and the same from a script."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.directions import Direction
from workbench.errors import PromptError
from workbench.evaluation.refusal import from_quality, refusal_tokens
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder, RunManifest, note, write_figure
from workbench.studies.identifiability.identify import TEMPLATES, identify
from workbench.studies.identifiability.resampling import REPEATS, RESAMPLES, SIZES

N_VALIDATION, LEAST_VALIDATION = 32, 4
LEAST = 16  # prompts of each side that are left
FIGURE = "identifiability.html"


def record_card(
    subject: Subject,
    direction: Direction,
    sets: Mapping[str, ContrastPairs],
    *,
    n: int = 256,
    batch_size: int = 32,
    seed: int = 0,
    refusal_starts: Sequence[str] | None = None,
    out: Path | None = None,
) -> RunFolder:
    """The identifiability card of `direction`; a finished one of the same identity is handed back as it is.

    At most `n` prompts of each side of a set are read. Of the first set, positive prompts that the direction was not
    found with are held out, to ablate it on. The metric is of replies that begin with `refusal_starts`; where none are
    given, as the direction was found by them, or as the model's refusals do.
    """
    direction.check_fits(subject)
    kept, validation = held_out(sets, direction, seed)
    kept = {name: pairs.sample(n, seed) for name, pairs in kept.items()}
    data = {name: pairs.digest for name, pairs in kept.items()} | {"validation": validation.digest}
    settings = {
        "direction": direction.digest, "sizes": list(SIZES), "resamples": RESAMPLES, "repeats": REPEATS,
        "templates": dict(TEMPLATES), "batch_size": batch_size, "seed": seed,
        "refusal_starts": list(refusal_starts or ()), "refusal_tokens": list(from_quality(direction.quality)),
    }  # fmt: skip
    folder = RunFolder.start(RunManifest(command="card", settings=settings, model=subject.identity, data=data), out)
    if folder.done:
        note(f"This card was made before; it is in {folder.path}.")
        return folder
    with folder.timed("card"):
        tokens = _tokens(subject, direction, next(iter(kept.values())).positive, refusal_starts)
        card = identify(subject, direction, kept, validation, tokens, batch_size=batch_size, seed=seed, folder=folder)
    write_figure(folder.path / FIGURE, card.plot())
    folder.finish(card.to_json(), [card.bootstrap, card.shuffled, *card.bypass])
    return folder


def _tokens(subject: Subject, direction: Direction, positive: Prompts, starts: Sequence[str] | None) -> tuple[int, ...]:
    """What begins a reply that shows the behaviour."""
    kept = () if starts else from_quality(direction.quality)
    return kept or refusal_tokens(subject, positive, starts).ids


def held_out(
    sets: Mapping[str, ContrastPairs], direction: Direction, seed: int
) -> tuple[dict[str, ContrastPairs], Prompts]:
    """The sets without the validation prompts, which are drawn from the first and new to the direction."""
    first = next(iter(sets.values())).positive
    fresh = first.without(direction.seen)
    if len(fresh) < LEAST_VALIDATION:
        raise PromptError(
            f"The direction was found with all but {len(fresh)} of {len(first)} positive prompts, and a card ablates "
            "it on prompts that are new to it; give a larger set, or find the direction with a smaller --n-train."
        )
    validation = fresh.sample(max(LEAST_VALIDATION, min(N_VALIDATION, len(fresh), len(first) - LEAST)), seed)
    taken = {prompt.digest for prompt in validation}
    kept = {
        name: ContrastPairs(
            pairs.positive.without(taken).require(LEAST, f"The positive side of {name}"),
            pairs.negative.without(taken).require(LEAST, f"The negative side of {name}"),
        )
        for name, pairs in sets.items()
    }
    return kept, validation
