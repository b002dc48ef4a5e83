"""workbench generate"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli import recipes as r
from workbench.cli.display import show, table, watching
from workbench.cli.telling import tell

if TYPE_CHECKING:
    from workbench.generation import Reply
    from workbench.interventions import Recipe
    from workbench.models import Subject
    from workbench.prompts import Prompts


def command(
    model: o.Model,
    prompt: o.Asked = None,
    prompts: o.Many = None,
    system: Annotated[str | None, typer.Option(help="A system prompt, instead of the template's own.")] = None,
    prefill: o.Prefill = "",
    recipe: r.Texts = None,
    direction: r.Directions = None,
    ablate: r.Ablated = False,
    add: r.Added = None,
    compare: Annotated[bool, typer.Option("--compare", help="The unedited model and each recipe, in columns.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Tokens as they come, coloured by their projection on the direction.")
    ] = False,
    divergence: Annotated[bool, typer.Option("--kl", help="With --stream: each token's KL from the unedited.")] = False,
    max_new_tokens: o.Tokens = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Mass of the nucleus that is sampled from.")] = 1.0,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    device_map: o.DeviceMap = None,
    quantisation: o.Quantisation = None,
    chat_template: o.Template = None,
    json: o.Json = False,
) -> None:
    """Replies under a recipe; several side by side, or token by token."""
    options = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
    with watching():
        asked = read_asked(prompt, prompts, system, prefill)
        names = r.Names.of(direction)
        recipes = read_recipes(recipe, names, ablate, add, compare, stream or divergence)
        subject = o.open_subject(model, dtype, device, device_map, quantisation, chat_template)
        if not stream and not divergence:
            columns = _replies(subject, asked, recipes, options | {"batch_size": batch_size})
    written = [each.written(names.write) for each in recipes]
    value: dict[str, Any] = {"model": subject.identity, "recipe": written[-1]}
    if stream or divergence:
        show(value | tell(subject, asked, recipes[0], names.directions, options, divergence, json), json)
        return
    if compare:
        value = {"model": subject.identity, "recipes": written}
    said = [{"prompt": one.prompt.text, "reply": one.text, "finished": one.finished} for one in columns[-1]]
    rows = [[row[0].prompt.text, *(reply.text for reply in row)] for row in zip(*columns, strict=True)]
    if compare:
        said = [{"prompt": row[0], "replies": row[1:]} for row in rows]
    heads = ["unedited", *written[1:]] if compare else ["reply"]
    title = subject.name if compare else f"{subject.name}, {written[-1]}"
    show(value | {"replies": said}, json, table(title, ("prompt", *heads), rows))


def read_recipes(
    texts: list[str] | None, names: r.Names, ablate: bool, add: float | None, compare: bool, streamed: bool
) -> "list[Recipe]":
    """The recipe, or, to compare, the empty one and each of those that were given."""
    from workbench.errors import RecipeError
    from workbench.interventions import Recipe

    if compare and streamed:
        raise RecipeError("Give either --compare or --stream, not both.")
    given: list[str | None] = list(texts) if texts else [None]
    recipes = [r.read_recipe(text, names, ablate, add) for text in given]
    if compare:
        return [Recipe(), *(each for each in recipes if len(each))]
    if len(recipes) > 1:
        raise RecipeError(f"{len(recipes)} recipes were given; add --compare to see them side by side.")
    return recipes


def _replies(
    subject: "Subject", asked: "Prompts", recipes: "Sequence[Recipe]", options: dict[str, Any]
) -> "list[Sequence[Reply]]":
    """The replies under each recipe; where there are several, decoded in one batch."""
    from workbench.generation import generate
    from workbench.prompts import Prompts

    if len(recipes) == 1:
        return [generate(subject, asked, recipes[0], **options)]
    everything = Prompts(tuple(asked) * len(recipes), asked.name)
    said = generate(subject, everything, [each for each in recipes for _ in asked], **options)
    return [said[start : start + len(asked)] for start in range(0, len(said), len(asked))]


def read_asked(prompt: list[str] | None, prompts: str | None, system: str | None, prefill: str) -> "Prompts":
    """The prompts that the options name."""
    from workbench.errors import PromptError
    from workbench.prompts import Prompts, load_prompts

    if bool(prompt) == (prompts is not None):
        raise PromptError("Give either --prompt TEXT (it may be repeated) or --prompts SET.")
    said = load_prompts(prompts) if prompts is not None else Prompts.of(prompt or [], name="--prompt")
    changes = {"system": system, "prefill": prefill or None}
    return said.changed(**{name: value for name, value in changes.items() if value is not None})
