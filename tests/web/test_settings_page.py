"""Settings and the first steps of a new home, as owners, admins and those who may only look see them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from running import Daemon
from web.browser import expect, needed, token_of

Open = Callable[..., Any]
SETTINGS = "#/settings"


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A home without a mission, of a user whose agent leaves recordings that nobody watches."""
    needed()
    folder = tmp_path_factory.mktemp("settings")
    (folder / "user/.claude/projects").mkdir(parents=True)
    with Daemon.start(folder / "home", environment={"HOME": str(folder / "user")}) as started:
        yield started


def add(daemon: Daemon, user: str, role: str) -> None:
    assert daemon.request("POST", "/api/v1/members", {"user_id": user, "role": role}).status == 201


def members_of(daemon: Daemon) -> dict[str, str]:
    return {row["user_id"]: row["role"] for row in daemon.get("/api/v1/members")["rows"]}


def row_of(page: Any, table: str, text: str) -> Any:
    return page.get_by_role("region", name=table, exact=True).locator("tbody tr", has_text=text)


def test_a_member_is_added_gets_another_role_and_is_removed(daemon: Daemon, open_page: Open) -> None:
    page = open_page(SETTINGS)
    form = page.get_by_role("form", name="Add a member")
    form.get_by_label("User").fill("ann")
    form.get_by_label("Role").select_option("MEMBER")
    form.get_by_role("button", name="Add a member").click()
    row = row_of(page, "Members", "ann")
    expect(row.get_by_label("Role of ann")).to_have_value("MEMBER")
    row.get_by_label("Role of ann").focus()
    row.get_by_label("Role of ann").select_option("MANAGER")
    daemon.wait_for(lambda: members_of(daemon).get("ann") == "MANAGER")
    expect(row.get_by_label("Role of ann")).to_be_focused()
    row.get_by_role("button", name="Remove ann").click()
    assert members_of(daemon)["ann"] == "MANAGER"
    row.get_by_role("button", name="Remove ann?").click()
    expect(row).to_have_count(0)
    assert "ann" not in members_of(daemon)


def test_a_question_is_taken_back_by_going_elsewhere(daemon: Daemon, open_page: Open) -> None:
    add(daemon, "bert", "VIEWER")
    page = open_page(SETTINGS)
    page.get_by_role("button", name="Remove bert").click()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove bert", exact=True)).to_have_text("Remove")
    assert members_of(daemon)["bert"] == "VIEWER"


def test_a_refusal_is_told_and_what_was_typed_stays(daemon: Daemon, open_page: Open) -> None:
    add(daemon, "cleo", "VIEWER")
    page = open_page(SETTINGS)
    form = page.get_by_role("form", name="Add a member")
    form.get_by_label("User").fill("cleo")
    form.get_by_role("button", name="Add a member").click()
    expect(page.locator("#notices")).to_contain_text("is a member already")
    expect(form.get_by_label("User")).to_have_value("cleo")
    page.complaints[:] = [one for one in page.complaints if "409" not in one]


def test_a_token_is_told_once_works_and_ends_when_it_is_revoked(daemon: Daemon, open_page: Open) -> None:
    add(daemon, "dora", "VIEWER")
    page = open_page(SETTINGS)
    form = page.get_by_role("form", name="Make a token")
    form.get_by_label("User").fill("dora")
    form.get_by_role("button", name="Make a token").click()
    secret = page.locator(".secret")
    expect(secret).to_contain_text("A token of dora, told this once")
    expect(secret.get_by_role("button", name="Copy the token")).to_be_focused()
    token = secret.locator("code").text_content()
    with_token = {"Authorization": f"Bearer {token}"}
    assert daemon.request("GET", "/api/v1/missions", headers=with_token).status == 200
    secret.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text(token)).to_have_count(0)
    row = row_of(page, "Tokens", "dora")
    row.get_by_role("button", name="Revoke").click()
    row.get_by_role("button", name="?").click()
    expect(row).to_have_count(0)
    assert daemon.request("GET", "/api/v1/missions", headers=with_token).status == 401
    expect(page.get_by_text("that ended")).to_be_visible()


def test_a_rotated_token_is_told_and_takes_the_place_of_the_old_one(daemon: Daemon, open_page: Open) -> None:
    add(daemon, "emil", "VIEWER")
    assert daemon.request("POST", "/api/v1/tokens", {"user_id": "emil"}).status == 201
    page = open_page(SETTINGS)
    row = row_of(page, "Tokens", "emil")
    row.get_by_role("button", name="Rotate").click()
    row.get_by_role("button", name="Rotate? This one ends in 24 h").click()
    token = page.locator(".secret code").text_content()
    with_token = {"Authorization": f"Bearer {token}"}
    assert daemon.request("GET", "/api/v1/missions", headers=with_token).status == 200
    expect(row).to_have_count(2)


def test_a_token_is_copied_with_its_button(daemon: Daemon, open_page: Open) -> None:
    add(daemon, "fred", "VIEWER")
    page = open_page(SETTINGS, permissions=["clipboard-read", "clipboard-write"])
    form = page.get_by_role("form", name="Make a token")
    form.get_by_label("User").fill("fred")
    form.get_by_role("button", name="Make a token").click()
    page.get_by_role("button", name="Copy the token").click()
    expect(page.get_by_role("button", name="Copy the token")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".secret code").text_content()


def test_an_admin_is_offered_nothing_that_is_for_owners(daemon: Daemon, open_page: Open) -> None:
    page = open_page(SETTINGS, token=token_of(daemon.home, "gina", "ADMIN"))
    owner = row_of(page, "Members", "OWNER")
    expect(owner).to_have_count(1)
    expect(owner.get_by_role("button").or_(owner.get_by_role("combobox"))).to_have_count(0)
    roles = page.get_by_role("form", name="Add a member").get_by_label("Role").locator("option")
    expect(roles).to_have_text(["VIEWER", "MEMBER", "MANAGER", "ADMIN"])


@pytest.mark.parametrize("role", ["VIEWER", "MEMBER"])
def test_whoever_may_not_manage_sees_who_is_there_and_no_button(
    daemon: Daemon, open_page: Open, role: str
) -> None:
    page = open_page(SETTINGS, token=token_of(daemon.home, f"hugo-{role}", role))
    expect(row_of(page, "Members", f"hugo-{role}")).to_contain_text("(you)")
    expect(page.get_by_role("region", name="Thresholds of a regression")).to_contain_text("tool success rate")
    expect(page.get_by_text("Every mission is kept for good")).to_be_visible()
    expect(page.get_by_role("heading", name="Tokens")).to_have_count(0)
    expect(page.get_by_role("heading", name="Alerts")).to_have_count(0)
    expect(page.get_by_role("form")).to_have_count(0)
    members = page.get_by_role("region", name="Members", exact=True)
    expect(members.get_by_role("button").or_(members.get_by_role("combobox"))).to_have_count(0)
    assert str(daemon.home) not in page.locator("main").text_content()


def test_the_installation_is_shown_as_doctor_finds_it(daemon: Daemon, open_page: Open) -> None:
    page = open_page(SETTINGS)
    found = row_of(page, "Installation, as doctor finds it", "~/.claude/projects is there and not watched")
    expect(found.get_by_role("button", name="Copy the command")).to_be_visible()
    expect(row_of(page, "Installation, as doctor finds it", str(daemon.home)).first).to_be_visible()
    page.get_by_role("button", name="Look again").click()
    expect(found).to_have_count(1)


def test_alert_rules_are_listed_and_removed(daemon: Daemon, open_page: Open) -> None:
    rule = {"name": "worse", "trigger": {"on": "regression"}, "url": "https://hooks.example.com/secret"}
    assert daemon.request("POST", "/api/v1/alerts/rules", rule).status == 201
    page = open_page(SETTINGS)
    row = row_of(page, "Alerts", "worse")
    expect(row).to_contain_text("hooks.example.com")
    row.get_by_role("button", name="Remove the rule worse").click()
    row.get_by_role("button", name="Remove worse?").click()
    expect(page.get_by_text("No rule yet")).to_be_visible()


def test_an_empty_home_offers_the_folders_of_recordings_that_were_found(
    daemon: Daemon, open_page: Open
) -> None:
    page = open_page()
    expect(page.get_by_text("No mission has come in yet")).to_be_visible()
    offer = page.locator(".command", has_text="quartermaster watch add ~/.claude/projects --home")
    expect(offer.get_by_role("button", name="Copy")).to_be_visible()
    member = open_page(token=token_of(daemon.home, "ida", "MEMBER"))
    expect(member.get_by_text("No mission has come in yet")).to_be_visible()
    expect(member.get_by_text("~/.claude/projects")).to_have_count(0)
    expect(member.get_by_text("quartermaster watch add PATH")).to_be_visible()


def test_the_text_of_a_token_is_nowhere_once_it_was_told(daemon: Daemon, open_page: Open) -> None:
    made = daemon.request("POST", "/api/v1/tokens", {"user_id": "local"}).json
    page = open_page(SETTINGS)
    expect(row_of(page, "Tokens", made["token_id"])).to_be_visible()
    assert made["token"] not in page.content()
