"""The site: its pages in their order, and the engine behind them.

Every view is a module with a function `show()`. It is imported when it is first opened, so that the front page does not
wait for what only another page needs.
"""

import importlib
from collections.abc import Callable

import streamlit as st

from workbench.dashboard.parts.engine import engine, status
from workbench.dashboard.shelf import DATA

ICON = DATA / "icon.svg"  # one of Streamlit's own would be fetched from another machine
LOOK = DATA / "look.css"  # what the theme has no setting for
PAGES = {
    "": {"start": ("Start", "explore"), "chat": ("Chat lab", "forum")},
    "Directions": {
        "atlas": ("Direction atlas", "map"),
        "dose": ("Dose-response", "show_chart"),
        "geometry": ("Geometry", "scatter_plot"),
        "microscope": ("Token microscope", "biotech"),
    },
    "Meaning": {"concepts": ("Concepts", "category"), "attacks": ("Attacks and defences", "shield")},
    "Work": {
        "runs": ("Runs", "inventory_2"),
        "build": ("Build a direction", "construction"),
        "export": ("Export", "ios_share"),
    },
}


def open_site() -> None:
    """Draw the page that the browser asks for."""
    st.set_page_config(page_title="Alignment Workbench", page_icon=str(ICON), layout="wide")
    st.html(LOOK)
    page = st.navigation({group: [_page(name, *of) for name, of in pages.items()] for group, pages in PAGES.items()})
    with st.sidebar:
        status()
    try:
        page.run()
    finally:
        engine().start()  # not before: importing torch would hold the first page up


def _page(name: str, title: str, icon: str) -> "st.Page":
    return st.Page(_view(name), title=title, icon=f":material/{icon}:", url_path=name, default=name == "start")


def _view(name: str) -> Callable[[], None]:
    def show() -> None:
        importlib.import_module(f"workbench.dashboard.views.{name}").show()

    show.__name__ = name
    return show
