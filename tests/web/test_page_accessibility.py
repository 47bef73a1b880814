"""Every view is held against the rules of axe-core, where somebody has fetched them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
RUN = """async () => {
  const {violations} = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]});
  return violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ")}`);
}"""
VIEWS = {
    "missions": "#/missions",
    "mission": "#/mission/hostile-all?step=3",
    "findings": "#/mission/hostile-all?tab=findings",
    "metrics": "#/mission/hostile-all?tab=metrics",
    "origin": "#/mission/hostile-1?tab=origin",
    "compare": "#/compare?baseline=hostile-1&candidate=hostile-2",
    "runs": "#/runs",
    "trends": "#/trends",
    "baselines": "#/baselines",
    "sources": "#/sources",
    "settings": "#/settings",
}


@pytest.mark.skipif(not AXE.is_file(), reason="to run this: npm install --no-save axe-core, or set AXE_CORE")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_no_serious_finding_of_axe(open_page: Open, view: str, scheme: str) -> None:
    page = open_page(VIEWS[view], bypass_csp=True, color_scheme=scheme)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.evaluate(AXE.read_text())
    assert page.evaluate(RUN) == []
