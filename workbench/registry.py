"""One file, one method: a registry that finds its entries by itself.

A registry belongs to a package. It imports every module of that package, then every entry point of its
group, so that a higher room - or somebody else's distribution - joins without being imported from below.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from workbench.errors import UsageError

T = TypeVar("T")


@dataclass(repr=False)
class Registry(Generic[T]):
    """Named methods of one kind.

    `kind` is the word used in errors ("edit"), `package` the package that is scanned, `group` the entry-point
    group that other distributions register under.
    """

    kind: str
    package: str
    group: str
    _entries: dict[str, T] = field(default_factory=dict)
    _scanned: bool = False

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated method under `name`; a name is taken once."""

        def decorate(method: T) -> T:
            if name in self._entries:
                raise ValueError(f"The {self.kind} {name!r} is registered twice.")
            self._entries[name] = method
            return method

        return decorate

    def __getitem__(self, name: str) -> T:
        self._scan()
        if name not in self._entries:
            raise UsageError(f"There is no {self.kind} called {name!r}; there are: {', '.join(self)}.")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._scan()
        return iter(sorted(self._entries))

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"

    def _ipython_key_completions_(self) -> list[str]:
        """The names that a tab lists after an opening bracket."""
        return list(self)

    def items(self) -> list[tuple[str, T]]:
        """All (name, method) pairs, by name."""
        return [(name, self._entries[name]) for name in self]

    def name_of(self, method: object) -> str:
        """The name that a method, or an instance of it, is registered under."""
        self._scan()
        for name, entry in self._entries.items():
            if entry is method or entry is type(method):
                return name
        raise UsageError(f"{method!r} is not a registered {self.kind}.")

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry in entry_points(group=self.group):
            entry.load()
