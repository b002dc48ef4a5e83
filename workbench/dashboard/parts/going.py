"""From one page to another, with what is taken along in the URL."""

import streamlit as st


def to_chat(direction: str) -> None:
    """Open the chat with a direction of the shelf in the first row of its rack."""
    st.session_state.pop("direction0", None)  # what was chosen there before
    st.switch_page(
        st.Page(_known_by_its_path, title="Chat lab", url_path="chat"), query_params={"direction0": direction}
    )


def link(name: str, label: str, icon: str, **query: str) -> None:
    """A link to a page of the site, which opens it as `query` says."""
    page = st.Page(_known_by_its_path, title=label, url_path=name)
    st.page_link(page, label=label, icon=f":material/{icon}:", query_params=query or None)


def _known_by_its_path() -> None:
    """A page that stands for the one that the site has declared at the same path."""
