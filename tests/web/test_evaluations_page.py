"""Comparisons, runs, trends, baselines and sources, as people use them: in a browser."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trend_world
from running import Daemon
from web.browser import expect, needed, token_of
from web.evaluations import STEPS, bakers, furnish_evaluations, hire_bakers, queue

Open = Callable[..., Any]
NDJSON = {"Content-Type": "application/x-ndjson"}
LINES = "qm-difference qm-list .row"
VIEWS = {
    "compare": "#/compare?baseline=baker-1&candidate=baker-2",
    "compare-sets": "#/compare",
    "runs": "#/runs",
    "trends": "#/trends",
    "baselines": "#/baselines",
    "sources": "#/sources",
    "settings": "#/settings",
}
LOOKS = {
    "light": (1280, "light"),
    "dark": (1280, "dark"),
    "narrow": (375, "light"),
    "narrow-dark": (375, "dark"),
}


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    needed()
    home = tmp_path_factory.mktemp("evaluations") / "home"
    furnish_evaluations(home)
    with Daemon.start(home) as started:
        yield started


@pytest.fixture(scope="session")
def viewer(daemon: Daemon) -> str:
    return token_of(daemon.home, "vera", "VIEWER")


def test_two_missions_show_their_differences_before_anybody_judged_them(
    daemon: Daemon, open_page: Open
) -> None:
    page = open_page(hire_bakers(daemon, "unjudged"))
    expect(page.locator(".verdict .word")).to_have_text("not judged yet")
    expect(page.get_by_text("First divergence: step 15 of the baseline")).to_be_visible()
    expect(page.locator(LINES + ".fold")).to_contain_text("equal steps")
    expect(page.locator(LINES + ".current")).to_contain_text("bake")
    panel = page.locator(".diff-detail")
    expect(panel.locator("code.old")).to_have_text("rye.txt")
    expect(panel.locator("code.new")).to_have_text("spelt.txt")
    page.keyboard.press("n")
    expect(page.locator(LINES + ".current")).to_contain_text("taste")
    expect(panel.locator("h3")).to_contain_text("Another outcome")
    page.keyboard.press("n")
    expect(panel.locator("h3")).to_contain_text("Only in the candidate")
    page.keyboard.press("p")
    expect(page.locator(LINES + ".current")).to_contain_text("taste")


def test_the_parts_of_a_waterfall_add_up_to_the_change(open_page: Open) -> None:
    page = open_page(VIEWS["compare"])
    page.get_by_role("button", name="work steps").click()
    numbers = [
        int(text.replace("\N{MINUS SIGN}", "-").replace(",", ""))
        for text in page.locator(".waterfall td.number").all_text_contents()
    ]
    assert len(numbers) >= 3
    assert numbers[0] + sum(numbers[1:-1]) == numbers[-1] == numbers[0] + 2


def test_a_queued_regression_tells_its_verdict_live_above_the_steps(daemon: Daemon, open_page: Open) -> None:
    page = open_page(hire_bakers(daemon, "spelt"))
    page.get_by_role("button", name="Judge: queue a regression").click()
    expect(page.locator(".verdict.bad .word")).to_have_text("regressed")
    expect(page.locator(".verdict")).to_contain_text("tool success dropped")
    page.reload()
    expect(page.locator(".verdict.bad .word")).to_have_text("regressed")
    page.get_by_role("link", name="judged").click()
    expect(page.get_by_role("heading", name="Run")).to_be_visible()
    expect(page.get_by_role("heading", name="Metrics of both sides")).to_be_visible()


def test_a_run_is_watched_to_its_end_and_another_one_is_cancelled(daemon: Daemon, open_page: Open) -> None:
    hire_bakers(daemon, "watched")
    page = open_page(VIEWS["runs"])
    page.get_by_label("Mission id", exact=True).fill("watched-1")
    page.get_by_role("button", name="Queue", exact=True).click()
    row = page.locator("tr", has=page.get_by_role("link", name="watched-1"))
    expect(row).to_contain_text("completed")
    both = {"baseline": {"q": "night-1"}, "candidate": {"q": "night-4"}}
    for _ in range(4):
        queue(daemon, "comparisons", both)
    last = queue(daemon, "comparisons", both)
    page.get_by_role("button", name=f"Cancel {last}").click()
    cancelled = page.locator(f'tr[data-run="{last}"]')
    expect(cancelled.locator(".badge")).to_contain_text("cancelled")
    expect(cancelled.get_by_role("button")).to_have_count(0)
    expect(page.get_by_text("Regressed: mission success, cost.").first).to_be_visible(timeout=40_000)


def test_two_sets_are_compared_and_the_report_tells_metric_by_metric(open_page: Open) -> None:
    page = open_page(VIEWS["compare-sets"])
    for side, text in (("Baseline", "night-1"), ("Candidate", "night-4")):
        page.get_by_role("group", name=side).get_by_label("Search").fill(text)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".verdict.bad .word")).to_have_text("regressed", timeout=40_000)
    assert "run=er_" in page.url
    metric = page.locator("article.metric").first
    expect(metric).to_contain_text("Mission success fell")
    expect(metric).to_contain_text("to see the threshold: ")
    expect(metric.locator("svg.interval.bad .span")).to_have_count(1)
    tasks = page.get_by_role("region", name="Task by task").locator("tbody tr")
    expect(tasks.first).to_contain_text("60 pp worse")
    expect(tasks).to_have_count(trend_world.TASKS)
    expect(page.locator("article.metric", has_text="Wall time")).to_contain_text("4.0 s → 4.0 s")


def test_a_trend_shows_its_change_and_leads_to_the_first_bad_mission(open_page: Open) -> None:
    page = open_page("#/trends?metric=success_rate")
    change = page.locator(".verdict.bad")
    expect(change).to_contain_text(f"fixer, {trend_world.CHANGED_AT}: got worse")
    expect(change).to_contain_text(f"{trend_world.OLD_MODEL} → {trend_world.NEW_MODEL}")
    expect(page.locator("figure", has_text="alert since").locator(".change.worse")).to_have_count(1)
    change.get_by_role("link").click()
    page.wait_for_url("**/#/mission/night-35-task-*")


def test_a_change_that_is_not_confirmed_is_not_told_as_one(open_page: Open) -> None:
    page = open_page("#/missions")

    def unconfirmed(asked: Any) -> None:
        told = asked.fetch().json()
        for event in told["events"]:
            for shift in event["shifts"]:
                shift["confirmed"] = False
        asked.fulfill(json=told)

    page.route("**/api/v1/eval/trends?*", unconfirmed)
    page.evaluate("location.hash = '#/trends?metric=success_rate'")
    expect(page.locator(".verdict")).to_contain_text("may have got worse")
    expect(page.locator(".verdict.bad")).to_have_count(0)


def test_missions_are_frozen_and_others_accepted_for_a_reason(open_page: Open) -> None:
    page = open_page(VIEWS["baselines"])
    page.get_by_label("Task").fill("bread")
    page.get_by_label("Name").fill("breads")
    page.get_by_role("button", name="Freeze").click()
    page.wait_for_url("**/#/baselines/breads")
    page.get_by_label("or ids of missions").fill("baker-2")
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_label("Reason")).to_be_focused()
    page.get_by_label("Reason").fill("spelt is what we sell now")
    page.keyboard.press("Enter")
    history = page.get_by_role("region", name="History").locator("tbody tr")
    expect(history).to_have_count(2)
    expect(history.first).to_contain_text("spelt is what we sell now")


def test_a_file_tells_which_lines_were_not_understood_and_why(open_page: Open) -> None:
    page = open_page("#/sources?q=torn")
    page.get_by_role("link", name="torn.ndjson").click()
    lines = page.get_by_role("region", name="Not understood").locator("tbody tr")
    expect(lines).to_have_count(2)
    expect(lines.first).to_contain_text("ts is not an RFC 3339 time")


def test_the_ledger_keeps_its_focus_and_its_lines_while_it_is_read_again(open_page: Open) -> None:
    page = open_page("#/sources", viewport={"width": 375, "height": 860})
    link = page.get_by_role("link", name="torn.ndjson")
    link.focus()
    with page.expect_response("**/api/v1/sources?*"):
        expect(link).to_be_focused()
    page.wait_for_timeout(200)
    expect(link).to_be_focused()
    wraps = "(cell) => getComputedStyle(cell).whiteSpace !== 'nowrap'"
    assert not page.locator("tbody tr td:last-child").first.evaluate(wraps)


def test_long_ids_below_a_course_break_on_a_narrow_screen(daemon: Daemon, open_page: Open) -> None:
    lines = bakers("long" * 30).replace('"agent": "baker"', '"agent": "long baker"').encode()
    assert daemon.request("POST", "/api/v1/journal", lines, NDJSON).status == 200
    page = open_page("#/trends?by=mission&metric=total_tokens", viewport={"width": 375, "height": 860})
    expect(page.locator(".ends", has_text="longlong").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_whoever_may_only_look_sees_no_button_that_would_be_refused(
    daemon: Daemon, open_page: Open, viewer: str
) -> None:
    frozen = daemon.request("POST", "/api/v1/baselines", {"name": "looked-at", "missions": ["baker-1"]})
    assert frozen.status == 201, frozen.json
    page = open_page(VIEWS["compare"], token=viewer)
    expect(page.locator(LINES).first).to_be_visible()
    refused = page.get_by_role("button", name="Judge").or_(page.get_by_role("button", name="Cancel"))
    refused = refused.or_(page.get_by_role("button", name="Queue")).or_(
        page.get_by_role("button", name="Accept")
    )
    refused = refused.or_(page.get_by_role("button", name="Freeze")).or_(
        page.get_by_role("button", name="Run it again")
    )
    for address in (*VIEWS.values(), "#/baselines/looked-at"):
        page.goto(page.url.split("#")[0] + address)
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator(".waiting")).to_have_count(0)
        expect(refused).to_have_count(0)
    page.goto(page.url.split("#")[0] + VIEWS["compare-sets"])
    page.get_by_role("group", name="Baseline").get_by_label("or ids of missions").fill("baker-1")
    page.get_by_role("group", name="Candidate").get_by_label("or ids of missions").fill("baker-2")
    page.get_by_role("button", name="Show two missions side by side").click()
    expect(page.locator(LINES).first).to_be_visible()


def test_five_thousand_steps_lie_beside_five_thousand(open_page: Open) -> None:
    page = open_page("#/runs")
    expect(page.locator("h1")).to_have_text("Runs")
    protocol = page.context.new_cdp_session(page)
    protocol.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        """Seconds of processor that the page took so far: what others take is not counted."""
        metrics = protocol.send("Performance.getMetrics")["metrics"]
        return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")

    began, before = time.monotonic(), worked()
    page.evaluate("location.hash = '#/compare?baseline=walk-1&candidate=walk-2'")
    page.locator(LINES + ".deleted").first.wait_for()
    seconds, page_seconds = time.monotonic() - began, worked() - before
    asked = "performance.getEntriesByType('resource').find((one) => one.name.includes('/diff/')).duration"
    api_seconds = page.evaluate(asked) / 1000
    print(
        f"{STEPS:,} x {STEPS:,} steps: {1000 * seconds:.0f} ms, {1000 * api_seconds:.0f} ms of it the API;"
        f" {1000 * page_seconds:.0f} ms of processor in the page"
    )
    assert 0 < page_seconds < 0.5
    assert page.locator(LINES).count() < 80
    page.locator("qm-difference qm-list").focus()
    page.keyboard.press("End")
    expect(page.locator(LINES + ".current")).not_to_contain_text("…")


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_fits_into_its_window(open_page: Open, look: str, tmp_path: Path) -> None:
    width, scheme = LOOKS[look]
    page = open_page("#/runs", viewport={"width": width, "height": 860}, color_scheme=scheme)
    for name, address in VIEWS.items():
        page.goto(page.url.split("#")[0] + address)
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator(".waiting")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=tmp_path / f"{name}-{look}.png", full_page=True)
