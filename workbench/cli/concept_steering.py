"""workbench concepts steer"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options as o
from workbench.cli.display import show, table, watching
from workbench.cli.generate import read_asked

if TYPE_CHECKING:
    from workbench.concepts import Bottleneck
    from workbench.interventions import Recipe


def command(
    model: o.Model,
    bottleneck: o.Trained,
    prompt: o.Asked = None,
    prompts: o.Many = None,
    amplify: Annotated[list[str] | None, typer.Option(help="NAME=UNITS, in natural units; may be repeated.")] = None,
    suppress: Annotated[list[str] | None, typer.Option(help="NAME or NAME=SHARE.")] = None,
    scale: Annotated[list[str] | None, typer.Option(help="NAME=FACTOR.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=UNITS: 0 absent, 1 as in texts that show it.")
    ] = None,
    max_new_tokens: o.Tokens = 64,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Annotated[Path | None, typer.Option("--out", help="A recipe file to write.")] = None,
    json: o.Json = False,
) -> None:
    """Turn concepts up or down, and show the replies beside those without."""
    with watching():
        from workbench.generation import generate
        from workbench.interventions import Recipe

        made, asked = o.bottleneck_of(bottleneck), read_asked(prompt, prompts, None, "")
        recipe = _recipe(made, amplify, suppress, scale, set_)
        subject = o.open_subject(model, dtype, device)
        said = [generate(subject, asked, each, max_new_tokens=max_new_tokens) for each in (Recipe(), recipe)]
        if out is not None:
            recipe.save(out)
    rows = [
        {"prompt": one.text, "plain": before.text, "steered": after.text}
        for one, before, after in zip(asked, *said, strict=True)
    ]
    written = recipe.written(lambda asset: str(getattr(asset, "name", asset.digest[:8])))
    results = {"recipe": written, "replies": rows}
    show(results, json, *[table(written, ("prompt", "plain", "steered"), [list(row.values()) for row in rows])])


def _recipe(
    made: "Bottleneck", amplify: list[str] | None, suppress: list[str] | None, scale: list[str] | None,
    set_: list[str] | None,
) -> "Recipe":  # fmt: skip
    from workbench.concepts.edits import AmplifyConcept, ScaleConcept, SetConcept, SuppressConcept
    from workbench.errors import UsageError
    from workbench.interventions import Recipe

    edits = [
        *(AmplifyConcept(made.concept(name), value) for name, value in _pairs(amplify, 1.0)),
        *(SuppressConcept(made.concept(name), value) for name, value in _pairs(suppress, 1.0)),
        *(ScaleConcept(made.concept(name), value) for name, value in _pairs(scale, 0.0)),
        *(SetConcept(made.concept(name), value) for name, value in _pairs(set_, 1.0)),
    ]
    if not edits:
        raise UsageError("No concept is to be changed; give --amplify, --suppress, --scale or --set.")
    return sum((edit.at(made.site) for edit in edits), Recipe())


def _pairs(given: list[str] | None, usual: float) -> list[tuple[str, float]]:
    from workbench.errors import UsageError

    found = []
    for text in given or []:
        name, _, number = text.partition("=")
        try:
            found.append((name, float(number) if number else usual))
        except ValueError:
            raise UsageError(f"{text!r} is not NAME=NUMBER.") from None
    return found
