"""A real daemon with missions to look at, and Debian's Chromium in front of it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import Daemon, run_command
from web.long_mission import long_mission

SAMPLES = Path(__file__).resolve().parents[2] / "data/samples"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOW_TO_RUN = "apt-get install -y chromium && pip install playwright"
LONG = "long-mission"
LONG_STEPS = 100_000

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-lcd-text",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
)

HOSTILE = (
    "<script>window.pwned=1</script>",
    "<ScRiPt>window.pwned=1</sCrIpT>",
    "<script src=data:text/javascript,window.pwned=1></script>",
    "<script type=module>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "</title><script>window.pwned=1</script>",
    "</textarea><script>window.pwned=1</script>",
    "</style><script>window.pwned=1</script>",
    "--><script>window.pwned=1</script>",
    "]]><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<img src=x onerror='window.pwned=1'>",
    '<img src="x" onerror="window.pwned=1">',
    "<img/src=x/onerror=window.pwned=1>",
    "<img src=x:x onerror=window.pwned=1//",
    "<img srcset=x onerror=window.pwned=1>",
    "<image href=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "<svg/onload=window.pwned=1>",
    "<svg><script>window.pwned=1</script></svg>",
    "<svg><animate onbegin=window.pwned=1 attributeName=x dur=1s>",
    "<svg><set onbegin=window.pwned=1 attributeName=x>",
    "<svg><a xlink:href='javascript:window.pwned=1'><text>x</text></a></svg>",
    "<svg><foreignObject><img src=x onerror=window.pwned=1></foreignObject></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=1>",
    "<math href=javascript:window.pwned=1>x</math>",
    "<body onload=window.pwned=1>",
    "<body onpageshow=window.pwned=1>",
    "<iframe src=javascript:window.pwned=1>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "<iframe onload=window.pwned=1>",
    "<object data=javascript:window.pwned=1>",
    "<object data='data:text/html,<script>parent.pwned=1</script>'>",
    "<embed src=javascript:window.pwned=1>",
    "<embed code=javascript:window.pwned=1>",
    "<a href=javascript:window.pwned=1>x</a>",
    "<a href='java\tscript:window.pwned=1'>x</a>",
    "<a href='data:text/html,<script>opener.pwned=1</script>'>x</a>",
    "<form action=javascript:window.pwned=1><button>x",
    "<button formaction=javascript:window.pwned=1>x",
    "<input autofocus onfocus=window.pwned=1>",
    "<select autofocus onfocus=window.pwned=1>",
    "<textarea autofocus onfocus=window.pwned=1>",
    "<details open ontoggle=window.pwned=1>",
    "<video><source onerror=window.pwned=1></video>",
    "<audio src=x onerror=window.pwned=1>",
    "<marquee onstart=window.pwned=1>",
    "<style>@import 'javascript:window.pwned=1';</style>",
    "<style>*{background:url(javascript:window.pwned=1)}</style>",
    "<link rel=stylesheet href=javascript:window.pwned=1>",
    "<meta http-equiv=refresh content='0;url=javascript:window.pwned=1'>",
    "<base href=javascript:window.pwned=1//>",
    "<noscript><p title='</noscript><img src=x onerror=window.pwned=1>'>",
    "<template><script>window.pwned=1</script></template>",
    "<xss onclick=window.pwned=1 tabindex=1 autofocus onfocus=window.pwned=1>",
    '" autofocus onfocus=window.pwned=1 x="',
    "' onmouseover=window.pwned=1 x='",
    "javascript:window.pwned=1",
    "${window.pwned=1}{{constructor.constructor('window.pwned=1')()}}",
    "\u202e<b>evil\u0000\u001b[31m\u200b</b>![x](http://evil.example/x.png)",
)


def hostile_lines() -> Iterator[bytes]:
    """A mission for each text with the text in every field, and all of them as steps of one more."""
    for number, text in enumerate(HOSTILE):
        mission = f"hostile-{number}"
        facts = dict.fromkeys(("title", "task", "variant", "agent", "model", "version", "commit"), text)
        yield _entry(mission, 0, "mission.created", facts | {"labels": {text: text}})
        command = {"command": text, "arguments": {text: text}, "output": text, "error": text, "agent": text}
        yield _entry(mission, 1, "exec.command", command, summary=text, actor_id=text, id=f"{number} {text}")
        yield _entry(mission, 2, f"note.{text}", {"text": text}, summary=text, agent_id=text)
        yield _entry(mission, 3, "mission.outcome", {"outcome": "failed", "origin": text})
        yield _entry("hostile-all", number, "exec.command", command, summary=text, actor_id=text)


def _entry(mission: str, second: int, entry_type: str, payload: dict[str, Any], **more: str) -> bytes:
    ts = f"2026-02-01T00:00:{second:02}Z"
    entry = {"mission_id": mission, "ts": ts, "entry_type": entry_type, "payload": payload, **more}
    return json.dumps(entry).encode() + b"\n"


def furnish(home: Path, *, long: bool = False) -> None:
    """Missions of the samples, hostile ones and, where asked for, a long one."""
    recordings = home.with_name(home.name + "-recordings")
    recordings.mkdir(parents=True)
    (recordings / "<img src=x onerror=window.pwned=1>.ndjson").write_bytes(b"".join(hostile_lines()))
    if long:
        (recordings / "long.ndjson").write_bytes(b"".join(long_mission(LONG, LONG_STEPS)))
    for place in (recordings, SAMPLES):
        ended = run_command(home, "ingest", place, seconds=120)
        assert ended.returncode == 0, ended.stderr


def token_of(home: Path, user: str, role: str, *, workspace: str = "local") -> str:
    """A token of a user who is made a member of the workspace."""
    added = run_command(home, "member", "add", user, "--workspace", workspace, "--role", role)
    assert added.returncode == 0, added.stderr
    return run_command(home, "token", "create", "--user", user).stdout.strip()


def needed() -> None:
    """Skip where there is no browser, with the command that would change that."""
    reason = f"the page is looked at in Chromium; to run this: {HOW_TO_RUN}"
    pytest.importorskip("playwright.sync_api", reason=reason)
    if CHROMIUM is None:
        pytest.skip(reason)


def expect(thing: Any) -> Any:
    """Playwright's own, imported once it is there: waits until something holds of the page."""
    from playwright.sync_api import expect as expecting

    return expecting(thing)


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; every page of it is one's own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def sign_in(context: Any, daemon: Daemon, token: str | None = None) -> None:
    """A session cookie for every page of the context."""
    headers = {"Authorization": f"Bearer {token or daemon.token}", "Content-Type": "application/json"}
    answer = context.request.post(f"{daemon.url}/api/v1/session", headers=headers, data="{}")
    assert answer.status == 201, answer.text()
