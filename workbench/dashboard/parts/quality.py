"""A direction's quality card: what chose it, and how sure it is.

searched    every measured candidate, what it gains against what it costs, on the prompts that chose it
extracted   pairs that were left out, in the right order or not, layer by layer
carded      with other prompts, other sets, other system prompts (`workbench card`)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from workbench.dashboard import shelf
from workbench.dashboard.parts.present import shown
from workbench.dashboard.parts.search_again import extracted_again, found_again
from workbench.dashboard.parts.searched import SCORES, Search, read_search
from workbench.dashboard.sources import SHIPPED, Source, shipped, sources
from workbench.errors import RunError
from workbench.runs import RunFolder
from workbench.statistics import Score

KIND = "card"
_GAIN, _COST = "bypass", "KL"


@dataclass(frozen=True)
class Known:
    """A direction of the shelf, the run it is of (none where it ships), and its digest where the run says it."""

    name: str
    origin: str
    site: str
    command: str
    source: Source
    digest: str

    @classmethod
    def of(cls, name: str) -> "Known":
        """What is known of a name. RunError where its run is damaged."""
        held = shelf.shelf()[name]
        if held.path == shelf.SHIPPED.get(name):
            return cls(name, held.origin, held.site, "find", Source(SHIPPED), str(_shipped_card().get("direction", "")))
        run = RunFolder.open(held.path.parent)
        results, command = run.results(), run.manifest.command
        found = results.get("find", results)
        digest = found.get("digest") or found.get("direction", {}).get("digest") or ""
        return cls(name, held.origin, held.site, command, Source(run.path.name, run.path), str(digest))


def show_quality(known: Known) -> None:
    """The card, as far as it is measured. RunError where a run is damaged."""
    st.text(f"Found at {known.site}; {known.origin}.")
    if known.command in ("find", "demo"):
        _searched(known, read_search(known.source))
    elif known.command == "extract":
        _extracted(known)
    else:
        st.caption(
            "It was uploaded, and nothing was measured of it here. Measure how sure it is, or try it in the chat."
        )


def card_of(known: Known) -> dict[str, Any] | None:
    """The newest card of this direction, or the one that ships with it."""
    for source in sources("card"):
        assert source.folder is not None
        run = RunFolder.open(source.folder)
        if known.digest and run.manifest.settings.get("direction") == known.digest:
            return run.results()
    held = _shipped_card()
    return held["card"] if known.digest and held.get("direction") == known.digest else None


def show_card(card: Mapping[str, Any], command: str, python: str) -> None:
    """How sure the direction is. RunError where the card is damaged."""
    from workbench.plots import identifiability_figure

    try:
        curve = [(point["n"], _score(point["agreement"]), _score(point["shuffled"])) for point in card["curve"]]
        expected = [(point["n"], point["expected"]) for point in card["curve"] if point["expected"] is not None]
        effects = [Score.model_validate(each) for each in card["bypass"]]
        figure = identifiability_figure(curve, expected, card["names"], card["cosines"], effects, stacked=True)
        bootstrap, chance = (Score.model_validate(card[name]) for name in ("bootstrap", "shuffled"))
        table, n = _card_table(card, effects), card["n"]
    except (KeyError, TypeError, ValueError, IndexError, ValidationError) as error:
        raise RunError(f"The card is damaged ({type(error).__name__}: {error}); make it again.") from error
    st.caption(
        f"Of {n[0]} + {n[1]} prompts. Two resamples of them agree by a cosine of {bootstrap.format('.3f')}, with "
        f"shuffled labels {chance.format('.3f')} (mean, and where 95 % of the draws lie)."
    )
    alt = (
        f"How sure the direction at {card['place']} is: agreement of two draws by their size with real and shuffled "
        f"labels, cosines between {len(card['names'])} variants, and the refusal metric under each of them ablated, "
        "under no edit and under a random direction."
    )
    shown(figure, table, KIND, alt, command=command, python=python)


def _shipped_card() -> dict[str, Any]:
    try:
        return shipped(KIND)
    except RunError:
        return {}


def _score(value: Any) -> Score | None:
    return None if value is None else Score.model_validate(value)


def _card_table(card: Mapping[str, Any], effects: Sequence[Score]) -> pd.DataFrame:
    """A row for each point and for each ablation; `what` says which panel it is of."""
    rows: list[dict[str, Any]] = []
    for point in card["curve"]:
        for labels in ("agreement", "shuffled"):
            if point[labels]:
                rows.append(
                    {"what": f"cosine of two draws ({labels})", "of": f"n={point['n']}"} | _cells(point[labels])
                )
    rows += [{"what": "refusal metric, log-odds", "of": each.name} | _cells(each.model_dump()) for each in effects]
    for name, cosines in zip(card["names"], card["cosines"], strict=True):
        rows += [
            {"what": f"cosine with {other}", "of": name, "value": value}
            for other, value in zip(card["names"], cosines, strict=True)
        ]
    return pd.DataFrame(rows)


def _cells(score: Mapping[str, Any]) -> dict[str, Any]:
    return {key: score[key] for key in ("value", "low", "high", "n")}


def _searched(known: Known, search: Search) -> None:
    from workbench.plots import tradeoff_figure

    chosen = search.candidates[search.chosen]
    _figures_of(chosen.measured)
    rule = "by the paper's rule" if search.passed_rule else "outside the paper's rule, which no candidate passes"
    st.caption(
        f"Chosen {rule}, of {len(search.candidates)} candidates, by these numbers: they are the best of many, and no "
        "estimate of what it does to other prompts. `workbench evaluate` measures that. "
        f"Kept for choosing: {search.kept['validation']}."
    )
    kept = [each for each in search.candidates.values() if {_GAIN, _COST} <= each.measured.keys()]
    places = [each.place for each in kept]
    if search.chosen not in places:
        return
    gains, costs = ([each.measured[name] for each in kept] for name in (_GAIN, _COST))
    figure = tradeoff_figure(
        [score.value for score in costs], [score.value for score in gains], [each.name for each in kept],
        [places.index(place) for place in search.front if place in places], places.index(search.chosen),
        bounds=([_bounds(score) for score in costs], [_bounds(score) for score in gains]),
        limit=search.settings["kl_max"],
        x=f"KL(base || ablated), prompts without the behaviour, {_counted(costs)} (nats)",
        y=f"Bypass, prompts with it, {_counted(gains)} (log-odds)",
    )  # fmt: skip
    rows = [
        {"candidate": each.name, "layer": each.place[1], "position": each.place[0], "chosen": each is chosen}
        | {f"{name}{end}": value for name, score in each.measured.items() for end, value in _ends(score)}
        for each in kept
    ]
    alt = (
        f"{len(kept)} measured candidates: bypass against KL with 95 % intervals of the front, the chosen one marked "
        f"({chosen.name}), and the limit of KL."
    )
    command, python = found_again(search, ships=known.source.folder is None)
    shown(figure, pd.DataFrame(rows), "search", alt, command=command, python=python)


def _counted(scores: Sequence[Score]) -> str:
    """How many prompts: a candidate that could not win is measured on fewer."""
    least, most = (end(score.n for score in scores) for end in (min, max))
    return f"n={least}" if least == most else f"n={least} to {most}"


def _figures_of(scores: Mapping[str, Score]) -> None:
    units = {"bypass": "log-odds", "induce": "log-odds", "KL": "nats"}
    for name, column in zip(SCORES, st.columns(len(SCORES)), strict=True):
        if name in scores:
            score = scores[name]
            with column:
                st.metric(f"{name}, {units[name]}", f"{score.value:.2f}")
                st.caption(f"95 % [{score.low:.2f}, {score.high:.2f}], n={score.n}")


def _extracted(known: Known) -> None:
    from workbench.plots.curves import curves_figure
    from workbench.plots.style import COLOURS

    assert known.source.folder is not None
    run = RunFolder.open(known.source.folder)
    results = run.results()
    try:
        given = [(layer, _score(each)) for layer, each in enumerate(results["separation"])]
        layer, n = results["layer"], results["n"]
    except (KeyError, TypeError, ValidationError) as error:
        raise RunError(f"The results of {known.name} are damaged ({error!r}); extract it again.") from error
    points = [(float(place), score) for place, score in given if score is not None]
    figure = curves_figure(
        {"pairs left out": points}, "layer (block input)", "in the right order, %", percent=True, limit=50.0
    )  # fmt: skip
    figure.add_vline(
        x=layer, line={"dash": "dash", "color": COLOURS[2]}, annotation_text=f"taken at {layer}",
        annotation_position="bottom right",
    )  # fmt: skip
    st.caption(
        f"Too few prompts for a search ({n[0]} and {n[1]}), so that the layer was given, and what it does to the model "
        "was not measured. A pair is in the right order where the prompt that shows the behaviour lies further along "
        "the direction of all the others; by chance half of them are (dotted)."
    )
    rows = [{"layer": place} | _cells(score.model_dump()) for place, score in points]
    alt = f"Share of left-out pairs in the right order at each layer, 95 % interval, chance at 50 %, taken at {layer}."
    shown(figure, pd.DataFrame(rows), "left-out", alt, python=extracted_again(run.manifest))


def _ends(score: Score) -> tuple[tuple[str, Any], ...]:
    return ("", score.value), (" low", score.low), (" high", score.high), (" n", score.n)


def _bounds(score: Score) -> tuple[float, float]:
    return tuple(score.value if end is None else end for end in (score.low, score.high))  # type: ignore[return-value]
