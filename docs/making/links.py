"""Every link and picture of the built site leads to something that is in it, and nothing is fetched from elsewhere.

python -m docs.making.links      (what `make docs` does after the site is built)
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).parents[1] / "site"
_FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src"}
_NOT_FETCHED = {"canonical", "alternate", "next", "prev"}


@dataclass
class Page(HTMLParser):
    """What a page links to, what it fetches, and what can be linked to in it."""

    targets: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        self.ids |= {held[name] for name in ("id", "name") if held.get(name)}
        if tag == "a" and "href" in held:
            self.targets.append(held["href"])
        if tag in _FETCHED and held.get(_FETCHED[tag]) and held.get("rel") not in _NOT_FETCHED:
            self.fetched.append(held[_FETCHED[tag]])


@cache
def read(path: Path) -> Page:
    """A page, read once."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def faults(site: Path) -> Iterator[str]:
    """Each link that leads nowhere and each thing that is fetched from elsewhere, one sentence each."""
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":
            continue  # it is shown at any address, and links from the root of a server
        page, name = read(path), path.relative_to(site)
        yield from (f"{name} fetches {url}." for url in page.fetched if urlsplit(url).netloc)
        for url in (*page.targets, *page.fetched):
            if why := _broken(path, url):
                yield f"{name} links to {url}, {why}."


def _broken(path: Path, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "which is not there"
    anchor = unquote(parts.fragment)
    known = target.suffix != ".html" or not anchor or anchor.startswith("__") or anchor in read(target).ids
    return "" if known else "where there is no such place"


def main() -> int:
    """Say what is broken; 1 where anything is, or there is no site."""
    pages = list(SITE.rglob("*.html"))
    found = list(faults(SITE))
    sys.stdout.write("\n".join([*found, f"{len(pages)} pages, {len(found)} broken links."]) + "\n")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
