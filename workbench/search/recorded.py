"""A search whose every step is written down: `workbench find`, and the same from a script."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from workbench.activations import ActivationStore
from workbench.errors import SearchError
from workbench.models import Subject
from workbench.prompts import ContrastPairs
from workbench.runs import RunFolder, RunManifest, digest_json, note, write_figure
from workbench.search.choosing import SCORES, last_layer
from workbench.search.finding import Found, choose_or_relax, draw, find_direction
from workbench.search.scoring import JOURNAL, Measurement, rows_of
from workbench.search.settings import SearchSettings
from workbench.statistics import Score

DIRECTION = "direction.safetensors"


def record_find(
    subject: Subject,
    pairs: ContrastPairs,
    *,
    validation: ContrastPairs | None = None,
    settings: SearchSettings | None = None,
    out: Path | None = None,
) -> RunFolder:
    """Find a direction into a run folder; a finished run of the same identity is handed back as it is."""
    chosen = settings or SearchSettings()
    data = digests_of(draw(pairs, validation, chosen))
    manifest = RunManifest(command="find", settings=chosen.to_json(), model=subject.identity, data=data)
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"This search was finished before; its result is in {folder.path}.")
        return folder
    with folder.timed("find"):
        store = ActivationStore.default()
        found = find_direction(subject, pairs, validation=validation, settings=chosen, store=store, folder=folder)
    keep_found(folder, found)
    folder.finish(found.to_json(), scores_of(found))
    return folder


def record_candidate(
    subject: Subject,
    pairs: ContrastPairs,
    place: tuple[int | None, int],
    *,
    settings: SearchSettings,
    data: Mapping[str, str] | None = None,
) -> RunFolder:
    """A candidate of a search, by its (position, layer), as a search of its own: extracted from the same prompts, and
    measured as a chosen one is. `data` are the digests of the prompts that the search drew.

    Raises SearchError where `pairs` are not what the search drew its prompts from.
    """
    position, layer = place
    drawn = digests_of(draw(pairs, None, settings))
    if data is not None and any(data.get(part) != digest for part, digest in drawn.items()):
        raise SearchError(
            f"This search drew its prompts from other sets than {pairs.positive.name} and {pairs.negative.name}; "
            f"give its own to `workbench find ... --layers {layer} --positions {position}`."
        )
    too_late = layer >= last_layer(subject.n_layers, settings.drop_last)
    positions = settings.positions if position is None else (position,)
    only = replace(settings, positions=positions, layers=(layer,))
    return record_find(subject, pairs, settings=replace(only, drop_last=0.0) if too_late else only)


def digests_of(drawn: tuple[ContrastPairs, ContrastPairs]) -> dict[str, str]:
    """The train and validation prompts that were drawn, as a manifest names them."""
    return {"train": drawn[0].digest, "validation": drawn[1].digest}


def keep_found(folder: RunFolder, found: Found) -> None:
    """Write the direction and its figure."""
    found.direction.save(folder.path / DIRECTION)
    write_figure(folder.path / "tradeoff.html", found.plot())


def scores_of(found: Found) -> list[Score]:
    """The chosen candidate's validation scores. They chose it, so they are no estimate of its effect."""
    row = found.row
    bounds, n = row["intervals"], row["n"]
    return [
        Score(name=f"validation/{name}", value=row[name], low=bounds[name][0], high=bounds[name][1], n=n[name])
        for name in SCORES
    ]


def rederive_find(folder: RunFolder) -> list[str]:
    """What the stored scores of the candidates do not lead to again; empty where the choice is the same."""
    results = folder.results()
    recorded = results.get("find", results)
    rows = rows_of(folder.journal(JOURNAL, Measurement))
    table = {(row["position"], row["layer"]): row for row in recorded["evaluations"]}
    # By digest, for a score may be NaN, which is equal to nothing.
    if digest_json([rows.get(place) for place in table]) != digest_json(list(table.values())):
        return ["The journal of measurements does not lead to the table in the results."]
    settings = {k: folder.manifest.settings[k] for k in ("kl_max", "induce_min", "drop_last")}
    n_layers = int(recorded["n_layers"])
    row, choice = choose_or_relax(list(table.values()), n_layers, SearchSettings(**settings))
    same = dict(row) == recorded["chosen"] and (choice.winner is not None) == recorded["passed_rule"]
    return [] if same else [f"The rule now chooses {dict(row)}, not {recorded['chosen']}."]
