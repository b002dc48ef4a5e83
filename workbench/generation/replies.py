"""What the model said."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from workbench.prompts import Prompt

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Reply:
    """One reply: the prompt, the text, its token ids, and whether the model ended it by itself."""

    prompt: Prompt
    text: str
    tokens: tuple[int, ...]
    finished: bool


@dataclass(frozen=True)
class Replies(Sequence[Reply]):
    """Replies in the order of the prompts."""

    items: tuple[Reply, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Reply]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Reply: ...
    @overload
    def __getitem__(self, index: slice) -> "Replies": ...
    def __getitem__(self, index: int | slice) -> "Reply | Replies":
        return Replies(self.items[index]) if isinstance(index, slice) else self.items[index]

    def __repr__(self) -> str:
        return f"Replies({len(self)})"

    @property
    def texts(self) -> list[str]:
        return [reply.text for reply in self.items]

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a reply."""
        import pandas

        rows = [(r.prompt.text, r.prompt.category, r.text, len(r.tokens), r.finished) for r in self.items]
        return pandas.DataFrame(rows, columns=["prompt", "category", "reply", "tokens", "finished"])

    def _repr_html_(self) -> str:
        # Model text is shown as text: nothing of it is markup.
        rows = "".join(
            f"<tr><td>{html.escape(r.prompt.text)}</td><td><pre>{html.escape(r.text)}</pre></td></tr>"
            for r in self.items
        )
        return f"<table><tr><th>Prompt</th><th>Reply</th></tr>{rows}</table>"
