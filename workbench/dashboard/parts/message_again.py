"""The command and the Python that make again what a page shows."""

import re
import shlex
from collections.abc import Iterable

from workbench.dashboard import shelf
from workbench.dashboard.engine.talk import Asked


def command_of(model: str, asked: Asked) -> str:
    """`workbench generate` of a message, column by column."""
    recipes = [column.recipe for column in asked.columns if column.recipe]
    options = [*_directions(recipes), *(f"--recipe {shlex.quote(recipe)}" for recipe in recipes)]
    if len(recipes) > 1:
        options.append("--compare")
    options += [f"--prompt {shlex.quote(asked.text)}", f"--max-new-tokens {asked.max_new_tokens}"]
    options += [f"--temperature {asked.temperature:g}"] if asked.temperature else []
    return " \\\n  ".join([f"workbench generate {shlex.quote(model)}", *options])


def python_of(model: str, asked: Asked) -> str:
    """The same in Python, with the history and the system prompt."""
    names = sorted({name for column in asked.columns for name in named(column.recipe)})
    held = [f"    {name!r}: wb.Direction.load({str(shelf.path_of(name))!r})," for name in names]
    recipes = [
        "wb.Recipe()" if not c.recipe else f"wb.parse_recipe({c.recipe!r}, held.__getitem__)" for c in asked.columns
    ]
    prompts = [
        f"    wb.Prompt.model_validate({prompt.model_dump(exclude_defaults=True)!r})," for prompt in asked.prompts()
    ]
    how = f"max_new_tokens={asked.max_new_tokens}, temperature={asked.temperature:g}, seed={asked.seed}"
    lines = [
        "import workbench as wb", "", f"subject = wb.open_model({model!r})", "held = {", *held, "}",
        "prompts = wb.Prompts((", *prompts, "))", "recipes = [", *(f"    {recipe}," for recipe in recipes), "]",
        f"for reply in wb.generate(subject, prompts, recipes, {how}):", "    print(reply.text)",
    ]  # fmt: skip
    return "\n".join(lines)


def named(recipe: str) -> list[str]:
    """The directions that a written recipe names."""
    words = {quoted or word for quoted, word in re.findall(r'"([^"]*)"|([\w.\-]+)', recipe)}
    return [name for name in shelf.shelf() if name in words]


def _directions(recipes: Iterable[str]) -> list[str]:
    names = sorted({name for recipe in recipes for name in named(recipe)})
    return [f"--direction {name}={shlex.quote(str(shelf.path_of(name)))}" for name in names]
