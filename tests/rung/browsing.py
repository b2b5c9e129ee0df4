"""The Chromium of the machine, driven by Playwright; tests that need it skip with a reason where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def chromium() -> str:
    """The browser's path; skips the test where there is no browser or no Playwright."""
    pytest.importorskip("playwright", reason="Playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A headless browser that reaches nothing but this machine."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, args=[*quiet, "--disable-sync", "--no-first-run", "--disable-quic"]
        )
        try:
            yield running
        finally:
            running.close()


class Complaints:
    """What a page says went wrong: exceptions, console errors, and requests that left this server."""

    def __init__(self, page: Any, url: str) -> None:
        self.found: list[str] = []
        page.on("pageerror", lambda error: self.found.append(str(error)))
        page.on("console", lambda message: self.found.append(message.text) if message.type == "error" else None)
        page.on("request", lambda r: None if r.url.startswith((url, "blob:")) else self.found.append(r.url))
        page.on("dialog", lambda dialog: (self.found.append(dialog.message), dialog.dismiss()))
