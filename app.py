"""Streamlit entry: reads what the first page needs while the server starts, and gives the model's engine its start.

workbench app [MODEL]          or: streamlit run app.py -- MODEL
"""

import streamlit as st

from workbench.dashboard.starting import SCRIPT, started

app = st.App(SCRIPT, lifespan=started)
