"""A page that stays open: two of them beside each other, a daemon that restarts, a keyboard alone."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from running import Daemon
from web.browser import expect
from web.evaluations import hire_bakers, queue

Open = Callable[..., Any]
ROWS = "qm-list[aria-label=Missions] .row"
RUNS = "tr[data-run]"
FOCUS_IS_SEEN = """() => {
  const one = document.activeElement;
  const {width, height} = one.getBoundingClientRect();
  return one === document.body || (width > 0 && height > 0 && getComputedStyle(one).outlineStyle !== "none");
}"""


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Daemon]:
    """One for each test, with two missions: what happens to it is nobody else's business."""
    with Daemon.start(tmp_path_factory.mktemp("long-lived") / "home") as started:
        hire_bakers(started, "baker")
        yield started


def beside(page: Any, address: str) -> Any:
    """Another tab of the same browser; what its console complains of fails the test too."""
    other = page.context.new_page()
    other.on("pageerror", lambda error: page.complaints.append(str(error)))
    other.on("console", lambda said: said.type == "error" and page.complaints.append(said.text))
    other.goto(page.url.split("#")[0] + address)
    return other


def test_two_tabs_see_the_same_missions_and_runs_come_and_end(daemon: Daemon, open_page: Open) -> None:
    missions, runs, again = (page := open_page("#/missions")), beside(page, "#/runs"), beside(page, "#/runs")
    expect(missions.locator(ROWS)).to_have_count(2)
    runs.get_by_label("Mission id", exact=True).fill("baker-1")
    runs.get_by_role("button", name="Queue", exact=True).click()
    for tab in (runs, again):
        expect(tab.locator(RUNS)).to_contain_text("completed")
    hire_bakers(daemon, "miller")
    missions.bring_to_front()
    expect(missions.locator(ROWS)).to_have_count(4)


def test_signing_out_in_one_tab_asks_to_sign_in_in_the_other(daemon: Daemon, open_page: Open) -> None:
    page = open_page("#/missions")
    other = beside(page, "#/runs")
    expect(other.get_by_role("heading", name="Runs")).to_be_visible()
    page.bring_to_front()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    other.bring_to_front()
    expect(other.get_by_text("The session has ended. Sign in again.")).to_be_visible()
    other.get_by_label("Token").fill(daemon.token)
    other.keyboard.press("Enter")
    expect(other.get_by_role("heading", name="Runs")).to_be_visible()
    page.complaints[:] = [one for one in page.complaints if "401" not in one]


def test_each_tab_keeps_its_own_address_and_choice(open_page: Open) -> None:
    page = open_page("#/missions?q=baker-1")
    other = beside(page, "#/missions?q=baker-2")
    expect(page.locator(ROWS)).to_have_count(1)
    expect(other.locator(ROWS)).to_have_count(1)
    other.keyboard.press("x")
    expect(other.get_by_role("button", name="Select another to compare")).to_be_visible()
    expect(page.get_by_role("button", name="Select another to compare")).to_have_count(0)


def test_a_daemon_that_restarts_is_found_again_without_a_reload(daemon: Daemon, open_page: Open) -> None:
    before = queue(daemon, "replay", {"mission_id": "baker-1"})
    page = open_page("#/runs")
    missions = beside(page, "#/missions")
    page.bring_to_front()
    page.evaluate("window.sameDocument = true")
    expect(page.locator(f'tr[data-run="{before}"]')).to_contain_text("completed")
    daemon.kill()
    expect(page.get_by_text("The connection to Quartermaster is lost")).to_be_visible()
    again = Daemon.start(daemon.home, "--port", str(urlsplit(daemon.url).port))
    daemon.process = again.process
    expect(page.get_by_text("The connection to Quartermaster is lost")).to_have_count(0)
    run_id = queue(daemon, "replay", {"mission_id": "baker-2"})
    expect(page.locator(f'tr[data-run="{run_id}"]')).to_contain_text("completed")
    assert page.evaluate("window.sameDocument") is True
    hire_bakers(daemon, "miller")
    missions.bring_to_front()
    expect(missions.locator(ROWS)).to_have_count(4)
    page.complaints[:] = [one for one in page.complaints if "ERR_" not in one]


def test_the_keyboard_alone_signs_in_compares_and_has_it_judged(daemon: Daemon, open_page: Open) -> None:
    page = open_page(signed_in=False)
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(daemon.token)
    page.keyboard.press("Enter")
    expect(page.locator(ROWS)).to_have_count(2)
    for key in ("x", "j", "x", "c"):
        page.keyboard.press(key)
    page.wait_for_url("**/#/compare?*")
    judge = page.get_by_role("button", name="Judge: queue a regression")
    expect(judge).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if judge.evaluate("one => one === document.activeElement"):
            break
    expect(judge).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".verdict .word")).not_to_have_text("not judged yet")
    expect(page.locator(".verdict .word")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    expect(page.locator(ROWS)).to_have_count(2)
    page.complaints[:] = [one for one in page.complaints if "401" not in one]


@pytest.mark.parametrize(
    "address",
    ["#/missions", "#/mission/baker-1", "#/compare?baseline=baker-1&candidate=baker-2", "#/settings"],
)
def test_whatever_has_the_focus_can_be_seen_to_have_it(open_page: Open, address: str) -> None:
    page = open_page(address)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)
    for _ in range(25):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS_IS_SEEN), page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
