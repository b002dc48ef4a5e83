"""Journeys through a real browser: what a person does, and what must not happen to them.

Every visitor has a fresh profile, and at the end none of them has asked anything of another machine (`visit`).
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.dashboard.browser import SOON, Server, Visitor
from workbench.dashboard.site import PAGES

Visit = Callable[..., Visitor]
VIEWS = [name for group in PAGES.values() for name in group]
SCRIPT = "<script>window.broken=1</script><img src=x onerror='window.broken=1'>![x](https://example.com/x.png)"


def ready(page: Page) -> None:
    """The model is open; importing torch takes its time on a busy machine."""
    expect(page.get_by_text(re.compile(r"layers x \d+, ready"))).to_be_visible(timeout=SOON)


def talking(page: Page) -> None:
    expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=SOON)


def answered(page: Page, messages: int = 1) -> None:
    """So many messages have their replies. One that was just sent may not be on the page yet: it is waited for."""
    expect(page.get_by_role("button", name="Replay")).to_have_count(messages, timeout=SOON)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0, timeout=SOON)


def switch(page: Page, name: str) -> None:
    """Flip a switch; Streamlit draws its own over the input."""
    page.locator("label").filter(has=page.get_by_label(name, exact=True)).first.click()


def test_a_switch_that_is_flipped_in_mid_reply_holds_from_the_next_token(visit: Visit, server: Server) -> None:
    one = visit()
    page = one.open("chat?length=256", "Chat lab")
    ready(page)
    expect(page.get_by_text(f"A: ablate({server.direction})")).to_be_visible(timeout=SOON)
    one.say("Tell me of cakes.")
    talking(page)
    switch(page, "A")
    expect(page.get_by_text(re.compile(r"from token \d+: nothing"))).to_be_visible(timeout=SOON)
    answered(page)
    expect(page.get_by_text(re.compile(r"\d+ tokens, (ended|cut)")).first).to_be_visible(timeout=SOON)


def test_stop_ends_a_reply_and_keeps_what_was_said(visit: Visit) -> None:
    one = visit()
    page = one.open("chat?length=512", "Chat lab")
    ready(page)
    one.say("Tell me of cakes.")
    expect(page.get_by_text(re.compile(r"^[1-9]\d* tokens"))).to_have_count(2, timeout=SOON)
    page.get_by_role("button", name="Stop").click()
    answered(page)
    expect(page.get_by_text(re.compile(r"[1-9]\d* tokens, stopped")).first).to_be_visible(timeout=SOON)


def test_two_people_talk_at_once_and_neither_sees_the_other(visit: Visit) -> None:
    one, two = visit(), visit()
    for person, text in ((one, "I am the first."), (two, "I am the second.")):
        ready(person.open("chat?length=16", "Chat lab"))
        person.say(text)
    for person, mine, other in (
        (one, "I am the first.", "I am the second."),
        (two, "I am the second.", "I am the first."),
    ):
        answered(person.page)
        expect(person.page.get_by_test_id("stChatMessage").filter(has_text=mine)).to_have_count(1)
        expect(person.page.get_by_text(other)).to_have_count(0)


def test_a_reply_of_somebody_who_left_makes_room(visit: Visit) -> None:
    one, two = visit(), visit()
    ready(one.open("chat?length=512&columns=3", "Chat lab"))
    ready(two.open("chat?length=8", "Chat lab"))
    one.say("Talk for as long as you can.")
    talking(one.page)
    two.say("I have little to ask.")
    expect(two.page.get_by_text("1 before you")).to_be_visible(timeout=SOON)
    one.context.close()
    answered(two.page)


def test_scripts_in_a_prompt_and_in_a_reply_are_text(visit: Visit) -> None:
    one = visit()
    page = one.open("chat?length=8", "Chat lab")
    ready(page)
    page.get_by_text("How to answer, and how to colour it").click()
    page.get_by_label("Begin the reply with").fill(SCRIPT)
    page.get_by_label("Begin the reply with").press("Enter")
    one.settle()
    one.say(SCRIPT)
    answered(page)
    assert page.evaluate("window.broken") is None
    expect(page.get_by_text(SCRIPT)).to_have_count(3)  # the message, and both replies
    assert page.locator("img[src='x']").count() == 0


def test_a_link_brings_the_page_as_it_was(visit: Visit) -> None:
    page = visit().open("chat?columns=2&rows=2&strength1=0.5&length=64", "Chat lab")
    ready(page)
    expect(page.get_by_text("0.50", exact=True)).to_be_visible(timeout=SOON)
    expect(page.get_by_text("B: ", exact=False).first).to_be_visible(timeout=SOON)
    assert "columns=2" in page.url


def test_a_link_with_markup_in_it_brings_text(visit: Visit) -> None:
    """`visit` sees that the picture is not asked for."""
    page = visit().open("chat?tokens0=![x](https://example.com/x.png)&read=![x](https://example.com/y.png)", "Chat lab")
    ready(page)
    page.wait_for_timeout(1000)
    assert page.locator("img[src*='example.com']").count() == 0


def test_a_message_of_fifty_thousand_characters_is_refused_in_a_sentence(visit: Visit) -> None:
    one = visit()
    page = one.open("chat", "Chat lab")
    ready(page)
    one.say("x" * 50_000)
    expect(page.get_by_text("50,000 characters")).to_be_visible(timeout=SOON)


def test_a_branch_goes_on_elsewhere(visit: Visit) -> None:
    one = visit()
    page = one.open("chat?length=8", "Chat lab")
    ready(page)
    for number, text in enumerate(("The first message.", "The second message."), start=1):
        one.say(text)
        answered(page, number)
    page.get_by_role("button", name="Branch").first.click()
    said = page.get_by_test_id("stChatMessage")  # the code to copy below holds the history too
    expect(said.filter(has_text="The second message.")).to_have_count(0, timeout=SOON)
    one.say("Another second message.")
    answered(page, 2)
    expect(said).to_have_text([re.compile("The first message"), re.compile("Another second")], timeout=SOON)


def test_a_pickle_is_not_read(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    page = visit().open("build?source=upload", "Build a direction")
    page.locator("input[type=file]").first.set_input_files(path)
    expect(page.get_by_test_id("stAlert").first).to_be_visible(timeout=SOON)
    assert page.get_by_test_id("stException").count() == 0


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (800, True)], ids=["1440-light", "800-dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_page_opens_in_both_themes_and_can_be_used_by_everybody(
    visit: Visit, view: str, width: int, dark: bool
) -> None:
    """Nothing is wider than the page, and axe finds nothing serious or critical in our own parts.

    Streamlit's frame is not ours to mend. With a picture of the page, where WORKBENCH_PICTURES names a folder.
    """
    one = visit(width=width, dark=dark)
    page = one.page
    page.goto(f"{one.base}/{'' if view == 'start' else view}")
    expect(page.get_by_role("heading", level=1).first).to_be_visible(timeout=SOON)
    ready(page)  # some parts are drawn only then
    one.settle()
    assert page.get_by_test_id("stException").count() == 0
    ground = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert ground == ("rgb(18, 23, 29)" if dark else "rgb(255, 255, 255)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if folder := os.environ.get("WORKBENCH_PICTURES"):
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(folder) / f"{view}-{width}-{'dark' if dark else 'light'}.png", full_page=True)
    found = Axe().run(page, context="main").response["violations"]
    serious = [
        (each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
