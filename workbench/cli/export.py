"""workbench export"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli import recipes as r
from workbench.cli.display import show, table, watching

Form = Annotated[str, typer.Option("--format", help="hf: the whole model; lora: an adapter; gguf; recipe.")]
Place = Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")]
Edit = Annotated[str, typer.Option(help="orthogonalise; preserve-columns or preserve-rows: with their old lengths.")]
Asked = Annotated[str | None, typer.Option(help="The certificate's prompts: a set or a file; default: built-in ones.")]
Run = Annotated[Path | None, typer.Option(help="Run of an evaluation of the same recipe, for the model card.")]
Push = Annotated[str | None, typer.Option(help="Upload to this hub repository, once the certificate is passed.")]


def command(
    model: o.Model,
    out: Place,
    recipe: r.Text = None,
    direction: r.Directions = None,
    ablate: r.Ablated = False,
    add: r.Added = None,
    form: Form = "hf",
    weight_edit: Edit = "orthogonalise",
    prompts: Asked = None,
    evaluation: Run = None,
    push: Push = None,
    dtype: o.Dtype = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """An edit as a model, an adapter, a control vector or a recipe, with a certificate that it is the same edit."""
    with watching():
        from workbench.errors import RecipeError
        from workbench.prompts import load_prompts
        from workbench.weights import export_model, weight_edits
        from workbench.weights.export import exports

        edited = r.read_recipe(recipe, r.Names.of(direction), ablate, add)
        if not len(edited):
            raise RecipeError("There is nothing to export; give --recipe, or --direction with --ablate or --add.")
        made, how = exports[form](), weight_edits[weight_edit]()
        asked = load_prompts(prompts) if prompts is not None else None
        subject = o.open_subject(model, dtype, device)
        found = export_model(subject, edited, made, out, edit=how, prompts=asked, evaluation=evaluation, push=push)
    where = f"The {form} export is in {found.path}" + (f", and at {found.pushed}." if found.pushed else ".")
    show(found.to_json(), json, _figures(found.to_json()["certificate"]), where)


def _figures(certificate: Mapping[str, Any]) -> Any:
    """The certificate: this export, and the unedited model, against the live edit."""
    allowed, n = certificate["tolerance"], certificate["prompts"]["n"]
    rows = [
        [
            name.replace("_", " "),
            f"{value:.3g}",
            f"{certificate['unedited'][name]:.3g}",
            f"{allowed[name]:.3g}" if name in allowed else "",
        ]
        for name, value in certificate["export"].items()
    ]
    title = (
        f"Read again by {certificate['reloaded_by']}, against {certificate['reference']} "
        f"({n} prompts, {certificate['dtype']})"
    )
    return table(title, ("logits", "this export", "the unedited model", "allowed"), rows)
