"""A direction of a few pairs, where there are too few for a search.

1. Capture one position at every block's input.
2. The direction is that of all prompts, at a layer that is given beforehand: nothing is chosen by a score.
3. For every layer, leave out a prompt of each side, find the direction of the others, and see whether the one that
   shows the behaviour lies further along it. Where there is nothing to find, each such pair is a fair coin: the two
   could be swapped and the others would be as they are (leave-pair-out, Airola et al. 2011).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.activations import Activations, capture
from workbench.directions import Direction, extract_directions
from workbench.directions.extraction import Extractor, extractors
from workbench.errors import DirectionError, RunError
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, for_tuning
from workbench.runs import RunFolder, RunManifest, note, track
from workbench.search.recorded import DIRECTION
from workbench.statistics import Score, rate_score

LEAST = 3  # prompts of each side
DEPTH = 0.6  # of the layers, where none is given
SEPARATION = "pairs in the right order"
_METHOD = "difference-in-means"
LeftOut = Sequence[Sequence[Sequence[float]]]  # of each layer and pair: the positive's coordinate, and the negative's


def record_extraction(
    subject: Subject,
    pairs: ContrastPairs,
    *,
    layer: int | None = None,
    position: int = -1,
    method: str = _METHOD,
    out: Path | None = None,
) -> RunFolder:
    """Extract a direction into a run folder; a finished run of the same identity is handed back as it is."""
    for name, side in (("harmful", pairs.positive), ("harmless", pairs.negative)):
        for_tuning(side, "an extraction").require(LEAST, f"The {name} side")
    chosen = int(DEPTH * subject.n_layers) if layer is None else layer
    settings = {"layer": chosen, "position": position, "method": method}
    data = {"train": pairs.digest}
    manifest = RunManifest(command="extract", settings=settings, model=subject.identity, data=data)
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"This direction was extracted before; it is in {folder.path}.")
        return folder
    with folder.timed("extract"):
        sides = [capture(subject, side, positions=[position]) for side in (pairs.positive, pairs.negative)]
        direction, results = extracted(subject, sides[0], sides[1], chosen, method)
    direction.save(folder.path / DIRECTION)
    folder.finish(results, [Score.model_validate(results["separation"][chosen])])
    return folder


def extracted(
    subject: Subject, positive: Activations, negative: Activations, layer: int, method: str = _METHOD
) -> tuple[Direction, dict[str, Any]]:
    """The direction at `layer`, and what becomes of pairs that are left out, at every layer."""
    (position,) = positive.positions
    site = Site(layer, "resid_pre")
    subject.check_site(site)
    found = extract_directions(subject, positive, negative, method).get((position, site))
    if found is None:
        raise DirectionError(f"The two sides are the same at {site}, token {position}; choose a later layer.")
    left_out = [
        list(_left_out(extractors[method], positive.at(place, position), negative.at(place, position)))
        for place in track(positive.sites, "Leaving pairs out")
    ]
    results: dict[str, Any] = {
        "digest": found.digest, "layer": layer, "position": position, "method": method,
        "n": [len(positive), len(negative)], "scale": found.scale, "n_layers": subject.n_layers, "left_out": left_out,
        "separation": _dumped(left_out),
    }  # fmt: skip
    share = float(results["separation"][layer]["value"])
    return replace(found, quality={SEPARATION: share}), results


def separations(left_out: LeftOut) -> list[Score | None]:
    """For each layer, the share of left-out pairs whose positive prompt lies further along; None where all are equal,
    as at a token of the template before any layer."""
    return [
        rate_score(SEPARATION, sum(a > b for a, b in pairs), len(pairs), "higher")
        if any(a != b for a, b in pairs)
        else None
        for pairs in left_out
    ]


def rederive_extraction(folder: RunFolder) -> list[str]:
    """What the stored coordinates do not lead to again."""
    recorded = folder.results()
    try:
        again = _dumped(recorded["left_out"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"The results of {folder.path} are damaged ({error}); run it again.") from error
    return [] if again == recorded["separation"] else ["The coordinates do not lead to the separations."]


def _dumped(left_out: LeftOut) -> list[dict[str, Any] | None]:
    return [None if score is None else score.model_dump() for score in separations(left_out)]


def _left_out(
    extract: Extractor, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Iterator[tuple[float, float]]:
    """The coordinates of each pair that is left out, along the direction of the others."""
    for index in range(min(len(positive), len(negative))):
        ours, theirs = (_without(side, index) for side in (positive, negative))
        raw = extract(ours, theirs).double()
        unit = raw / raw.norm().clamp_min(torch.finfo(torch.float64).tiny)
        yield float(positive[index].double() @ unit), float(negative[index].double() @ unit)


def _without(rows: Float[Tensor, "n d_model"], index: int) -> Float[Tensor, "kept d_model"]:
    return torch.cat([rows[:index], rows[index + 1 :]])
