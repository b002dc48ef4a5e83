"""Outcomes of a run by attack and recipe, and its replies: what the page of attacks reads, of what ships and of runs.

Of replies to harmful requests, a page shows refusals; whatever else was said is handed out where it is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.dashboard.sources import Source, results
from workbench.errors import RunError
from workbench.runs.files import read_lines
from workbench.statistics import Score

KIND, REPLIES, PLAIN = "attacks", "replies.jsonl", "asked plainly"
OUTCOMES = {
    "refusal": "refused", "compliance": "complied", "evasion": "evaded", "broken": "broken",
}  # fmt: skip
SAFE, REFUSE = ("harmless", "looks-harmful"), "refuse"
_CONTROLS = ("random", "shuffled", "wrong")


@dataclass(frozen=True)
class Said:
    """One reply: under which attack and recipe, to what, and what became of it; no text where that is left out."""

    attack: str
    recipe: str
    asked: str
    prompt: str
    outcome: str
    text: str
    plain: bool  # whether it may be shown to whoever opens the page: a refusal, or an answer to a harmless request


@dataclass(frozen=True)
class Attacked:
    """`scores` and `changes` by (condition, set, measure); `grid` says which attack and recipe a condition is."""

    grid: Mapping[str, tuple[str, str]]
    scores: Mapping[tuple[str, str, str], Score]
    changes: Mapping[tuple[str, str, str], Mapping[str, Any]]
    judge: str
    kappa: Score | None
    attacks: Mapping[str, Mapping[str, str]]
    recipes: Mapping[str, str]
    source: Mapping[str, Any]
    replies: tuple[Said, ...]

    @property
    def sets(self) -> list[str]:
        return list(dict.fromkeys(asked for _, asked, measure in self.scores if measure in OUTCOMES))

    def rows(self, asked: str) -> dict[str, tuple[str, str]]:
        """The conditions that were measured on a set, attack by attack, each with its attack and recipe."""
        known = {c: pair for c, pair in self.grid.items() if any((c, asked, each) in self.scores for each in OUTCOMES)}
        order = list(dict.fromkeys(attack for attack, _ in known.values()))
        return dict(sorted(known.items(), key=lambda item: order.index(item[1][0])))

    @property
    def controls(self) -> set[str]:
        """Recipes that are there to change nothing."""
        return {recipe for _, recipe in self.grid.values() if recipe.startswith(_CONTROLS)}

    def prompts(self, asked: str) -> list[str]:
        """The requests of a set whose replies were kept, those with the most to show first."""
        counts: dict[str, int] = {}
        for each in self.replies:
            if each.asked == asked:
                counts[each.prompt] = counts.get(each.prompt, 0) + each.plain
        return sorted(counts, key=lambda prompt: -counts[prompt])

    def said(self, attack: str, asked: str, prompt: str) -> list[Said]:
        """The replies to a prompt under an attack, recipe by recipe."""
        return [each for each in self.replies if (each.attack, each.asked, each.prompt) == (attack, asked, prompt)]


def read_attacked(source: Source) -> Attacked:
    """Read a source. RunError where it is damaged, or holds no outcomes."""
    written = 0 if source.folder is None else _written(source.folder)
    return _read(source, written)


def _written(folder: Path) -> int:
    path = folder / "results.json"
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=8)
def _read(source: Source, written: int) -> Attacked:
    try:
        found = results(source, KIND)
        evaluation = found.get("evaluation", found)
        scores = {_split(row["name"]): Score.model_validate(row) for row in evaluation["scores"]}
        grid = found.get("grid") or {condition: (PLAIN, condition) for condition, _, _ in scores}
        grid = {condition: (str(attack), str(recipe)) for condition, (attack, recipe) in grid.items()}
        kappa = evaluation["judge"]["kappa"]
        attacks = found.get("attacks", {})
        rows = _shipped(found["replies"]) if source.folder is None else _stored(source.folder, grid, attacks)
        return Attacked(
            grid, scores, {_split(row["name"]): row for row in evaluation["differences"]}, evaluation["judge"]["name"],
            None if kappa is None else Score.model_validate(kappa), attacks, found.get("recipes", {}),
            found.get("source", {}), tuple(Said(**row) for row in rows),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError) as error:
        raise RunError(f"{source.name} cannot be read as outcomes ({type(error).__name__}); run it again.") from error


def _split(name: str) -> tuple[str, str, str]:
    condition, asked, measure = name.rsplit("/", 2)
    return condition, asked, measure


def _shipped(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What ships was looked through before: what may not be shown has no text."""
    return [{**row, "plain": bool(row["text"]) or row["asked"] in SAFE} for row in rows]


def _stored(
    folder: Path, grid: Mapping[str, tuple[str, str]], attacks: Mapping[str, Mapping[str, str]]
) -> list[Mapping[str, Any]]:
    """The replies that a run wrote down, each with its attack and recipe."""
    from workbench.evaluation.replies import opens_with_refusal

    found: list[Mapping[str, Any]] = []
    for part in read_lines(folder / REPLIES) if (folder / REPLIES).is_file() else []:
        attack, recipe = grid[part["condition"]]
        begun = attacks.get(attack, {}).get("prefill", "")
        for each in part["replies"]:
            declined = each["outcome"] == REFUSE and opens_with_refusal(each["reply"], begun)
            found.append({
                "attack": attack, "recipe": recipe, "asked": part["asked"], "prompt": each["prompt"],
                "outcome": each["outcome"] or "unjudged", "text": each["reply"],
                "plain": declined or part["asked"] in SAFE,
            })  # fmt: skip
    return found
