"""Pictures of every view in both themes and on a narrow screen: `python tests/web/screenshots.py OUT`."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
os.environ["PYTHONPATH"] = str(ROOT)

from running import Daemon  # noqa: E402 - found where the lines above say
from web.browser import chromium, furnish, sign_in  # noqa: E402
from web.evaluations import furnish_evaluations, judge  # noqa: E402

SIZES = {"wide": (1280, 860), "narrow": (375, 812)}
SECONDS = 20.0


def addresses(daemon: Daemon) -> dict[str, str]:
    """What is taken a picture of: the views, and the missions that show most."""
    rows = daemon.get("/api/v1/missions?sort=entries&limit=100")["rows"]
    told = [row["mission_id"] for row in rows if not row["mission_id"].startswith("hostile")]
    first = told[0]
    return {
        "missions": "#/missions",
        "mission": f"#/mission/{first}?step=8",
        "mission-findings": f"#/mission/{first}?tab=findings",
        "mission-metrics": f"#/mission/{first}?tab=metrics",
        "mission-origin": f"#/mission/{first}?tab=origin",
        "hostile": "#/mission/hostile-0?step=1",
        "runs": "#/runs",
        "trends": "#/trends",
        "baselines": "#/baselines",
        "sources": "#/sources",
        "settings": "#/settings",
    }


def take(page: Any, place: Path) -> None:
    """The view once nothing is asked for any more."""
    page.wait_for_load_state("networkidle", timeout=1000 * SECONDS)
    page.wait_for_timeout(400)
    page.screenshot(path=place)
    print(place)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        furnish(home)
        furnish_evaluations(home)
        with Daemon.start(home) as daemon, chromium() as browser:
            judged = judge(daemon)
            for size, (width, height) in SIZES.items():
                for scheme in ("light", "dark"):
                    viewport = {"width": width, "height": height}
                    context = browser.new_context(viewport=viewport, color_scheme=scheme)
                    sign_in(context, daemon)
                    for name, address in (addresses(daemon) | judged).items():
                        page = context.new_page()
                        page.goto(f"{daemon.url}/{address}")
                        take(page, out / f"{name}-{size}-{scheme}.png")
                        page.close()
                    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
