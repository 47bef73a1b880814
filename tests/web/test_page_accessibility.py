"""Every view is held against the rules of axe-core, where somebody has fetched them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Daemon
from web.browser import expect, furnish, needed
from web.evaluations import furnish_evaluations, judge

Open = Callable[..., Any]
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
RUN = """async (rules) => {
  const {violations} = await axe.run(document, {runOnly: rules});
  return violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ")}`);
}"""
EVERY_RULE = ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]
RULES_OF_COLOUR = ["color-contrast", "link-in-text-block"]
VIEWS = {
    "missions": "#/missions",
    "no-missions": "#/missions?q=nothing-is-called-so",
    "mission": "#/mission/hostile-all?step=3",
    "findings": "#/mission/baker-2?tab=findings",
    "metrics": "#/mission/baker-2?tab=metrics",
    "origin": "#/mission/hostile-1?tab=origin",
    "choice-of-sets": "#/compare",
    "runs": "#/runs",
    "trends": "#/trends",
    "baselines": "#/baselines",
    "sources": "#/sources",
    "settings": "#/settings",
}
JUDGED = ("compare", "compare-sets", "run", "baseline")

pytestmark = pytest.mark.skipif(
    not AXE.is_file(), reason="to run this: npm install --no-save axe-core, or set AXE_CORE"
)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """With something to see in every view."""
    needed()
    home = tmp_path_factory.mktemp("accessibility") / "home"
    furnish(home)
    furnish_evaluations(home)
    with Daemon.start(home) as started:
        yield started


@pytest.fixture(scope="session")
def addresses(daemon: Daemon) -> dict[str, str]:
    return VIEWS | judge(daemon)


def held_against_axe(page: Any) -> None:
    """Every rule in the light theme, those of colour in the dark one too."""
    page.emulate_media(color_scheme="light")
    page.evaluate(AXE.read_text())
    assert page.evaluate(RUN, EVERY_RULE) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(RUN, RULES_OF_COLOUR) == [], "in the dark theme"


@pytest.mark.parametrize("view", [*VIEWS, *JUDGED])
def test_a_view_has_no_serious_finding_of_axe(open_page: Open, addresses: dict[str, str], view: str) -> None:
    page = open_page(addresses[view], bypass_csp=True, reduced_motion="reduce")
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)
    page.wait_for_timeout(500)
    held_against_axe(page)


def test_signing_in_and_the_help_have_no_serious_finding_of_axe(open_page: Open) -> None:
    page = open_page(signed_in=False, bypass_csp=True, reduced_motion="reduce")
    expect(page.get_by_label("Token")).to_be_focused()
    held_against_axe(page)
    page.complaints[:] = [one for one in page.complaints if "401" not in one]
    inside = open_page("#/missions", bypass_csp=True, reduced_motion="reduce")
    inside.get_by_role("button", name="Keys").click()
    expect(inside.get_by_role("dialog", name="Keys")).to_be_visible()
    held_against_axe(inside)
