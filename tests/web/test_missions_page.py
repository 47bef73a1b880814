"""The list of missions and one mission, as people use them: in a browser, with mouse and keyboard."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Daemon, run_command
from web.browser import expect, token_of

Open = Callable[..., Any]
ROWS = "qm-list[aria-label=Missions] .row"


def test_a_printed_link_signs_in_once_and_says_how_to_begin(browser: Any, tmp_path: Path) -> None:
    with Daemon.start(tmp_path / "home") as fresh:
        link = next(line for line in fresh.log.read_text().splitlines() if "/login?code=" in line).split()[-1]
        page = browser.new_page()
        page.goto(link)
        expect(page.get_by_text("No mission has come in yet")).to_be_visible()
        page.context.close()


def test_a_token_signs_in_and_a_wrong_one_says_what_is_wrong(daemon: Daemon, open_page: Open) -> None:
    page = open_page(signed_in=False)
    page.get_by_label("Token").fill("qm_000000000000_" + "0" * 49)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("Token").fill(daemon.token)
    page.keyboard.press("Enter")
    expect(page.locator(ROWS).first).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    page.complaints[:] = [one for one in page.complaints if "401" not in one]


def test_a_filter_narrows_the_list_and_stands_in_the_address(open_page: Open) -> None:
    page = open_page("#/missions")
    expect(page.locator(ROWS).first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("hostile-all")
    expect(page.locator(ROWS)).to_have_count(1)
    assert "q=hostile-all" in page.url
    page.reload()
    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("hostile-all")
    page.get_by_label("Outcome").select_option("succeeded")
    expect(page.get_by_text("No mission passes these filters")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator(ROWS).nth(5)).to_be_visible()


def test_the_keyboard_alone_finds_selects_compares_and_opens(open_page: Open) -> None:
    page = open_page("#/missions?q=hostile-1")
    expect(page.locator(ROWS + ".current")).to_have_count(1)
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Compare 2 (c)")).to_be_visible()
    page.keyboard.press("c")
    page.wait_for_url("**/#/compare?baseline=hostile-*&candidate=hostile-*")
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.go_back()
    expect(page.locator(ROWS + ".current")).to_have_count(1)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("o")
    page.wait_for_url("**/#/mission/hostile-*")
    expect(page.locator("qm-list[aria-label=Steps] .row").first).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator(".panel h2").first).to_have_text("Step 1")
    page.keyboard.press("u")
    page.wait_for_url("**/#/missions*")


def test_who_goes_back_while_a_view_is_still_being_fetched_keeps_the_list(
    daemon: Daemon, open_page: Open
) -> None:
    page = open_page(signed_in=False)
    held: list[Any] = []

    def hold(asked: Any) -> None:
        held.append(asked)

    page.route("**/views/compare.js", hold)
    page.get_by_label("Token").fill(daemon.token)
    page.keyboard.press("Enter")
    expect(page.locator(ROWS).first).to_be_visible()
    with page.expect_request("**/views/compare.js"):
        page.evaluate("location.hash = '#/compare'")
    page.go_back()
    expect(page.locator(ROWS).first).to_be_visible()
    page.wait_for_timeout(400)
    expect(page.locator(ROWS).first).to_be_visible()
    assert held
    held[0].continue_()
    page.complaints[:] = [one for one in page.complaints if "401" not in one]


def test_the_way_back_from_a_mission_leads_to_its_row(open_page: Open) -> None:
    page = open_page("#/missions?q=hostile")
    expect(page.locator(ROWS + ".current")).to_have_count(1)
    for _ in range(30):
        page.keyboard.press("j")
    title = page.locator(ROWS + ".current a").inner_text()
    page.keyboard.press("o")
    expect(page.locator("qm-list[aria-label=Steps] .row").first).to_be_visible()
    page.go_back()
    expect(page.locator(ROWS + ".current a")).to_have_text(title)
    link = page.locator(ROWS + ".current + .row a")
    title = link.inner_text()
    link.click()
    expect(page.locator("qm-list[aria-label=Steps] .row").first).to_be_visible()
    page.go_back()
    expect(page.locator(ROWS + ".current a")).to_have_text(title)


def test_what_was_typed_last_stays_out_of_the_address_of_the_next_view(open_page: Open) -> None:
    page = open_page("#/missions")
    expect(page.locator(ROWS).first).to_be_visible()
    page.keyboard.press("/")
    page.evaluate("""() => {
      document.activeElement.value = "half a wo";
      document.activeElement.dispatchEvent(new Event("input", { bubbles: true }));
      location.hash = "#/runs";
    }""")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    page.wait_for_timeout(300)
    assert page.url.endswith("#/runs")


def test_two_selected_missions_are_laid_side_by_side_in_advance(open_page: Open) -> None:
    page = open_page("#/missions?q=hostile-1")
    expect(page.locator(ROWS + ".current")).to_have_count(1)
    page.keyboard.press("x")
    page.keyboard.press("j")
    with page.expect_response("**/diff/**") as in_advance:
        page.keyboard.press("x")
    assert in_advance.value.status == 200
    with page.expect_request("**/diff/**") as compared:
        page.keyboard.press("c")
    assert compared.value.url == in_advance.value.url
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.route("**/diff/**", lambda asked: asked.abort())
    page.go_back()
    expect(page.locator(ROWS + ".current")).to_have_count(1)
    page.keyboard.press("x")
    page.keyboard.press("j")
    with page.expect_event("requestfailed"):
        page.keyboard.press("x")
    expect(page.locator("#notices")).to_be_empty()
    page.complaints[:] = [one for one in page.complaints if "ERR_FAILED" not in one]


def test_a_tab_beside_the_steps_keeps_the_focus_when_it_is_chosen(open_page: Open) -> None:
    page = open_page("#/mission/hostile-0")
    page.get_by_role("tab", name="Metrics").click()
    expect(page.get_by_role("tab", name="Metrics")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Origin")).to_be_focused()


def test_a_mission_that_is_still_being_examined_is_asked_for_until_it_is_there(open_page: Open) -> None:
    page = open_page("#/missions?q=hostile-1")
    refusals = [json.dumps({"error": "took too long", "detail": "ask again in some seconds"})]

    def refuse_once(asked: Any) -> None:
        if refusals:
            asked.fulfill(status=503, content_type="application/problem+json", body=refusals.pop())
        else:
            asked.continue_()

    page.route("**/api/v1/missions/hostile-1?*", refuse_once)
    page.evaluate("location.hash = '#/mission/hostile-1?tab=findings'")
    expect(page.get_by_text("Examining this mission…")).to_be_visible()
    expect(page.get_by_role("tab", name="Findings (")).to_be_visible()
    expect(page.get_by_text("Examining this mission…")).to_have_count(0)
    assert not refusals
    page.complaints[:] = [one for one in page.complaints if "503" not in one]


def test_one_entry_is_one_and_a_cost_that_nobody_told_is_not_at_least_nothing(
    daemon: Daemon, open_page: Open
) -> None:
    entry = {"mission_id": "one-call", "ts": "2026-05-01T00:00:00Z", "entry_type": "llm.call"}
    assert daemon.request("POST", "/api/v1/journal", entry).status == 200
    page = open_page("#/mission/one-call")
    expect(page.get_by_text("1 entry over time")).to_be_visible()
    rests = page.locator(".figures div", has_text="Cost").locator(".rests")
    expect(rests).to_contain_text("0 of 1 known")
    expect(rests).not_to_contain_text("at least")


def test_a_new_mission_comes_in_by_itself(daemon: Daemon, open_page: Open) -> None:
    page = open_page("#/missions?q=just-arrived")
    expect(page.get_by_text("No mission passes these filters")).to_be_visible()
    entry = {"mission_id": "just-arrived", "ts": "2026-05-01T00:00:00Z", "entry_type": "message.user"}
    assert daemon.request("POST", "/api/v1/journal", entry).status == 200
    expect(page.locator(ROWS)).to_have_count(1)


def test_whoever_may_only_look_sees_no_button_that_would_be_refused(open_page: Open, viewer: str) -> None:
    owner, looker = open_page("#/mission/hostile-all"), open_page("#/mission/hostile-all", token=viewer)
    expect(owner.get_by_role("button", name="Replay")).to_be_visible()
    expect(looker.get_by_role("button", name="Compare with…")).to_be_visible()
    expect(looker.get_by_role("button", name="Replay")).to_have_count(0)


def test_an_empty_workspace_says_how_the_first_mission_comes_in(daemon: Daemon, open_page: Open) -> None:
    assert run_command(daemon.home, "workspace", "create", "empty").returncode == 0
    token_of(daemon.home, "wanda", "MEMBER", workspace="empty")
    page = open_page("#/missions?workspace=empty", token=token_of(daemon.home, "wanda", "VIEWER"))
    expect(page.get_by_text("No mission has come in yet")).to_be_visible()
    expect(page.get_by_text("quartermaster ingest PATH")).to_be_visible()
    page.get_by_label("Workspace").select_option("local")
    expect(page.locator(ROWS).first).to_be_visible()
    page.goto(f"{daemon.url}/#/missions?workspace=nowhere")
    expect(page.get_by_text("You are not a member of the workspace")).to_be_visible()


def test_a_lost_connection_says_so_and_comes_back_without_a_reload(open_page: Open) -> None:
    page = open_page("#/missions")
    expect(page.locator(ROWS).first).to_be_visible()
    page.context.set_offline(True)
    expect(page.get_by_text("The connection to Quartermaster is lost")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("Connected again")).to_be_visible()
    expect(page.get_by_text("The connection to Quartermaster is lost")).to_have_count(0)
    page.complaints[:] = [one for one in page.complaints if "ERR_INTERNET_DISCONNECTED" not in one]


def test_a_step_that_was_asked_for_in_vain_shows_once_the_connection_is_back(open_page: Open) -> None:
    page = open_page("#/mission/hostile-all?step=3")
    expect(page.locator(".panel summary")).to_be_visible()
    page.context.set_offline(True)
    page.keyboard.press("j")
    expect(page.locator(".panel .failure")).to_contain_text("does not answer")
    page.context.set_offline(False)
    expect(page.locator(".panel summary")).to_be_visible()
    expect(page.locator(".panel .failure")).to_have_count(0)
    page.complaints[:] = [one for one in page.complaints if "ERR_INTERNET_DISCONNECTED" not in one]


def test_a_step_is_found_by_its_number_its_text_its_failure_and_its_address(open_page: Open) -> None:
    page = open_page("#/mission/hostile-all?step=7")
    heading = page.locator(".panel h2").first
    expect(heading).to_have_text("Step 7")
    page.keyboard.press("/")
    page.keyboard.type("#12")
    expect(heading).to_have_text("Step 12")
    page.get_by_role("searchbox", name="Search").fill("onbegin")
    expect(page.get_by_role("status").get_by_text("2 matches")).to_be_visible()
    page.keyboard.press("Enter")
    expect(heading).to_have_text("Step 21")
    page.locator("qm-list").focus()
    page.keyboard.press("f")
    expect(heading).to_have_text("Step 22")
    assert "step=22" in page.url


@pytest.mark.parametrize("address", ["#/missions", "#/mission/hostile-all?step=3"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_is_not_scrolled_sideways(open_page: Open, address: str, scheme: str) -> None:
    page = open_page(address, viewport={"width": 375, "height": 800}, color_scheme=scheme)
    expect(page.locator("qm-list .row").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_theme_can_be_chosen_and_stays(open_page: Open) -> None:
    page = open_page("#/missions", color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate(ground)
    page.reload()
    assert light != dark == page.evaluate(ground)


def test_what_the_browser_is_told_forbids_everything_else(daemon: Daemon) -> None:
    policy = daemon.request("GET", "/").headers["content-security-policy"]
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "trusted-types 'none'"} <= set(
        policy.split("; ")
    )
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in json.dumps(policy)
