"""workbench lens"""

import json as json_module
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli import recipes as r
from workbench.cli.display import interval, kept, plain, show, table, told_of, watching

if TYPE_CHECKING:
    from probes.lenses import Lens
    from workbench.interventions import Recipe
    from workbench.models import Subject
    from workbench.prompts import ContrastPairs, Prompts

Folder = Annotated[Path | None, typer.Option("--out", help="A folder for the table, the figures and the lens.")]
Sets = Annotated[list[str] | None, typer.Option("--fit-on", help="Prompts to fit a lens to; may be repeated.")]
Held = Annotated[list[str] | None, typer.Option("--held-out", help="Prompts to measure it on; may be repeated.")]
Against = Annotated[str | None, typer.Option(help="The recipe to compare with; default: the model as it is.")]
_TRAIN, _HELD = ("harmful:train", "harmless:train"), ("harmful:val", "harmless:val")
Found = tuple[Any, dict[str, Any]]  # a result, and its figures by file name


@dataclass(frozen=True)
class Asked:
    """What is read, of what, and under which recipes; `recipe` is None where nothing is compared."""

    subject: "Subject"
    lens: "Lens"
    groups: Mapping[str, tuple[int, ...]]
    before: "Recipe"
    recipe: "Recipe | None"
    batch_size: int


def command(
    model: o.Model,
    lens: Annotated[str, typer.Option(help="A registered lens: logit, tuned or jacobian.")] = "logit",
    prompt: Annotated[str | None, typer.Option(help="Read this prompt, layer by token, and not sets.")] = None,
    last: Annotated[int, typer.Option(min=1, help="With --prompt: how many of its last tokens.")] = 16,
    harmful: o.Positive = "harmful:val",
    harmless: o.Negative = "harmless:val",
    n: Annotated[int, typer.Option(min=2, help="Prompts of each side.")] = 32,
    position: Annotated[int, typer.Option(max=-1, help="Of sets: which token, from the end.")] = -1,
    token: Annotated[list[str] | None, typer.Option(help="A token to follow; default: those of refusal.")] = None,
    recipe: r.Text = None,
    against: Against = None,
    direction: r.Directions = None,
    ablate: r.Ablated = False,
    add: r.Added = None,
    fitted: Annotated[Path | None, typer.Option(help="A lens that was fitted before: a file or a folder.")] = None,
    fit_on: Sets = None,
    held_out: Held = None,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Folder = None,
    json: o.Json = False,
) -> None:
    """What each layer would say if the model ended there, and how that stands to refusal."""
    with watching():
        from probes.lenses.lens import FILE

        names = r.Names.of(direction)
        before, after = _recipes(recipe, against, names, ablate, add)
        sides = o.read_sides(harmful, harmless)
        subject = o.open_subject(model, dtype, device)
        drawn = {"harmful": sides.positive.sample(n, seed), "harmless": sides.negative.sample(n, seed)}
        groups = _groups(subject, token, sides, drawn)
        used = _lens(subject, lens, fitted, fit_on, held_out)
        asked = Asked(subject, used, groups, before, after, batch_size)
        found, figures = _map(asked, prompt, last) if prompt is not None else _curves(asked, drawn, position)
        results: dict[str, Any] = {
            "model": subject.identity, "lens": used.method, "lens_digest": used.digest, "found": repr(found),
            "what": "prompt" if prompt is not None else "sets", "seed": seed, "prompt": prompt,
            "position": -1 if prompt is not None else position,
            "prompts": {name: prompts.digest for name, prompts in drawn.items()} if prompt is None else None,
            "recipe": None if after is None else after.written(names.write), "against": before.written(names.write),
            "tokens": {name: [subject.tokenizer.decode([t]) for t in ids] for name, ids in groups.items()},
            "rows": json_module.loads(found.to_pandas().to_json(orient="records", double_precision=15)),
        }  # fmt: skip
        if used.quality is not None:
            results["quality"], figures["quality"] = used.quality.model_dump(), used.plot()
        if out is not None:
            results["files"] = kept(out, "lens", results, figures)
            if used.matrices is not None:
                results["files"].append(str(used.save(out / FILE)))
    show(results, json, *lens_tables(results), *told_of(results.get("files")))


def _recipes(
    recipe: str | None, against: str | None, names: r.Names, ablate: bool, add: float | None
) -> "tuple[Recipe, Recipe | None]":
    """The recipe to compare with, and the recipe to compare; None where there is none."""
    from workbench.errors import RecipeError

    asked = r.read_recipe(recipe, names, ablate, add)
    given = recipe is not None or ablate or add is not None
    if against is not None and not given:
        raise RecipeError("--against is the recipe that another is compared with; give that one with --recipe.")
    return r.read_recipe(against or "nothing", names), asked if given else None


def _groups(
    subject: "Subject", tokens: list[str] | None, sides: "ContrastPairs", reported: "Mapping[str, Prompts]"
) -> dict[str, tuple[int, ...]]:
    """Each token that is asked for by itself; or those of refusal together, and those of compliance.

    These are chosen by prompts that are not reported on.
    """
    from probes.lenses import single_token
    from probes.patching import compliance_tokens, tuning_pool
    from workbench.evaluation.refusal import refusal_tokens
    from workbench.runs import note

    if tokens:
        return {text: (single_token(subject, text),) for text in tokens}
    both = {"harmful": sides.positive, "harmless": sides.negative}
    pools = {side: tuning_pool(prompts, reported[side], side) for side, prompts in both.items()}
    refusing = refusal_tokens(subject, pools["harmful"])
    complying = compliance_tokens(subject, pools["harmless"], refusing.ids)
    note(f"Refusals begin with {', '.join(map(repr, refusing.texts))} ({refusing.source}).")
    note(f"Compliance begins with {', '.join(map(repr, complying.texts))} ({complying.source}).")
    return {"refusal": refusing.ids, "compliance": complying.ids}


def _lens(
    subject: "Subject", name: str, fitted: Path | None, fit_on: list[str] | None, held: list[str] | None
) -> "Lens":
    """The lens of a file; or the named one, fitted to this model unless it was before."""
    from probes.lenses import Lens, fitted_lens

    if fitted is not None:
        found = Lens.load(fitted)
        found.check_fits(subject)
        return found
    return fitted_lens(subject, name, _joined(fit_on or _TRAIN), _joined(held or _HELD))


def _joined(names: Sequence[str]) -> "Prompts":
    from workbench.prompts import Prompts

    sets = [o.read_set(name, "any") for name in names]
    return Prompts(tuple(prompt for each in sets for prompt in each), " and ".join(names), any(s.locked for s in sets))


def _map(asked: Asked, prompt: str, last: int) -> Found:
    from probes.lenses import MapDifference, lens_map
    from workbench.prompts import Prompts

    (one,) = Prompts.of([prompt])
    read = [
        lens_map(asked.subject, asked.lens, one, asked.groups, recipe=recipe, last=last)
        for recipe in (asked.before, asked.recipe)
        if recipe is not None
    ]
    figures = {"tokens": read[0].plot(), "chosen": read[0].plot_group()}
    if len(read) == 1:
        return read[0], figures
    found = MapDifference(*read)
    return found, figures | {"tokens-after": read[1].plot(), "difference": found.plot()}


def _curves(asked: Asked, sides: Mapping[str, Any], position: int) -> Found:
    from probes.lenses import CurvesDifference, lens_curves

    read = [
        lens_curves(
            asked.subject, asked.lens, sides, asked.groups, recipe=recipe, position=position,
            batch_size=asked.batch_size,
        )
        for recipe in (asked.before, asked.recipe)
        if recipe is not None
    ]  # fmt: skip
    figures = {"log-odds": read[0].plot(), "kl": read[0].plot("kl")}
    if len(read) == 1:
        return read[0], figures
    found = CurvesDifference(*read)
    return found, figures | {"difference": found.plot()}


def lens_tables(results: Mapping[str, Any]) -> list[Any]:
    """The result in a sentence, and a row for each site."""
    rows, group = results["rows"], next(iter(results["tokens"]))
    where = "the last token" if results["position"] == -1 else f"token {results['position']}"
    title = f"The {results['lens']} lens, after {where}; log-odds of {group}"
    if results["recipe"] is not None:
        title += f", {results['recipe']} against {results['against']}"
    columns, cells = _prompt_rows(rows, group) if results["what"] == "prompt" else _set_rows(rows, group)
    return [results["found"], table(title, columns, cells)]


def _prompt_rows(rows: Any, group: str) -> tuple[list[str], list[list[str]]]:
    """After the last token: the top tokens, and how the first group stands."""
    mine = [row for row in rows if row["position"] == -1 and row["group"] == group]
    if "difference" in rows[0]:
        columns = ["site", "top before", "top after", "before", "after", "change"]
        return columns, [
            [row["site"], _word(row["top_before"][0]), _word(row["top_after"][0]),
             *(f"{row[key]:.2f}" for key in ("log_odds_before", "log_odds_after", "difference"))]
            for row in mine
        ]  # fmt: skip
    columns = ["site", "top tokens", "rank", "probability", "log-odds", "entropy", "KL"]
    return columns, [
        [row["site"], " ".join(map(_word, row["top"])), str(row["rank"]), f"{row['probability']:.2g}",
         *(f"{row[key]:.2f}" for key in ("log_odds", "entropy", "kl"))]
        for row in mine
    ]  # fmt: skip


def _set_rows(rows: Any, group: str) -> tuple[list[str], list[list[str]]]:
    """By site: the first group's log-odds on each side, or their change."""
    sides = list(dict.fromkeys(row["side"] for row in rows))
    sites = list(dict.fromkeys(row["site"] for row in rows))
    if "says" in rows[0]:
        cells = {(row["side"], row["site"]): f"{interval(row)} {row['says']}" for row in rows}
        return ["site", *(f"{side} (n={_n(rows, side)})" for side in sides)], [
            [site, *(cells[side, site] for side in sides)] for site in sites
        ]
    odds = {(row["side"], row["site"]): row for row in rows if (row["measure"], row["group"]) == ("log_odds", group)}
    off = {(row["side"], row["site"]): row for row in rows if row["measure"] == "kl"}
    columns = ["site", *(f"{side} (n={_n(rows, side)})" for side in sides), f"KL, {sides[0]}"]
    return columns, [
        [site, *(interval(odds[side, site]) for side in sides), interval(off[sides[0], site])] for site in sites
    ]


def _n(rows: Any, side: str) -> int:
    return min(row["n"] for row in rows if row["side"] == side)


def _word(text: str) -> str:
    return plain(repr(text))
