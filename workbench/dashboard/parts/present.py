"""A figure, the same as a table to download, and the command and the Python that make it again."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st

from workbench.errors import WorkbenchError
from workbench.plots import Figure

CONFIG = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "responsive": True}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def shown(
    figure: Figure, table: pd.DataFrame, name: str, alt: str, *, command: str = "", python: str = "", **options: Any
) -> Any:
    """Draw `figure` with what belongs to it; `options` are those of `st.plotly_chart`, whose selection is returned."""
    picked = st.plotly_chart(figure, key=f"{name}-figure", alt=alt, config=CONFIG, **options)
    as_table, again = st.columns([3, 2])
    with as_table, st.expander("The same as a table", icon=":material/table:"):
        st.dataframe(table, hide_index=True, key=f"{name}-table", alt=f"{alt} As a table.")
        st.download_button(
            "CSV", to_csv(table), f"{name}.csv", "text/csv", key=f"{name}-csv", icon=":material/download:",
            on_click="ignore",
        )  # fmt: skip
    if command or python:
        with again:
            copied(command, python)
    return picked


def copied(command: str, python: str) -> None:
    """The command and the Python of what is shown."""
    with st.expander("Copy as command or Python", icon=":material/content_copy:"):
        if command:
            st.code(command, language="bash", wrap_lines=True)
        if python:
            st.code(python, language="python")


def to_csv(table: pd.DataFrame) -> bytes:
    """The table as CSV; a text that a spreadsheet would take for a formula has a quote before it."""
    out = io.StringIO()
    written = csv.writer(out)
    written.writerow(table.columns)
    written.writerows([_no_formula(value) for value in row] for row in table.itertuples(index=False))
    return out.getvalue().encode()


def plain(said: object) -> str:
    """A sentence for an alert, which reads Markdown: what it quotes of a file makes no image, link or colour of it."""
    return str(said).replace("\\", "\\\\").replace("[", "\\[").replace("<", "\\<")


@contextmanager
def sentence() -> Iterator[None]:
    """What cannot be done is said in a sentence, and the page goes on."""
    try:
        yield
    except WorkbenchError as error:
        st.error(plain(error))


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
