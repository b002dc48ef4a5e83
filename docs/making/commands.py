"""Every command with its arguments and options, as it says them itself."""

from typing import Any

from typer.main import get_command


def page() -> str:
    """One part for each command, in the order of the command line."""
    from workbench.cli.main import app

    root = get_command(app)
    parts = ["# Commands", (root.help or "").strip(), *_parts(root, "workbench")]
    return "\n\n".join(parts) + "\n"


def _parts(group: Any, path: str) -> list[str]:
    found = []
    for name, command in getattr(group, "commands", {}).items():
        full = f"{path} {name}"
        found += [f"## {full}", (command.help or "").strip()]
        found += _parts(command, full) if hasattr(command, "commands") else [_table(command)]
    return found


def _table(command: Any) -> str:
    rows = [_row(each) for each in command.params if each.name != "help"]
    return "\n".join(["| | | default |", "|---|---|---|", *rows]) if rows else ""


def _row(option: Any) -> str:
    argument = option.param_type_name == "argument"
    names = [(option.metavar or option.name).upper()] if argument else [*option.opts, *option.secondary_opts]
    said = " ".join((option.help or "").split()).replace("|", "\\|")
    default = "" if option.required or option.default in (None, False, ()) else f"`{option.default}`"
    return f"| {', '.join(f'`{name}`' for name in names)} | {said} | {default} |"
