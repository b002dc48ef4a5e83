"""Journeys through a real browser: what a person does, and what must not happen to them."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.browser import SOON, Server, Visitor

Visit = Callable[..., Visitor]
HEADINGS = {"": "Alignment Workbench", "chat": "Chat lab"}
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def switch(page: Page, name: str) -> None:
    """Flip a switch; Streamlit draws its own over the input."""
    page.locator("label").filter(has=page.get_by_label(name, exact=True)).first.click()


def ready(page: Page) -> None:
    """The model is open; importing torch takes its time on a busy machine."""
    expect(page.get_by_text(re.compile(r"layers x \d+, ready"))).to_be_visible(timeout=6 * SOON)


def answered(page: Page) -> None:
    expect(page.get_by_text(re.compile(r"\d+ tokens, (ended|cut)")).first).to_be_visible(timeout=SOON)


def test_a_switch_that_is_flipped_in_mid_reply_holds_from_the_next_token(visit: Visit, server: Server) -> None:
    one = visit()
    page = one.open("chat?length=512", "Chat lab")
    ready(page)
    expect(page.get_by_text(f"A: ablate({server.direction})")).to_be_visible(timeout=SOON)
    one.say("Tell me of cakes.")
    expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=SOON)
    switch(page, "A")
    answered(page)
    expect(page.get_by_text(re.compile(r"from token \d+: nothing"))).to_be_visible(timeout=SOON)
