"""Pages that are files of the project elsewhere: README, LOG, CHANGELOG, CONTRIBUTING, and the notebooks.

Their links to one another are turned into links of the site; a link to a file that has no page becomes its path.
"""

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
PICTURES = {".github/chat-lab.png": "chat-lab.png"}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def pages() -> Iterator[tuple[str, str]]:
    """The path and the text of every page."""
    for source, target in PAGES.items():
        yield target, linked((ROOT / source).read_text(encoding="utf-8"), source)
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

    def turned(match: re.Match[str]) -> str:
        picture, said, path, anchor = match[1], match[2], match[3], match[4] or ""
        held = (ROOT / source).parent.joinpath(path).resolve()
        if not held.exists():
            raise RuntimeError(f"{source} links to {path}, which is not there.")
        name = held.relative_to(ROOT).as_posix()
        target = (PAGES | PICTURES).get(name)
        if held in notebooks():
            target = f"notebooks/{held.stem}.md"
        if name.startswith("docs/pages/"):
            target = name.removeprefix("docs/pages/")
        return f"{picture}[{said}]({target}{anchor})" if target else f"{said} (`{name}`)"

    return _LINK.sub(turned, text)


def _markdown(notebook: Path) -> str:
    import jupytext

    parts = []
    for cell in jupytext.read(notebook).cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
    parts.append(
        f"This page is `{notebook.relative_to(ROOT).as_posix()}`; open it in Jupyter with jupytext, or run it."
    )
    return "\n\n".join(parts) + "\n"
