"""Pictures of the page: `python tests/web/screenshots.py OUT` takes every view in both themes and on a narrow
screen, `--readme` in the place of OUT those few that the README shows, from the samples alone."""

import base64
import os
import struct
import sys
import tempfile
import zlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
os.environ["PYTHONPATH"] = str(ROOT)

from running import Daemon, run_command  # noqa: E402 - found where the lines above say
from web.browser import SAMPLES, chromium, furnish, sign_in  # noqa: E402
from web.evaluations import furnish_evaluations, judge, queue  # noqa: E402

SIZES = {"wide": (1280, 860), "narrow": (375, 812)}
SECONDS = 20.0
PICTURES = ROOT / "data/pictures"
SHOWN = {"width": 1220, "height": 760}
MOST_BYTES = 120_000
PIXELS = """async (png) => {
  const image = await createImageBitmap(new Blob([Uint8Array.fromBase64(png)]));
  const canvas = new OffscreenCanvas(image.width, image.height);
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  const {data} = drawing.getImageData(0, 0, image.width, image.height);
  return [image.width, image.height, new Uint8Array(data.buffer).toBase64()];
}"""
WORSE = ("demo-login-fix-baseline", "demo-login-fix-candidate")


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


def all_examined(daemon: Daemon) -> bool:
    """Whether nobody has to wait for findings any more."""
    rows = daemon.get("/api/v1/missions?limit=200")["rows"]
    return all(row["findings"] is not None for row in rows)


def with_few_colours(page: Any, png: bytes) -> bytes:
    """The same picture in its commonest colours and some of every other kind: a third of the bytes."""
    width, height, pixels = page.evaluate(PIXELS, base64.b64encode(png).decode())
    raw = base64.b64decode(pixels)
    colours = [raw[at : at + 3] for at in range(0, len(raw), 4)]
    by_use = [colour for colour, _ in Counter(colours).most_common()]
    unlike = {bytes(part >> 4 for part in colour): colour for colour in reversed(by_use)}
    palette = list(dict.fromkeys([*by_use[:100], *reversed(unlike.values())]))[:256]

    @cache
    def nearest(colour: bytes) -> int:
        distances = [sum((x - y) ** 2 for x, y in zip(colour, one, strict=True)) for one in palette]
        return distances.index(min(distances))

    indices = bytes(nearest(colour) for colour in colours)
    rows = b"".join(b"\0" + indices[at : at + width] for at in range(0, len(indices), width))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", b"".join(palette)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def main_of_readme() -> None:
    """What somebody sees who has read the samples: no path and no name of this machine stands in it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    baseline, candidate = WORSE
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        assert run_command(home, "ingest", SAMPLES, seconds=120).returncode == 0
        with Daemon.start(home) as daemon, chromium() as browser:
            pair = {"baseline_mission_id": baseline, "candidate_mission_id": candidate}
            daemon.wait_for_run(queue(daemon, "regression", pair), seconds=60)
            daemon.wait_for(lambda: all_examined(daemon), seconds=60)
            context = browser.new_context(viewport=SHOWN, color_scheme="light")
            sign_in(context, daemon)
            addresses = {
                "missions": "#/missions?sort=entries",
                "compare": f"#/compare?baseline={baseline}&candidate={candidate}",
                "mission": f"#/mission/{candidate}?step=11",
            }
            for name, address in addresses.items():
                page = context.new_page()
                page.goto(f"{daemon.url}/{address}")
                page.wait_for_load_state("networkidle")
                page.evaluate("document.activeElement.blur()")
                place = PICTURES / f"{name}.png"
                take(page, place)
                place.write_bytes(with_few_colours(page, place.read_bytes()))
                size = place.stat().st_size
                assert size <= MOST_BYTES, f"{name}: {size:,} bytes are too many for a README"


if __name__ == "__main__":
    if sys.argv[1] == "--readme":
        main_of_readme()
    else:
        main(Path(sys.argv[1]))
