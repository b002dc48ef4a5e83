"""workbench geometry"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import interval, kept, show, table, told_of, watching

if TYPE_CHECKING:
    from workbench.directions import Direction

Folder = Annotated[Path | None, typer.Option("--out", help="A folder for the table and the figures.")]
_COLUMNS = ("norm of the difference", "cosine with the layer before", "silhouette", "Fisher ratio", "TwoNN dimension")


def command(
    model: o.Model,
    harmful: o.Positive = "harmful:train",
    harmless: o.Negative = "harmless:train",
    n: Annotated[int, typer.Option(min=8, help="Prompts of each side.")] = 128,
    position: o.Position = -1,
    plane: Annotated[str, typer.Option(help="How to lay a layer into a plane: pca, umap or pacmap.")] = "pca",
    direction: Annotated[Path | None, typer.Option(help="A find run or a direction, to name its tokens.")] = None,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Folder = None,
    json: o.Json = False,
) -> None:
    """How far apart two sets of prompts lie in every layer, beside the same with shuffled labels."""
    with watching():
        from probes.geometry import geometry_of, projection_of, vocabulary_of
        from probes.geometry.plane import planes
        from probes.geometry.table import capture_classes

        flat = planes[plane]()
        whole, named = o.read_sides(harmful, harmless), _direction(direction)
        pairs = whole.sample(n, seed)
        subject = o.open_subject(model, dtype, device)
        acts, positive = capture_classes(subject, pairs, position=position, batch_size=batch_size)
        found = geometry_of(acts, positive, position=position, seed=seed)
        tokens = vocabulary_of(subject, named, seed=seed) if named else None
        results: dict[str, Any] = {
            "model": subject.identity, "position": position, "n": list(found.n), "seed": seed,
            "prompts": pairs.digest, "rows": found.rows(), "tokens": tokens.rows() if tokens else None,
        }  # fmt: skip
        if out is not None:
            texts = tuple(prompt.text for side in (pairs.positive, pairs.negative) for prompt in side)
            shown = projection_of(acts, positive, texts, position=position, method=flat)
            results["planes"] = shown.plain()
            figures: dict[str, Any] = {"geometry": found, "planes": shown} | ({"tokens": tokens} if tokens else {})
            results["files"] = kept(out, "geometry", results, {name: each.plot() for name, each in figures.items()})
    show(results, json, *geometry_tables(results), *told_of(results.get("files")))


def _direction(path: Path | None) -> "Direction | None":
    from workbench.directions import Direction

    return Direction.load(path) if path else None


def geometry_tables(results: Mapping[str, Any]) -> list[Any]:
    """A row for each layer; in brackets the interval, behind the bar the mean of shuffled labels."""
    cells = {(row["layer"], row["measure"]): row for row in results["rows"]}
    layers = sorted({layer for layer, _ in cells})
    rows = [[str(layer), *(_cell(cells.get((layer, name))) for name in _COLUMNS)] for layer in layers]
    one, other = results["n"]
    title = f"Token {results['position']}, n={one} and {other}; value [95 %] | shuffled labels"
    return [table(title, ("layer", *_COLUMNS), rows), *(_tokens(results["tokens"]) if results["tokens"] else [])]


def _tokens(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The tokens that the direction points to, a column for each end of each matrix."""
    lists: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        lists.setdefault(f"{row['matrix']}, {row['end']}", []).append(row)
    firsts = [each[0] for each in lists.values()]
    cells = [[f"{row['token']!r} {row['cosine']:.3f}" for row in each] for each in zip(*lists.values(), strict=True)]
    cells.append([f"random: {row['random']:.3f} [{row['random_low']:.3f}, {row['random_high']:.3f}]" for row in firsts])
    return [table("The direction's tokens, by cosine; what random directions reach", list(lists), cells)]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return interval(row) + ("" if row["shuffled"] is None else f" | {row['shuffled']:.3f}")
