"""Streamlit entry: starts the engine, declares the pages.

workbench app [MODEL]          or: streamlit run app.py -- MODEL
"""

from workbench.dashboard.site import open_site

open_site()
