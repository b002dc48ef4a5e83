"""The written form of a recipe, read.

    recipe     nothing | placement { + placement }
    placement  [number *] edit @ sites [ "[" tokens "]" ] [ ~ schedule ] [ if gate ]
    edit       name ( [argument { , argument }] )
    argument   name of a direction | [number *] edit | key = number | key = true | key = false
    sites      site { , site }                         schedule   token : share { , token : share }
    gate       readout ( name [, bias = number] ) (> | <=) number [@ site] [on token | prompt | last]

A name is a word, or anything between double quotes; `names` finds what it stands for. An error points at the
character where reading stopped.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from workbench.directions import Asset, Direction, Readout
from workbench.directions.readout import readouts
from workbench.errors import RecipeError, UsageError
from workbench.interventions.building import assembled
from workbench.interventions.edit import Edit, edits, finite
from workbench.interventions.gate import Gate
from workbench.interventions.placement import Placement
from workbench.interventions.recipe import Recipe
from workbench.interventions.schedule import Schedule
from workbench.models import Site

Names = Callable[[str], Asset]
_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*")|(?P<scope>\[[^\]]*\])|(?P<word>-?[\w./][\w./\-]*)|(?P<sign><=|[-+*@(),=~:>]))""",
    re.ASCII,
)
_NUMBER = re.compile(r"\d+(\.\d*)?([eE]-?\d+)?|\.\d+([eE]-?\d+)?")
_MOST = 10_000  # characters
_DEEPEST = 4  # edits inside edits


@dataclass(frozen=True)
class _Piece:
    kind: str
    text: str
    at: int


def parse_recipe(text: str, names: Names) -> Recipe:
    """Read a written recipe. Raises RecipeError, which shows where, or what `names` raises for an unknown name."""
    if len(text) > _MOST:
        raise RecipeError(f"The recipe has {len(text)} characters; at most {_MOST} are read, use a recipe file.")
    return _Reader(text, names).recipe()


class _Reader:
    """Reads pieces one after the other."""

    def __init__(self, text: str, names: Names) -> None:
        self.text, self.names = text, names
        self.pieces = list(self._split())
        self.next = 0

    def recipe(self) -> Recipe:
        if self._take("word", "nothing"):
            self._end()
            return Recipe()
        placements = [self.placement()]
        while self._take("sign", "+"):
            placements.append(self.placement())
        self._end()
        return Recipe(tuple(placements))

    def placement(self) -> Placement:
        start = self._here()
        edit = self.edit()
        self._need("sign", "@", "the sites, as in `@ all` or `@ 12`")
        sites = [self._site()]
        while self._take("sign", ","):
            sites.append(self._site())
        scope = self._take("scope")
        tokens = " ".join(scope.text[1:-1].split()) if scope else "all"
        schedule = self.schedule() if self._take("sign", "~") else None
        gate = self.gate() if self._take("word", "if") else None
        return self._made(start, lambda: Placement(edit, tuple(sites), tokens, gate, schedule))

    def edit(self, depth: int = 0) -> Edit:
        if depth > _DEEPEST:
            self._fail(f"edits inside edits, more than {_DEEPEST} deep")
        start, strength = self._here(), self._strength()
        name = self._need("word", None, "an edit")
        kind = self._made(name, lambda: edits[name.text])
        self._need("sign", "(", "( after the edit's name")
        given = list(self._arguments(depth))
        self._need("sign", ")", ", or )")
        made = self._made(start, lambda: assembled(kind, given))
        if strength is None:
            return made
        if not hasattr(made, "strength"):
            self._fail(f"{name.text} has no strength to be multiplied", name)
        factor = strength
        return self._made(start, lambda: replace(made, strength=factor * made.strength))

    def schedule(self) -> Schedule:
        start, points = self._here(), []
        while True:
            at = self._here()
            place = self._number("the number of a token")
            if place != int(place):
                self._fail(f"the number of a token is whole, not {place:g}", at)
            self._need("sign", ":", "TOKEN:SHARE")
            points.append((int(place), self._number("a share")))
            if not self._take("sign", ","):
                return self._made(start, lambda: Schedule(tuple(points)))

    def gate(self) -> Gate:
        name = self._need("word", None, "a readout")
        kind = self._made(name, lambda: readouts[name.text])
        self._need("sign", "(", "( after the readout's name")
        direction, bias = self._direction(), 0.0
        if self._take("sign", ","):
            self._need("word", "bias", "bias=NUMBER")
            self._need("sign", "=", "=")
            bias = self._number("a number")
        self._need("sign", ")", ")")
        sign = self._take("sign", ">") or self._need("sign", "<=", "> or <=")
        readout: Readout = kind(direction, self._number("a threshold"), bias)
        site = direction.site
        if self._take("sign", "@"):
            at = self._need("word", None, "a site")
            site = self._made(at, lambda: _read_site(at.text))
        decided = self._need("word", None, "token, prompt or last") if self._take("word", "on") else None
        start = decided or name
        return self._made(start, lambda: Gate(readout, site, decided.text if decided else "token", sign.text == "<="))

    def _arguments(self, depth: int) -> Iterator[tuple[str | None, Any]]:
        if self._peek("sign", ")"):
            return
        while True:
            yield self._argument(depth)
            if not self._take("sign", ","):
                return

    def _argument(self, depth: int) -> tuple[str | None, Any]:
        following = [piece.text for piece in self.pieces[self.next : self.next + 2]]
        if len(following) == 2 and following[1] == "=":
            key = self._need("word", None, "a name").text
            self._need("sign", "=", "=")
            for word, value in (("true", True), ("false", False)):
                if self._take("word", word):
                    return key, value
            return key, self._number("a number, true or false")
        if (len(following) == 2 and following[1] in ("(", "*")) or self._peek("sign", "-"):
            return None, self.edit(depth + 1)
        return None, self._asset()

    def _asset(self) -> Asset:
        name = self._take("quoted") or self._need("word", None, "a direction's name")
        return self._made(name, lambda: self.names(name.text.strip('"')))

    def _direction(self) -> Direction:
        start = self._here()
        found = self._asset()
        if not isinstance(found, Direction):
            self._fail("a gate reads a direction, and this is none", start)
        return found

    def _site(self) -> str:
        # `8-15` is one word, and `12, 14` are two.
        return self._need("word", None, "a site").text

    def _strength(self) -> float | None:
        number = self.pieces[self.next : self.next + 3]
        signed = bool(number) and number[0].text == "-"
        if len(number) > signed + 1 and number[signed + 1].text == "*":
            value = self._number("a number")
            self._need("sign", "*", "*")
            return value
        return None

    def _number(self, what: str) -> float:
        sign = -1.0 if self._take("sign", "-") else 1.0
        piece = self._need("word", None, what)
        negative = piece.text.startswith("-")
        if not _NUMBER.fullmatch(piece.text.removeprefix("-")):
            self._fail(f"{what} is expected, not {piece.text!r}", piece)
        value = sign * (-1.0 if negative else 1.0) * float(piece.text.removeprefix("-"))
        return float(self._made(piece, lambda: finite(value, "the number")))

    def _split(self) -> Iterator[_Piece]:
        at = 0
        while at < len(self.text.rstrip()):
            found = _TOKEN.match(self.text, at)
            if found is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                self._fail(f"{self.text[at]!r} is not understood", _Piece("", "", at))
            kind = str(found.lastgroup)
            yield _Piece(kind, found[kind], found.start(kind))
            at = found.end()

    def _here(self) -> _Piece:
        return self.pieces[self.next] if self.next < len(self.pieces) else _Piece("", "", len(self.text))

    def _peek(self, kind: str, text: str | None = None) -> bool:
        here = self._here()
        return here.kind == kind and text in (None, here.text)

    def _take(self, kind: str, text: str | None = None) -> _Piece | None:
        if not self._peek(kind, text):
            return None
        self.next += 1
        return self.pieces[self.next - 1]

    def _need(self, kind: str, text: str | None, what: str) -> _Piece:
        return self._take(kind, text) or self._fail(f"{what} is expected here")

    def _end(self) -> None:
        if self.next < len(self.pieces):
            self._fail("+ or the end is expected here")

    def _made(self, at: _Piece, make: Callable[[], Any]) -> Any:
        """What `make` returns; what it complains of is shown where it stands."""
        try:
            return make()
        except UsageError as error:
            self._fail(str(error).rstrip("."), at, type(error) if not isinstance(error, RecipeError) else None)

    def _fail(self, what: str, at: _Piece | None = None, kind: type[UsageError] | None = None) -> NoReturn:
        place = (at or self._here()).at
        shown = self.text.replace("\n", " ").replace("\t", " ")
        raise (kind or RecipeError)(f"Recipe, character {place + 1}: {what}.\n  {shown}\n  {' ' * place}^")


def _read_site(text: str) -> Site:
    return Site(int(text), "resid_pre") if text.isdecimal() and len(text) < 10 else Site.parse(text)
