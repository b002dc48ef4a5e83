"""workbench generate"""

from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options as o
from workbench.cli.display import show, table, watching

if TYPE_CHECKING:
    from workbench.prompts import Prompts


def command(
    model: o.Model,
    prompt: Annotated[list[str] | None, typer.Option(help="What to say; may be repeated.")] = None,
    prompts: Annotated[str | None, typer.Option(help="A prompt set or file.")] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt, instead of the template's own.")] = None,
    prefill: Annotated[str, typer.Option(help="The start of the reply, to go on from.")] = "",
    recipe: o.RecipeFile = None,
    direction: o.DirectionFile = None,
    ablate: o.Ablated = False,
    add: o.Added = None,
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
    """Replies under a recipe."""
    with watching():
        from workbench.generation import generate

        asked = read_asked(prompt, prompts, system, prefill)
        edited = o.read_recipe(recipe, direction, ablate, add)
        subject = o.open_subject(model, dtype, device, device_map, quantisation, chat_template)
        replies = generate(
            subject,
            asked,
            edited,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            batch_size=batch_size,
        )
    rows = [(reply.prompt.text, reply.text) for reply in replies]
    value = {
        "model": subject.identity,
        "recipe": str(edited),
        "replies": [{"prompt": r.prompt.text, "reply": r.text, "finished": r.finished} for r in replies],
    }
    show(value, json, table(f"{subject.name}, {edited}", ("prompt", "reply"), rows))


def read_asked(prompt: list[str] | None, prompts: str | None, system: str | None, prefill: str) -> "Prompts":
    """The prompts that the options name."""
    from workbench.errors import PromptError
    from workbench.prompts import Prompts, load_prompts

    if bool(prompt) == (prompts is not None):
        raise PromptError("Give either --prompt TEXT (it may be repeated) or --prompts SET.")
    said = load_prompts(prompts) if prompts is not None else Prompts.of(prompt or [], name="--prompt")
    changes = {"system": system, "prefill": prefill or None}
    return said.changed(**{name: value for name, value in changes.items() if value is not None})
