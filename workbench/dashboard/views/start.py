"""Start."""

import streamlit as st


def show() -> None:
    st.title("Alignment Workbench")
