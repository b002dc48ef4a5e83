"""The reference: a page for each room of the house, with the names that it gives out."""

import importlib
from collections.abc import Iterator

ROOMS = (
    "workbench.models", "workbench.prompts", "workbench.activations", "workbench.directions",
    "workbench.interventions", "workbench.generation", "workbench.evaluation", "workbench.search",
    "workbench.concepts", "workbench.weights", "workbench.studies", "workbench.statistics", "workbench.runs",
    "probes.linear", "probes.lenses", "probes.patching", "probes.monitoring", "probes.geometry", "probes.truth",
)  # fmt: skip


def pages() -> Iterator[tuple[str, str]]:
    """The path and the text of every page."""
    for room in ROOMS:
        module = importlib.import_module(room)
        first = (module.__doc__ or "").strip()
        yield f"reference/{room}.md", "\n\n".join([f"# {room}", first, *map(_shown, _names(room, module))]) + "\n"


def _names(room: str, module: object) -> list[str]:
    """The public names that are classes or functions, where they are defined."""
    found = []
    for name in sorted(getattr(module, "__all__", ())):
        value = getattr(module, name)
        home = getattr(value, "__module__", None)
        if home and (isinstance(value, type) or callable(value)) and getattr(value, "__qualname__", None) == name:
            found.append(f"{home}.{name}")
    return found


def _shown(path: str) -> str:
    return f"::: {path}"
