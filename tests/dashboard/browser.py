"""A real server and a real headless Chromium: what journeys are made with."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SOON = 180_000  # milliseconds: a busy machine is slow, and a page that is right comes


@dataclass
class Server:
    """The dashboard as a process, and what its pages asked for."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    direction: str = ""  # the name of the one on the shelf


@contextmanager
def serving(model: str, runs: Path, cache: Path, log: Path) -> Iterator[Server]:
    """`streamlit run app.py -- MODEL` on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), f"--server.port={port}", "--", model]
    own = {"WORKBENCH_RUNS": str(runs), "WORKBENCH_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | own, stdout=out, stderr=out, cwd=runs)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, log)
        yield Server(url, process, log)
    finally:
        process.terminate()
        process.wait(10)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def chromium() -> str:
    """The system's browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "There is no chromium; install the system's package."
    return found


@dataclass
class Visitor:
    """One person with a fresh browser profile."""

    context: BrowserContext
    page: Page
    base: str
    asked: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, browser: Browser, server: Server, width: int = 1440, dark: bool = False) -> "Visitor":
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", service_workers="block"
        )
        made = cls(context, context.new_page(), server.url)
        made.page.on("request", lambda request: made._note(request))
        return made

    def open(self, path: str, heading: str) -> Page:
        """Go to a page, and wait until it is drawn."""
        self.page.goto(f"{self.base}/{path}")
        expect(self.page.get_by_role("heading", name=heading, level=1)).to_be_visible(timeout=SOON)
        return self.page

    def settle(self, quiet: int = 600) -> None:
        """Wait until the script has run and, for so many milliseconds, has not run again."""
        app = self.page.get_by_test_id("stApp")
        since = time.monotonic()
        while time.monotonic() - since < quiet / 1000:
            if app.get_attribute("data-test-script-state") != "notRunning":
                expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=SOON)
                since = time.monotonic()
            self.page.wait_for_timeout(50)

    def say(self, text: str) -> None:
        """Send a message."""
        box = self.page.get_by_test_id("stChatInputTextArea")
        box.fill(text)
        box.press("Enter")

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)

    @property
    def strangers(self) -> list[str]:
        """Requests that left this machine."""
        urls = (urlsplit(url) for url in self.asked)
        return [url.geturl() for url in urls if url.scheme not in ("data", "blob") and url.hostname != "127.0.0.1"]
