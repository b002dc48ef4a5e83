"""workbench import"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import show, table, watching

if TYPE_CHECKING:
    from workbench.weights import Imported


def command(
    source: Annotated[
        o.Path, typer.Argument(help="A control vector (.gguf), an adapter's folder, or vectors (.safetensors, .npy).")
    ],
    model: Annotated[str, typer.Option(help="The model that it is of: as for the other commands.")],
    out: Annotated[o.Path, typer.Option(help="Folder to write; not there yet, or empty.")],
    site: Annotated[
        str | None, typer.Option(help="Where a vector belongs: 12.resid_pre, or resid_pre for one of each layer.")
    ] = None,
    dtype: o.Dtype = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """What others made - a control vector, an adapter, a vector - as a recipe or a direction of this model."""
    from workbench.errors import UsageError
    from workbench.weights import import_from

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; give --out another folder.")
    with watching():
        subject = o.open_subject(model, dtype, device)
        found = import_from(subject, source, site)
    files = _write(found, out)
    value: dict[str, Any] = {"model": subject.identity, "source": str(source), "is": found.what, "files": files}
    if not found.directions:
        show(value | {"recipe": found.recipe.written()}, json, f"{source} is {found.what}.", _parts(found, out))
        return
    said = [
        {"file": file, "site": str(d.site), "scale": d.scale} for file, d in zip(files, found.directions, strict=True)
    ]
    rows = [[file, str(d.site), f"{d.scale:.4g}"] for file, d in zip(files, found.directions, strict=True)]
    shown = table(f"--direction {out}/FILE", ("file", "site", "length"), rows)
    show(value | {"directions": said}, json, f"{source} is {found.what}.", shown)


def _write(found: "Imported", out: o.Path) -> list[str]:
    """Write the folder, whole or not at all; the names of the files that other commands are given."""
    from workbench.runs import writing

    with writing(out) as draft:
        draft.mkdir()
        if not found.directions:
            found.recipe.save(draft / "recipe.json")
            return ["recipe.json"]
        alone = len(found.directions) == 1
        names = ["direction.safetensors" if alone else f"{each.site}.safetensors" for each in found.directions]
        for name, direction in zip(names, found.directions, strict=True):
            direction.save(draft / name)
    return names


def _parts(found: "Imported", out: o.Path) -> Any:
    """The recipe's parts, for a person."""
    return table(f"--recipe {out}", ("part",), [[str(placement)] for placement in found.recipe.placements])
