from collections.abc import Callable, Iterator
from typing import Any

import pytest
from running import Daemon
from web.browser import chromium, furnish, needed, sign_in, token_of

PATIENCE_MILLISECONDS = 20_000
"""How long a claim about the page may take to come true; machines that run tests are slow and shared."""


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    needed()
    home = tmp_path_factory.mktemp("web") / "home"
    furnish(home, long=True)
    with Daemon.start(home) as started:
        yield started


@pytest.fixture(scope="session")
def viewer(daemon: Daemon) -> str:
    """The token of somebody who may only look."""
    return token_of(daemon.home, "vera", "VIEWER")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    needed()
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_page(daemon: Daemon, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address of the page, signed in; whatever the console complains of fails the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def is_ours(url: str) -> bool:
        return url.startswith((daemon.url, "data:"))

    def opened(address: str = "", *, token: str | None = None, signed_in: bool = True, **options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 860}} | options))
        contexts.append(context)
        if signed_in:
            sign_in(context, daemon, token)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.on("request", lambda asked: is_ours(asked.url) or complaints.append(f"asked {asked.url}"))
        page.complaints = complaints
        page.goto(f"{daemon.url}/{address}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
