"""Write every page of the site below docs/build: what is written in files, and all that is made from the code.

python -m docs.making      (what `make docs` does before the site is built)
"""

import shutil
from pathlib import Path

from docs.making import commands, files, methods, reference

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "build"


def main() -> None:
    """The folder is emptied first: a page whose source is gone goes too."""
    shutil.rmtree(OUT, ignore_errors=True)
    for path, text in [*files.pages(), *methods.pages(), ("commands.md", commands.page()), *reference.pages()]:
        target = OUT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for path, picture in files.pictures():
        (OUT / path).write_bytes(picture)


if __name__ == "__main__":
    main()
