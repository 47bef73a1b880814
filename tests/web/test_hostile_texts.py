"""Texts that would do harm as markup, in every field of every format and of the page: only texts."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from running import Daemon, run_command
from web.browser import HOSTILE, SAMPLES, expect, hostile_lines, needed
from web.evaluations import queue
from web.planting import planted

from quartermaster.adapters import adapters

Open = Callable[..., Any]
FORMATS = [adapter.name for adapter in adapters()]
TABS = ("findings", "metrics", "origin")
NOTHING_BUILT = """() => ({
  elements: document.querySelectorAll(`img, iframe, object, embed, video, audio, base, math, marquee, style,
    template, meta[http-equiv], script:not([src]), svg script, animate, set, foreignObject, image`).length,
  handlers: [...document.querySelectorAll("*")].flatMap((one) => one.getAttributeNames())
    .filter((name) => name.startsWith("on") || name === "srcdoc" || name === "formaction").length,
  links: [...document.querySelectorAll("[href], [action]")]
    .map((one) => one.getAttribute("href") ?? one.action)
    .filter((to) => /^\\s*(javascript|data):/i.test(to)).length,
  done: window.pwned ?? 0,
})"""
NOTHING = {"elements": 0, "handlers": 0, "links": 0, "done": 0}


def seen(text: str) -> str:
    """As people see it: signs that cannot be seen are told as escapes."""
    return "".join(f"\\u{ord(sign):04x}" if sign in "\u202e\u0000\u001b\u200b" else sign for sign in text)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A home whose every recording is hostile: samples of all formats, and a mission for each text."""
    needed()
    folder = tmp_path_factory.mktemp("hostile")
    for sample in sorted(SAMPLES.glob("*/*")):
        place = folder / "recordings" / sample.parent.name / sample.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(planted(sample, HOSTILE)[0])
    (folder / "recordings" / f"{HOSTILE[11].replace('/', ' ')}.ndjson").write_bytes(b"".join(hostile_lines()))
    ended = run_command(folder / "home", "ingest", folder / "recordings", seconds=120)
    assert ended.returncode == 0, ended.stderr
    with Daemon.start(folder / "home") as started:
        yield started


def shown(page: Any, address: str) -> None:
    """Go to an address of the page that is open, and wait until it is there."""
    page.evaluate("to => { document.querySelector('h1')?.remove(); location.hash = to; }", address)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)


def test_there_are_sixty_texts_and_every_format_takes_some() -> None:
    assert len(set(HOSTILE)) == 60
    taken: dict[str, int] = dict.fromkeys(FORMATS, 0)
    for sample in sorted(SAMPLES.glob("*/*")):
        data, fields = planted(sample, HOSTILE)
        assert not fields or data != sample.read_bytes()
        taken[sample.parent.name] += len(fields)
    assert {name for name, many in taken.items() if many < 4} == set()


def test_each_of_the_sixty_texts_is_the_title_of_a_mission_and_its_first_step(open_page: Open) -> None:
    page = open_page("#/missions")
    expect(page.locator("qm-list .row").first).to_be_visible()
    for number, text in enumerate(HOSTILE):
        shown(page, f"#/mission/hostile-{number}?step=1")
        expect(page.locator("h1")).to_have_text(seen(text))
        expect(page.locator(".panel pre").first).to_have_text(seen(text))
    assert page.evaluate(NOTHING_BUILT) == NOTHING


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_that_is_hostile_everywhere_is_only_text(
    daemon: Daemon, open_page: Open, name: str
) -> None:
    page = open_page("#/missions")
    mission = daemon.get(f"/api/v1/missions?format={name}&limit=1")["rows"][0]["mission_id"]
    address = page.evaluate("id => `#/mission/${encodeURIComponent(id)}`", mission)
    for query in ("?step=1", "?step=3", *(f"?tab={tab}" for tab in TABS)):
        shown(page, address + query)
        expect(page.locator(".panel > *").first).to_be_visible()
        assert page.evaluate(NOTHING_BUILT) == NOTHING, query


@pytest.mark.parametrize(
    "address",
    [
        "#/missions",
        "#/compare?baseline=hostile-1&candidate=hostile-12",
        "#/compare?baseline=hostile-all&candidate=hostile-40",
        "#/runs",
        "#/trends",
        "#/baselines",
        "#/sources",
        "#/missions?q=%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E",
        "#/mission/%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E",
        "#/%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E",
        "#/missions?workspace=%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E",
    ],
)
def test_views_of_hostile_missions_and_hostile_addresses_are_only_text(open_page: Open, address: str) -> None:
    page = open_page(address)
    expect(page.locator("h1, .failure h2").first).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)
    page.wait_for_timeout(200)
    assert page.evaluate(NOTHING_BUILT) == NOTHING
    page.complaints[:] = [one for one in page.complaints if "404" not in one]


def test_reports_about_hostile_missions_are_only_text(daemon: Daemon, open_page: Open) -> None:
    pair = {"baseline_mission_id": "hostile-all", "candidate_mission_id": "hostile-7"}
    sets = {"baseline": {"q": "hostile-1"}, "candidate": {"q": "hostile-2"}}
    bodies = {"replay": {"mission_id": "hostile-all"}, "regression": pair, "comparisons": sets}
    runs = [queue(daemon, kind, body) for kind, body in bodies.items()]
    page = open_page("#/runs")
    for run_id in runs:
        assert daemon.wait_for_run(run_id, seconds=60)["status"] == "completed"
        shown(page, f"#/runs/{run_id}")
        expect(page.get_by_text("What this rests on")).to_be_visible()
    assert page.evaluate(NOTHING_BUILT) == NOTHING


def test_what_people_type_is_only_text_too(daemon: Daemon, open_page: Open) -> None:
    names = [text for text in HOSTILE if text.isprintable()]
    assert len(names) > 50
    for number, text in enumerate(names):
        member = {"user_id": text, "role": "VIEWER"}
        assert daemon.request("POST", "/api/v1/members", member).status == 201, text
        if number % 10 == 0:
            assert daemon.request("POST", "/api/v1/tokens", {"user_id": text}).status == 201
            rule = {
                "name": text,
                "trigger": {"on": "change_point", "task": text},
                "url": "https://hooks.example.com/",
            }
            assert daemon.request("POST", "/api/v1/alerts/rules", rule).status == 201
    frozen = {"name": "hostile", "missions": ["hostile-3"], "reason": HOSTILE[10]}
    assert daemon.request("POST", "/api/v1/baselines", frozen).status == 201
    page = open_page("#/settings")
    members = page.get_by_role("region", name="Members", exact=True)
    expect(members.locator("tbody tr")).to_have_count(len(names) + 1)
    expect(members).to_contain_text(names[7])
    assert page.evaluate(NOTHING_BUILT) == NOTHING
    shown(page, "#/baselines/hostile")
    expect(page.locator("main")).to_contain_text(HOSTILE[10])
    assert page.evaluate(NOTHING_BUILT) == NOTHING


def test_a_file_with_a_hostile_name_is_only_text(daemon: Daemon, open_page: Open) -> None:
    sources = daemon.get("/api/v1/sources?q=onerror")["rows"]
    page = open_page("#/sources?q=onerror")
    name = page.get_by_role("link", name=sources[0]["name"])
    expect(name).to_be_visible()
    name.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(sources[0]["name"])
    assert page.evaluate(NOTHING_BUILT) == NOTHING
