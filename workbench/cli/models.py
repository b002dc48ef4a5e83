"""workbench models"""

from workbench.cli.display import show, table
from workbench.cli.options import Json


def command(json: Json = False) -> None:
    """The catalog: where each model comes from, and which are at hand."""
    from workbench.models.catalog import catalog

    entries = [entry.model_dump() | {"at_hand": entry.at_hand} for entry in catalog().values()]
    rows = [
        [e["name"], e["parameters"], e["licence"], "yes" if e["at_hand"] else e["install"], e["hub"], e["description"]]
        for e in entries
    ]
    columns = ("name", "size", "licence", "at hand", "hub", "about")
    hint = "Any hub id, folder of safetensors or .gguf file opens too."
    show({"models": entries}, json, table("Models", columns, rows), hint)
