"""An edit from arguments that were written: by name, or one after the other; its fields' types say what fits."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from types import GenericAlias
from typing import Any, get_args, get_origin, get_type_hints

from workbench.directions import assets as kinds
from workbench.errors import RecipeError
from workbench.interventions.edit import Edit, edits, finite


def build(kind: type[Edit], arguments: Mapping[str, Any]) -> Edit:
    """An edit from its arguments; RecipeError where one is missing, unknown, or of the wrong kind."""
    name, hints = edits.name_of(kind), get_type_hints(kind)
    known = {item.name for item in fields(kind)}
    for key, value in arguments.items():
        if key not in known:
            raise RecipeError(f"{name} has no {key!r}; it has: {', '.join(sorted(known))}.")
        if not _is_a(value, hints[key]):
            raise RecipeError(f"{name}: {key} is {_said(hints[key])}, not {_said(type(value))}.")
    missing = [item.name for item in fields(kind) if item.default is MISSING and item.name not in arguments]
    if missing:
        raise RecipeError(f"{name} needs {', '.join(f'{each!r} ({_said(hints[each])})' for each in missing)}.")
    plain = {key: finite(value, f"{name}: {key}") for key, value in arguments.items() if hints[key] in (int, float)}
    return kind(**(dict(arguments) | {key: hints[key](value) for key, value in plain.items()}))


def _is_a(value: Any, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_a(each, get_args(hint)[0]) for each in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int | float) and not isinstance(value, bool) and finite(value, "it") == int(value)
    return isinstance(value, hint)


def _said(hint: Any) -> str:
    if isinstance(hint, GenericAlias) or get_origin(hint) is tuple:
        return f"one {_said(get_args(hint)[0])} or more"
    words = {bool: "true or false", int: "a whole number", float: "a number"}
    name = next((name for name, kind in kinds.items() if kind is hint), hint.__name__.lower())
    return words.get(hint) or f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def assembled(kind: type[Edit], given: Iterable[tuple[str | None, Any]]) -> Edit:
    """An edit from positional assets and edits, and named numbers, by the fields' types."""
    positional = [value for key, value in given if key is None]
    named = [(key, value) for key, value in given if key is not None]
    if len(dict(named)) < len(named):
        raise RecipeError("A name is given twice")
    arguments: dict[str, Any] = dict(named)
    places = [item.name for item in fields(kind) if item.name not in arguments]
    first = next(iter(fields(kind)))
    if positional and str(first.type).startswith("tuple"):
        arguments[first.name], positional = tuple(positional), []
    for value in positional:
        if not places:
            raise RecipeError(f"{edits.name_of(kind)} is given too much")
        arguments[places.pop(0)] = value
    return build(kind, arguments)
