"""workbench card"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import interval, show, table, watching

if TYPE_CHECKING:
    from workbench.prompts import ContrastPairs


def command(
    model: o.Model,
    direction: Annotated[o.Path, typer.Option(help="A find run, or a direction file.")],
    harmful: Annotated[list[str] | None, typer.Option(help="Sets to compare; the first is resampled.")] = None,
    harmless: Annotated[list[str] | None, typer.Option(help="The other side of each, in the same order.")] = None,
    n: Annotated[int, typer.Option("--n", min=16, help="Prompts of each side of a set, at most.")] = 256,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """How sure a direction is: with other prompts, other sets and other system prompts."""
    with watching():
        from workbench.directions import Direction
        from workbench.studies import record_card

        found = Direction.load(direction)
        sets = _sets(harmful or ["harmful"], harmless or ["harmless"])
        subject = o.open_subject(model, dtype, device)
        folder = record_card(subject, found, sets, n=n, batch_size=batch_size, seed=seed, out=out)
    results = folder.results() | {"run": str(folder.path)}
    show(results, json, *card_tables(results), f"The figure is {folder.path}/identifiability.html.")


def _sets(harmful: list[str], harmless: list[str]) -> "Mapping[str, ContrastPairs]":
    from workbench.errors import UsageError

    if len(harmful) != len(harmless):
        raise UsageError(
            f"{len(harmful)} --harmful and {len(harmless)} --harmless sets were given; give one for the other."
        )
    found = {}
    for one, other in zip(harmful, harmless, strict=True):
        pairs = o.read_sides(one, other)
        found[o.Path(one).name] = pairs
    if len(found) < len(harmful):
        raise UsageError("Two sets have the same name; rename one of the files.")
    return found


def card_tables(card: Mapping[str, Any]) -> list[Any]:
    """How sure the direction is, by number of prompts, and what its variants do."""
    curve = [
        [
            str(point["n"]),
            interval(point["agreement"]) if point["agreement"] else f"needs {2 * point['n']} prompts a side",
            "" if point["expected"] is None else f"{point['expected']:.3f}",
            interval(point["shuffled"]) if point["shuffled"] else "",
        ]
        for point in card["curve"]
    ]
    effects = [[score["name"], interval(score)] for score in card["bypass"]]
    cosines = [f"{value:.3f}" for value in card["cosines"][0]]
    for row, cosine in zip(effects[1:-1], cosines, strict=True):
        row.append(cosine)
    head = (
        f"{card['method']} at {card['place']}, of {card['n'][0]} + {card['n'][1]} prompts; cosine with the direction "
        f"as it was found {card['found']:.3f}. Bootstrap: {interval(card['bootstrap'])}, with shuffled labels "
        f"{interval(card['shuffled'])} (mean, and where 95 % of the draws lie)."
    )
    n = card["bypass"][0]["n"]
    return [
        head,
        table("Cosine of directions from two disjoint draws", ("n a side", "cosine", "expected", "shuffled"), curve),
        table(
            "Transfer", ("ablated", f"refusal metric (log-odds, n={n}, 95 %)", "cosine with the first"),
            [[*row, ""][:3] for row in effects],
        ),
    ]  # fmt: skip
