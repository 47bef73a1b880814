"""`quartermaster run`: what an agent does is one mission, and the agent notices nothing of it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from running import PROGRAM

from quartermaster.cli.local import open_local
from quartermaster.config import load_settings

pytest.importorskip("opentelemetry.sdk")

AGENT = """
import json, sys, urllib.request
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("agent")
for session in ("first", "second"):
    talk = {"gen_ai.conversation.id": session}
    with tracer.start_as_current_span("invoke_agent keeper", attributes={
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "keeper", **talk
    }):
        with tracer.start_as_current_span("chat", attributes={
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", **talk
        }) as span:
            body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": session}]})
            asked = urllib.request.Request(sys.argv[1], body.encode(), {"Content-Type": "application/json"})
            answer = json.load(urllib.request.urlopen(asked, timeout=10))
            span.set_attribute("gen_ai.response.model", answer["model"])
            span.set_attribute("gen_ai.usage.input_tokens", answer["usage"]["prompt_tokens"])
            span.set_attribute("gen_ai.usage.output_tokens", answer["usage"]["completion_tokens"])
        with tracer.start_as_current_span("execute_tool lamp", attributes={
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lamp", **talk
        }):
            pass
provider.shutdown()
print(answer["choices"][0]["message"]["content"])
"""

SESSION = """
folder="$SESSIONS/-home-ada-ferry"
mkdir -p "$folder"
cp "$SAMPLE" "$folder/d93ca705-10ed-d80c-63d1-e4da7859aba1.jsonl"
"""


class Model(BaseHTTPRequestHandler):
    """Answers like a server of chat completions."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = {"role": "assistant", "content": f"done: {asked['messages'][-1]['content']}"}
        answer = {
            "object": "chat.completion",
            "model": asked["model"],
            "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def model() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
        server.shutdown()


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where agents of these tests keep their sessions, and no others."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "codex"))
    return tmp_path / "claude" / "projects"


def missions(home: Path) -> dict[str, Any]:
    """Every mission of a home with all that is known of it, by id."""
    target = open_local(
        load_settings(home=home, flags={}, environment={}, directory=home), None, create=False
    )
    try:
        return {row["mission_id"]: target.mission(row["mission_id"]) for row in target.missions({}, 100)}
    finally:
        target.close()


def only(home: Path) -> dict[str, Any]:
    (found,) = missions(home).values()
    return found


def check_lamp(found: dict[str, Any], ran: "subprocess.CompletedProcess[str]") -> None:
    assert (ran.returncode, ran.stdout) == (0, "done: second\n"), ran.stderr
    assert ran.stderr == f"quartermaster: recorded as {found['mission_id']} (succeeded)\n"
    known = {key: found[key] for key in ("task", "variant", "trial", "outcome", "agent", "model", "commit")}
    assert known == {
        "task": "lamp",
        "variant": "v2",
        "trial": 3,
        "outcome": "succeeded",
        "agent": "keeper",
        "model": "gpt-4o-mini",
        "commit": None,
    }
    assert (found["model_calls"], found["total_tokens"], found["labels"]) == (2, 84, {"team": "coast"})


LAMP = ("run", "--task", "lamp", "--variant", "v2", "--trial", "3", "--label", "team=coast")


def test_an_instrumented_program_is_one_mission_whatever_sessions_it_begins(
    quartermaster, home: Path, sessions: Path, model: str, tmp_path: Path
):
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    ran = quartermaster(*LAMP, "--", sys.executable, agent, model)
    check_lamp(only(home), ran)


def test_with_a_daemon_its_own_door_is_used(
    quartermaster, home: Path, start_daemon, sessions: Path, model: str, tmp_path: Path
):
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    daemon = start_daemon()
    beside = quartermaster(*LAMP, "--", sys.executable, agent, model)
    (first,) = missions(home)
    away = quartermaster(
        *(*LAMP, "--url", daemon.url, "--token", daemon.token, "--", sys.executable, agent, model)
    )
    found = missions(home)
    check_lamp(found.pop(first), beside)
    check_lamp(*found.values(), away)
    assert daemon.text("/metrics").count('format="otlp",result="accepted"') == 1


def test_a_session_that_an_agent_writes_is_the_mission_of_its_run(
    quartermaster, home: Path, sessions: Path, samples: Path, tmp_path: Path
):
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@localhost"]
    (tmp_path / "prompt.txt").write_text("one")
    for arguments in (["init", "-q"], ["add", "prompt.txt"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    (tmp_path / "prompt.txt").write_text("two")
    sample = samples / "claude_code" / "ferry_backup_json.jsonl"
    old = sessions / "old"
    old.mkdir(parents=True)
    (old / "old.jsonl").write_bytes(sample.read_bytes().replace(b"d93ca705", b"00000000"))

    ran = quartermaster(
        *("run", "--task", "backup", "--variant", "main", "--", "sh", "-c", SESSION),
        SESSIONS=str(sessions),
        SAMPLE=str(sample),
    )
    assert ran.returncode == 0, ran.stderr
    found = only(home)
    assert found["mission_id"].startswith("run_")
    assert (found["variant"], found["outcome"], found["agent"]) == ("main", "succeeded", "claude-code")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (found["commit"], found["labels"]["dirty"]) == (head.stdout.strip(), True)

    assert quartermaster("ingest", sample, "--home", tmp_path / "alone").returncode == 0
    itself = only(tmp_path / "alone")
    for same in ("model_calls", "total_tokens", "signatures", "title"):
        assert found[same] == itself[same]


def test_sessions_that_another_one_started_hang_below_the_mission(
    quartermaster, home: Path, sessions: Path, tmp_path: Path
):
    def line(entry_type: str, mission: str, **payload: object) -> str:
        return json.dumps(
            {
                "id": None,
                "mission_id": mission,
                "ts": "2027-03-01T08:00:00Z",
                "entry_type": entry_type,
                "payload": payload,
            }
        )

    told = tmp_path / "told.jsonl"
    told.write_text(
        "\n".join(
            [
                line("mission.created", "main", task="other"),
                line("exec.command", "main", command="ls", exit_code=0),
                line("mission.created", "helper", parent_mission_id="main"),
                line("exec.command", "helper", command="cat", exit_code=0),
            ]
        )
    )
    drawer = tmp_path / "drawer"
    drawer.mkdir()
    ran = quartermaster(
        *("run", "--task", "t", "--variant", "v", "--sessions", drawer, "--", "cp", told, drawer)
    )
    assert ran.returncode == 0, ran.stderr
    rows = missions(home)
    (run,) = (name for name in rows if "." not in name)
    assert set(rows) == {run, f"{run}.helper"}
    assert rows[run]["task"] == "t"
    assert rows[f"{run}.helper"]["parent_mission_id"] == run
    assert [rows[name]["steps"] for name in (run, f"{run}.helper")] == [1, 1]


def test_the_command_gets_stdin_and_its_exit_code_goes_through(home: Path, sessions: Path):
    command = [*PROGRAM, "run", "--home", str(home), "--task", "t", "--variant", "v", "--"]
    script = "tr a-z A-Z; echo wrong >&2; exit 7"
    ran = subprocess.run(
        [*command, "sh", "-c", script],
        check=False,
        input="lamp\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (7, "LAMP\n")
    assert ran.stderr.startswith("wrong\n")
    assert only(home)["outcome"] == "failed"


def test_a_fault_of_the_recording_costs_the_command_nothing(quartermaster, sessions: Path, tmp_path: Path):
    about = ("run", "--task", "t", "--variant", "v")
    far = quartermaster(*about, "--url", "http://127.0.0.1:9", "--", "sh", "-c", "echo out; exit 3")
    assert (far.returncode, far.stdout) == (3, "out\n")
    assert "no daemon answers" in far.stderr
    file = tmp_path / "file"
    file.write_text("")
    homeless = quartermaster(*about, "--home", file, "--", "echo", "out")
    assert (homeless.returncode, homeless.stdout) == (0, "out\n")
    assert "not fully recorded" in homeless.stderr


def test_a_command_that_does_not_exist_is_told_as_a_shell_tells_it(quartermaster, sessions: Path):
    ran = quartermaster("run", "--task", "t", "--variant", "v", "--", "no-such-agent-here")
    assert ran.returncode == 127
    assert "there is no command 'no-such-agent-here'" in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
def test_signals_reach_the_command_and_the_mission_is_aborted(
    number: signal.Signals, home: Path, sessions: Path, tmp_path: Path
):
    started = tmp_path / "started"
    script = (
        f"import signal, time; signal.signal(2, signal.SIG_DFL); open({str(started)!r}, 'w'); time.sleep(60)"
    )
    process = subprocess.Popen(
        [
            *PROGRAM,
            "run",
            "--home",
            home,
            "--task",
            "t",
            "--variant",
            "v",
            "--",
            sys.executable,
            "-c",
            script,
        ],
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert only(home)["outcome"] == "aborted"
