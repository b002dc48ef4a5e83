"""workbench doctor"""

from workbench.cli.display import show, table
from workbench.cli.options import Json


def command(json: Json = False) -> None:
    """What works on this machine, and what to do about the rest."""
    from workbench.errors import WorkbenchError
    from workbench.studies.checkup import checkup

    checks = checkup()
    rows = [["ok" if c.ok else "--" if c.optional else "NO", c.name, c.found, "" if c.ok else c.remedy] for c in checks]
    value = {"checks": [c.to_json() for c in checks]}
    show(value, json, table("This machine", ("", "what", "found", "what to do"), rows))
    broken = [c.name for c in checks if not c.ok and not c.optional]
    if broken:
        raise WorkbenchError(f"{', '.join(broken)}: not in order; the remedies are above.")
