"""How a result shows itself in a notebook: what it says of itself in a line, and its table."""

from html import escape

_ROWS = 12


class Shown:
    """Gives a result its picture in a notebook: its `repr`, and the first rows of `to_pandas` where it has one.

    All of it is escaped: what a model said, and what a file holds, is text and never markup.
    """

    def _repr_html_(self) -> str:
        said = f"<code>{escape(repr(self))}</code>"
        table = getattr(self, "to_pandas", None)
        if table is None:
            return said
        rows = table()
        more = f"<p>{_ROWS} of {len(rows)} rows; <code>.to_pandas()</code> has all.</p>" if len(rows) > _ROWS else ""
        shown = rows.head(_ROWS).to_html(index=False, escape=True, float_format="{:.4g}".format)
        return f"{said}{shown}{more}"
