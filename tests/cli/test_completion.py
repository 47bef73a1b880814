"""A shell completes commands, options and values: the tab key is pressed in real shells on a terminal."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from quartermaster.cli import COMMANDS, COMPLETION_VARIABLE
from quartermaster.cli.completing import LIMIT, OUTCOMES, ROLES
from quartermaster.store.access import Role

PROGRAM = f"""#!/bin/sh
[ -n "${COMPLETION_VARIABLE}" ] && exec '{sys.executable}' -m quartermaster "$@"
[ "$1" = completion ] && exec '{sys.executable}' -m quartermaster "$@"
echo "ran<$*>"
"""
"""Completes as the program does, and says which line was entered in the end instead of running it."""

SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(quartermaster completion bash)"; PS1="re""ady> "'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -U compinit; compinit -u -D; eval "$(quartermaster completion zsh)"; PS1="re""ady> "',
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        'quartermaster completion fish | source; function fish_prompt; echo "re""ady> "; end',
    ),
}


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._own, theirs = pty.openpty()
        termios.tcsetwinsize(self._own, (24, 200))
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - its own terminal
        )
        os.close(theirs)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def wait_for(self, pattern: str, seconds: float = 45) -> str:
        """What the first group of the pattern matches on the screen; what came before is forgotten."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self._shown)) is None:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._own], [], [], left)[0], self._shown
            self._shown += os.read(self._own, 65536).decode(errors="replace")
        self._shown = self._shown[found.end() :]
        return found[found.re.groups]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._own)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "recordings").mkdir()
    return tmp_path / "work"


@pytest.fixture
def environment(tmp_path: Path, home: Path) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "quartermaster").write_text(PROGRAM)
    (programs / "quartermaster").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "QUARTERMASTER_HOME": str(home),
        "HOME": str(tmp_path),
        "TERM": "xterm",
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_completes_commands_options_and_values(
    shell: str, quartermaster, samples: Path, folder: Path, environment: dict[str, str]
):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    quartermaster("ingest", samples / "native")
    command, prepare = SHELLS[shell]
    terminal = Terminal(command, folder, environment)
    try:
        terminal.type(prepare + "\r")
        terminal.wait_for("ready> ")
        for typed, entered in (
            ("miss\t --form\tndj\t", "missions --format ndjson"),
            ("eval rep\tdemo-login-fix-b\t", "eval replay demo-login-fix-baseline"),
            ("trend --metric success_r\t", "trend --metric success_rate"),
            ("compare recor\t", "compare recordings/?"),
        ):
            terminal.type(f"quartermaster {typed}\r")
            assert re.fullmatch(entered, terminal.wait_for(r"ran<(.*?)>").strip())
            terminal.wait_for("ready> ")
    finally:
        terminal.close()


def completed(home: Path, line: str, **environment: str) -> list[str]:
    """What is offered at the end of a line, as the script of bash asks for it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "quartermaster"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "QUARTERMASTER_HOME": str(home),
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            COMPLETION_VARIABLE: "bash_complete",
            **environment,
        },
    )
    talk = [one for one in done.stderr.splitlines() if not one.startswith("import time:")]
    assert (done.returncode, talk) == (0, [])
    completed.loaded = {one.rpartition("|")[2].strip() for one in done.stderr.splitlines()}
    return [one.partition(",")[2] for one in done.stdout.splitlines() if one]


def test_commands_are_offered_without_loading_one(home: Path):
    assert completed(home, "quartermaster ") == list(COMMANDS)
    assert "quartermaster.cli.serve" not in completed.loaded
    assert not {"quartermaster.core", "quartermaster.store", "msgspec", "rich"} & completed.loaded
    assert completed(home, "quartermaster --he") == ["--help"]


def test_values_that_are_words_are_offered(home: Path):
    assert completed(home, "quartermaster missions --outcome ") == list(OUTCOMES)
    assert completed(home, "quartermaster missions --trace-format claude") == ["claude_code"]
    assert completed(home, "quartermaster missions --failure-mode exact_t") == ["exact_tool_loop"]
    assert completed(home, "quartermaster member add ann --role AD") == ["ADMIN"]
    assert {role.name for role in Role} == set(ROLES)


def test_names_from_the_home_are_offered(quartermaster, home: Path, samples: Path):
    quartermaster("ingest", samples / "native")
    quartermaster("baseline", "freeze", "main", "demo-login-fix-baseline")
    run = json.loads(quartermaster("eval", "regression", *MISSIONS, "--format", "json").stdout)
    assert completed(home, "quartermaster show demo") == list(MISSIONS)
    assert completed(home, "quartermaster show lat") == ["latest"]
    assert run["id"] in completed(home, "quartermaster eval get er_")
    assert completed(home, "quartermaster baseline show ") == ["main"]
    assert completed(home, "quartermaster missions --workspace ") == ["local"]
    assert set(completed(home, "quartermaster compare demo")) == {"demo", *MISSIONS}  # or a file of that name


MISSIONS = ("demo-login-fix-baseline", "demo-login-fix-candidate")


def test_an_id_that_a_shell_would_run_is_not_offered(quartermaster, home: Path, tmp_path: Path):
    recording = tmp_path / "bad.ndjson"
    names = ["x$(touch oops)", "x`ls`", "x; ls", "x y", "x-good"] + [f"z{n:03}" for n in range(LIMIT + 5)]
    recording.write_text("".join(json.dumps(ENTRY | {"mission_id": name}) + "\n" for name in names))
    quartermaster("ingest", recording)
    assert completed(home, "quartermaster show x") == ["x-good"]
    assert len(completed(home, "quartermaster show z")) == LIMIT


ENTRY = {"ts": "2027-01-31T09:00:00Z", "entry_type": "exec.command", "payload": {"command": "ls"}}


def test_without_a_home_or_with_one_that_cannot_be_read_nothing_is_said(home: Path):
    assert completed(home, "quartermaster show ") == ["latest"]
    assert not home.exists()
    home.mkdir()
    (home / "quartermaster.db").write_bytes(b"something else entirely" * 99)
    assert completed(home, "quartermaster show ") == ["latest"]
    assert completed(home, "quartermaster baseline show ") == []


def test_no_key_press_asks_a_daemon(quartermaster, home: Path, samples: Path):
    quartermaster("ingest", samples / "native")
    line = "quartermaster show demo"
    assert completed(home, line, QUARTERMASTER_URL="http://127.0.0.1:1") == []
    assert completed(home, "quartermaster show --url http://127.0.0.1:1 demo") == []


def test_a_line_that_makes_no_sense_is_no_fault(home: Path):
    assert completed(home, "quartermaster missions --nonsense --x ") == []
    assert completed(home, "quartermaster completion ") == ["bash", "zsh", "fish"]
