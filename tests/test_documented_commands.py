"""Every block of the README runs as it stands: here, or in the test that this file names for it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from quartermaster.config import load_settings, own_prices

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
HERE = "tests/test_documented_commands.py::"
PLUGIN = "tests/test_pytest_plugin.py::"
COMPARISON = "tests/test_worked_comparison.py::"
CI = "tests/reports/test_in_ci.py::"


class Block(NamedTuple):
    """A fenced block: below which heading, in which language, the how-manieth of that language there."""

    heading: str
    language: str
    number: int


def _blocks() -> Iterator[tuple[Block, str]]:
    heading, inside, seen = "", None, {}
    lines: list[str] = []
    for line in README.splitlines():
        if line.startswith("```"):
            if inside is None:
                inside, lines = line[3:], []
                continue
            number = seen[heading, inside] = seen.get((heading, inside), -1) + 1
            yield Block(heading, inside, number), "\n".join(lines) + "\n"
            inside = None
        elif inside is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("#").strip()


BLOCKS = dict(_blocks())

RUN_BY = {
    Block("Start", "sh", 0): "tests/test_documentation.py::"
    "test_the_set_up_lines_of_the_readme_are_those_that_ci_runs",
    Block("Start", "sh", 1): "tests/test_documentation.py::"
    "test_the_set_up_lines_of_the_readme_are_those_that_ci_runs",
    Block("Start", "text", 0): "tests/test_documentation.py::test_the_transcript_is_what_the_demo_prints",
    Block("Start", "sh", 2): HERE + "test_the_first_commands_on_recordings_of_ones_own_run",
    Block("What it reads", "sh", 0): HERE + "test_results_of_a_test_program_are_compared",
    Block("A worked comparison", "sh", 0): COMPARISON
    + "test_the_worked_comparison_is_what_the_command_prints",
    Block("A worked comparison", "markdown", 0): COMPARISON
    + "test_the_worked_comparison_is_what_the_command_prints",
    Block("A worked comparison", "markdown", 1): COMPARISON
    + "test_the_comparison_without_a_verdict_is_what_the_command_prints",
    Block("From Python and pytest", "python", 0): PLUGIN + "test_the_example_of_the_readme_runs",
    Block("From Python and pytest", "python", 1): PLUGIN + "test_the_test_of_the_readme_runs",
    Block("From Python and pytest", "sh", 0): HERE + "test_the_lines_for_pytest_run",
    Block("From other agents", "json", 0): HERE + "test_the_configuration_for_agents_starts_a_server",
    Block("HTTP API by example", "sh", 0): HERE + "test_every_request_of_the_api_by_example_is_answered",
    Block("Command line", "sh", 0): HERE + "test_the_lines_for_shells_set_completion_up",
    Block("Recording a run", "sh", 0): HERE + "test_the_command_that_records_runs",
    Block("Alerts", "sh", 0): HERE + "test_the_commands_for_alerts_run",
    Block("Alerts", "python", 0): "tests/test_alerts.py::is_from_quartermaster",
    Block("Many recordings at once", "sh", 0): HERE + "test_the_command_for_many_recordings_runs",
    Block("Operations", "sh", 0): HERE + "test_the_commands_of_operators_run",
    Block("SQL", "sh", 0): HERE + "test_the_queries_run",
    Block("In CI", "toml", 0): CI + "test_the_policy_of_the_readme_is_one",
    Block("In CI", "yaml", 0): CI + "test_the_steps_for_github_install_compare_and_keep_one_comment",
    Block("In CI", "yaml", 1): CI + "test_the_steps_for_gitlab_install_and_compare",
    Block("Settings", "toml", 0): HERE + "test_the_settings_are_taken",
    Block("Settings", "toml", 1): HERE + "test_the_prices_are_taken",
}

NOT_RUN = {
    "pip install": "a package registry is not here; the set-up lines install with pip",
    "quartermaster batch s3://": "a bucket and a cluster are not here; tests/batch runs real ones",
}
"""Lines that are left out by how they begin, and why."""


def test_every_block_of_the_readme_is_run_by_a_test_that_exists():
    missing = [block for block in BLOCKS if block not in RUN_BY]
    assert not missing, f"no test runs {missing}; run them in {HERE[:-2]} and enter them in RUN_BY"
    assert [block for block in RUN_BY if block not in BLOCKS] == []
    for block, test in RUN_BY.items():
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text()
        assert f"def {name}(" in text or name in text, f"{block}: there is no {test}"


def test_every_line_that_is_left_out_is_there():
    lines = [line for text in BLOCKS.values() for line in text.splitlines()]
    for beginning in NOT_RUN:
        assert any(line.startswith(beginning) for line in lines), beginning


QUARTERMASTER = f"""#!/usr/bin/env bash
run() {{ '{sys.executable}' -m quartermaster "$@"; }}
if [[ "$1" != serve ]]; then run "$@"; exit; fi
'{sys.executable}' -m quartermaster "$@" 2>served & daemon=$!
for _ in {{1..300}}; do [[ -e $QUARTERMASTER_HOME/address ]] && break; sleep 0.1; done
kill -TERM $daemon; wait $daemon
"""
"""The program; a daemon is stopped as soon as it is ready, since the lines of a block come one by one."""


class Shell:
    """A folder to run blocks in, with programs of its own and a home that its user's paths lead to."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder / "work"
        self.user = folder / "user"
        self.home = home
        self.programs = folder / "programs"
        for made in (self.folder, self.user / ".local" / "share", self.programs):
            made.mkdir(parents=True)
        (self.user / ".local" / "share" / "quartermaster").symlink_to(home)
        self.program("quartermaster", QUARTERMASTER)

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def run(self, text: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Runs a block; `failed` holds one line for each command that did not end with 0."""
        lines = [line for line in text.splitlines(keepends=True) if not line.startswith(tuple(NOT_RUN))]
        failed = self.folder.with_name("failed")
        failed.write_text("")
        done = subprocess.run(
            ["bash", "-uc", f'trap \'echo "$? $BASH_COMMAND" >>"$FAILED"\' ERR\n{"".join(lines)}'],
            check=False,
            capture_output=True,
            text=True,
            timeout=110,
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "HOME": str(self.user),
                "XDG_CONFIG_HOME": str(self.user / ".config"),
                "QUARTERMASTER_HOME": str(self.home),
                "QUARTERMASTER_PORT": "0",
                "QUARTERMASTER_STORAGE_BALLAST_BYTES": "0",
                "FAILED": str(failed),
                **environment,
            },
        )
        self.failed = failed.read_text().splitlines()
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def shell(tmp_path: Path, home: Path) -> Shell:
    return Shell(tmp_path, home)


def test_the_first_commands_on_recordings_of_ones_own_run(shell: Shell, samples: Path):
    for name in ("claude_code", "native"):
        shutil.copytree(samples / name, shell.user / ".claude" / "projects" / name)
    text = BLOCKS[Block("Start", "sh", 2)]
    sides = {"BASELINE": "demo-login-fix-baseline", "CANDIDATE": "demo-login-fix-candidate"}
    for word, mission in sides.items():
        assert f" {word} " in text
        text = text.replace(f" {word} ", f" {mission} ")
    done = shell.run(text)
    assert [line.split()[:3] for line in shell.failed] == [["1", "quartermaster", "eval"]], done.stderr
    assert "hallucinations rose from 0 to 1" in done.stdout


def test_results_of_a_test_program_are_compared(shell: Shell, samples: Path):
    (results,) = (samples / "promptfoo").glob("*.json")
    shell.program("promptfoo", f"#!/bin/sh\ncp '{results}' candidate.json\n")
    shutil.copy(results, shell.folder / "baseline.json")
    told = json.loads(results.read_text())
    both = [
        {**one, "id": f"{one['id']}-{variant}", "provider": {"id": variant, "label": variant}}
        for variant in ("gpt-4.1", "gpt-5-mini")
        for one in told["results"]["results"]
    ]
    told["results"]["results"] = both
    (shell.folder / "both.json").write_text(json.dumps(told))
    done = shell.run(BLOCKS[Block("What it reads", "sh", 0)])
    assert shell.failed == [], done.stderr
    assert (shell.folder / "comment.md").read_text().startswith("<!-- quartermaster-report -->")


def test_the_lines_for_pytest_run(shell: Shell):
    plugins = "-p quartermaster.pytest_plugin -p xdist -p no:cacheprovider"
    shell.program("pytest", f"#!/bin/sh\nexec '{sys.executable}' -m pytest {plugins} \"$@\"\n")
    (shell.folder / "test_book.py").write_text(BLOCKS[Block("From Python and pytest", "python", 1)])
    (shell.folder / "my_agent.py").write_text(
        "class Answer:\n    tokens, cost, found = 120, 0.01, 'a book'\n\n\ndef ask(_):\n    return Answer()\n"
    )
    done = shell.run(BLOCKS[Block("From Python and pytest", "sh", 0)], PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert shell.failed == [], done.stdout
    assert done.stdout.count("5 passed") == 2
    assert (shell.folder / "report.md").is_file()


def test_the_configuration_for_agents_starts_a_server(shell: Shell, samples: Path):
    pytest.importorskip("mcp")
    shell.run(f"quartermaster ingest '{samples / 'native'}'")
    configuration = json.loads(BLOCKS[Block("From other agents", "json", 0)])
    server = configuration["mcpServers"]["quartermaster"]
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
    done = shell.run(f"{server['command']} {' '.join(server['args'])} <<'E'\n{json.dumps(asked)}\nE\n")
    assert shell.failed == [], done.stderr
    assert json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "quartermaster"


INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}

CURL = f"""#!{sys.executable}
import os, pathlib, re, subprocess, sys

talk = pathlib.Path("talk")
seen = talk.read_text() if talk.exists() else ""
examples = {{
    "er_0123456789abcdef": r"er_[0-9a-f]{{16}}",
    "src_0123456789abcdef": r"src_[0-9a-f]{{16}}",
    "al_0123456789abcdef": r"al_[0-9a-f]{{16}}",
    "tokens/0123456789ab": r'"token_id":"([\\w-]+)',
}}
arguments = sys.argv[1:]
for example, form in examples.items():
    if any(example in one for one in arguments):
        real = re.findall(form, seen)[-1]
        arguments = [one.replace(example.rpartition("/")[2], real) for one in arguments]
ends = ["--max-time", "3"] if arguments[-1].endswith("/stream") else ["--max-time", "60"]
command = [os.environ["CURL"], "-D", "headers", *arguments, *ends]
done = subprocess.run(command, stdout=subprocess.PIPE)
status = int(pathlib.Path("headers").read_text().split()[1])
with talk.open("a") as file:
    file.write(done.stdout.decode() + "\\n")
with open("answers", "a") as file:
    url = next(one for one in arguments if one.startswith("http"))
    file.write(f"{{status}} {{url}}\\n")
sys.stdout.buffer.write(done.stdout)
"""
"""The real curl; an id that stands for one is replaced by the last one of its kind that was told."""


def test_every_request_of_the_api_by_example_is_answered(shell: Shell, start_daemon, samples: Path):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    daemon = start_daemon()
    native = b"".join(path.read_bytes() for path in sorted((samples / "native").glob("*.ndjson")))
    lines = native + b"".join(json.dumps(entry).encode() + b"\n" for entry in variants())
    sent = daemon.request("POST", "/api/v1/journal", lines, {"Content-Type": "application/x-ndjson"})
    assert sent.status == 200, sent.json
    (shell.home / "inbox" / "local" / "notes.txt").write_text("of no format that is known\n")
    daemon.wait_for(lambda: daemon.get("/api/v1/sources?state=unrecognised")["rows"], 30)
    text = BLOCKS[Block("HTTP API by example", "sh", 0)]
    assert "http://127.0.0.1:7117" in text
    text = text.replace("http://127.0.0.1:7117", daemon.url)
    shell.program("curl", CURL)
    done = shell.run(text, CURL=curl)
    assert done.returncode == 0, done.stderr
    answers = [line.split() for line in (shell.folder / "answers").read_text().splitlines()]
    assert len(answers) == text.count("curl ")
    bad = [(code, url) for code, url in answers if not code.startswith("2")]
    assert bad == [], (shell.folder / "talk").read_text()[-3000:]


def variants() -> Iterator[dict[str, object]]:
    for variant in ("v1", "v2"):
        for number, entry_type in enumerate(("mission.created", "mission.outcome")):
            payload = {"task": "t", "variant": variant} if number == 0 else {"outcome": "succeeded"}
            ts = f"2027-01-31T09:00:0{number}Z"
            yield {"mission_id": f"of-{variant}", "ts": ts, "entry_type": entry_type, "payload": payload}


def test_the_lines_for_shells_set_completion_up(shell: Shell):
    bash, fish = BLOCKS[Block("Command line", "sh", 0)].splitlines()
    done = shell.run(f"{bash}\ncomplete -p quartermaster\n")
    assert (shell.failed, done.stdout.split()[-1]) == ([], "quartermaster")
    assert fish.startswith("quartermaster completion fish | source")
    if shutil.which("fish"):
        done = shell.run(f"fish --no-config -c '{fish}; complete -C \"quartermaster miss\"'")
        assert "missions" in done.stdout


def test_the_command_that_records_runs(shell: Shell):
    (shell.folder / "agent.sh").write_text("#!/bin/sh\necho done\n")
    (shell.folder / "agent.sh").chmod(0o755)
    done = shell.run(BLOCKS[Block("Recording a run", "sh", 0)] + "quartermaster missions --format json\n")
    assert shell.failed == [], done.stderr
    (mission,) = json.loads(done.stdout.splitlines()[-1])
    assert (mission["task"], mission["variant"], mission["trial"]) == ("fix-login", "main", 1)
    assert mission["outcome"] == "succeeded"


def test_the_commands_for_alerts_run(shell: Shell):
    shell.run("quartermaster workspace list")
    pager = "/usr/local/bin/page-us"
    shell.program("page-us", "#!/bin/sh\n")
    text = BLOCKS[Block("Alerts", "sh", 0)].replace(pager, f"{shell.programs / 'page-us'}")
    done = shell.run(f"{text}\nquartermaster alert list --format json\n")
    assert shell.failed == [], done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])) == 3


def test_the_command_for_many_recordings_runs(shell: Shell, samples: Path):
    pytest.importorskip("pyarrow")
    shutil.copytree(samples / "native", shell.folder / "runs")
    (shell.folder / "more").mkdir()
    shutil.copy(next((samples / "claude_code").glob("*.jsonl")), shell.folder / "more")
    shutil.make_archive(str(shell.folder / "old"), "gztar", samples / "codex_cli")
    done = shell.run(BLOCKS[Block("Many recordings at once", "sh", 0)])
    assert shell.failed == [], done.stderr
    assert (shell.folder / "tables" / "missions.parquet").is_file()


def test_the_commands_of_operators_run(shell: Shell, samples: Path):
    shell.run(f"quartermaster ingest '{samples / 'native'}'")
    done = shell.run(BLOCKS[Block("Operations", "sh", 0)] + "quartermaster missions --format json\n")
    assert [line for line in shell.failed if "doctor" not in line] == [], done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])) == 2
    assert (shell.user / ".config" / "systemd" / "user" / "quartermaster.service").is_file()
    assert list(shell.home.glob("quartermaster.db*before*")) or "kept as" in done.stderr


def test_the_queries_run(shell: Shell, samples: Path):
    if shutil.which("sqlite3") is None:
        pytest.skip("the shell of SQLite is not installed")
    pytest.importorskip("datasette")
    ask = "--get '/quartermaster/missions.json?_shape=array'"
    shell.program("datasette", f"#!/bin/sh\nexec '{sys.executable}' -m datasette \"$@\" {ask}\n")
    shell.run(f"quartermaster ingest '{samples / 'native'}'")
    done = shell.run(f"cd '{shell.home}'\n" + BLOCKS[Block("SQL", "sh", 0)])
    assert shell.failed == [], done.stderr
    assert len(json.loads(done.stdout[done.stdout.index("[{") :])) == 2
    assert done.stdout.splitlines()[0].count("|") == 2


def test_the_settings_are_taken(tmp_path: Path):
    text = BLOCKS[Block("Settings", "toml", 0)]
    (tmp_path / "config.toml").write_text(text)
    settings = load_settings(home=tmp_path, flags={}, environment={}, directory=tmp_path)
    shown = tomllib.loads(text)
    assert settings.port == shown["port"]
    assert settings.eval_deadline_seconds == shown["eval"]["deadline_seconds"]
    assert settings.inbox[0].workspace == shown["inbox"][0]["workspace"]


def test_the_prices_are_taken(tmp_path: Path):
    (tmp_path / "prices.toml").write_text(BLOCKS[Block("Settings", "toml", 1)])
    (tmp_path / "config.toml").write_text('[eval]\nprice_file = "prices.toml"\n')
    settings = load_settings(home=tmp_path, flags={}, environment={}, directory=tmp_path)
    assert own_prices(settings) is not None
    assert re.search("our-model", (tmp_path / "prices.toml").read_text())
