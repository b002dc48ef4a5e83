"""Pages that are files of the project: README, LOG, CHANGELOG, CONTRIBUTING, the guides, and the notebooks.

Their links lead to files, so that they can be read where the files are. Here they are turned into links of the site; a
link to a file that has no page becomes its path.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/LOG.md": "log.md",
}
FOLDERS = {"workbench/interventions/edits": "methods/edits.md"}  # what is listed from the code
GUIDES = "docs/pages/"
PICTURES = {".github/chat-lab.png": "chat-lab.png"}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def pages() -> Iterator[tuple[str, str]]:
    """The path and the text of every page."""
    for source, target in PAGES.items():
        yield target, linked((ROOT / source).read_text(encoding="utf-8"), source)
    for guide in sorted((ROOT / GUIDES).rglob("*.md")):
        source = guide.relative_to(ROOT).as_posix()
        yield source.removeprefix(GUIDES), linked(guide.read_text(encoding="utf-8"), source)
    for notebook in notebooks():
        yield f"notebooks/{notebook.stem}.md", _markdown(notebook)


def pictures() -> Iterator[tuple[str, bytes]]:
    """The path and the bytes of every picture."""
    for source, target in PICTURES.items():
        yield target, (ROOT / source).read_bytes()


def notebooks() -> list[Path]:
    """The notebooks, by name."""
    return sorted((ROOT / "experiments" / "notebooks").glob("*.py"))


def linked(text: str, source: str) -> str:
    """The text of a file with its links to other files turned round."""
    here = (ROOT / source).parent
    page = PAGES.get(source, source.removeprefix(GUIDES))

    def turned(match: re.Match[str]) -> str:
        picture, said, path, anchor = match[1], match[2], match[3], match[4] or ""
        held = here.joinpath(path).resolve()
        if not held.exists():
            raise RuntimeError(f"{source} links to {path}, which is not there.")
        name = held.relative_to(ROOT).as_posix()
        target = _page_of(name)
        if target is None:
            return f"{said} (`{name}`)"
        return f"{picture}[{said}]({os.path.relpath(target, os.path.dirname(page))}{anchor})"

    return _LINK.sub(turned, text)


def _page_of(name: str) -> str | None:
    """Where a file or folder of the project is in the site."""
    if ROOT / name in notebooks():
        return f"notebooks/{Path(name).stem}.md"
    if name.startswith(GUIDES):
        return name.removeprefix(GUIDES)
    return (PAGES | PICTURES | FOLDERS).get(name)


def _markdown(notebook: Path) -> str:
    import jupytext

    parts = []
    for cell in jupytext.read(notebook).cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
    parts.append(
        f"This page is `{notebook.relative_to(ROOT).as_posix()}`; open it in Jupyter with jupytext, or run it."
    )
    return "\n\n".join(parts) + "\n"
