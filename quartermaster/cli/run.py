"""`quartermaster run`: an agent is started and recorded, and whatever it leaves behind is one mission."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol
from urllib.parse import quote

import click
import msgspec

from quartermaster.adapters._span_attributes import MISSION
from quartermaster.cli import output
from quartermaster.cli.options import home_option, settings_for
from quartermaster.cli.receiver import Door, receiving
from quartermaster.core.journal import format_instant, minted_id
from quartermaster.errors import QuartermasterError, UsageError
from quartermaster.gathering import grown_since, parts_of, sessions_in, sizes_below

_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126
_SIGNALLED: Final = 128
_BATCH_BYTES: Final = 1 << 20
_TITLE_CHARACTERS: Final = 200
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_NAMED: Final = f"{MISSION}="
_ELSEWHERE: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--task", required=True, help="What is asked, in a word that other runs of it share.")
@click.option("--variant", required=True, help="Which agent, model or version does it.")
@click.option("--trial", type=click.IntRange(min=0), help="The how-manieth time, where it is counted.")
@click.option("--label", multiple=True, metavar="NAME=VALUE", help="A label; may be given again.")
@click.option(
    "--sessions",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where session files appear, instead of the folders of Claude Code and Codex; may be given again.",
)
@home_option
@click.option("--url", metavar="URL", help="A daemon elsewhere (QUARTERMASTER_URL).")
@click.option("--token", metavar="TOKEN", help="The token for it (QUARTERMASTER_TOKEN).")
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def command(
    *,
    task: str,
    variant: str,
    trial: int | None,
    label: tuple[str, ...],
    sessions: tuple[Path, ...],
    home: Path | None,
    url: str | None,
    token: str | None,
    workspace: str | None,
    arguments: tuple[str, ...],
) -> int:
    """Run an agent and record it as one mission; exits with the exit code of the command.

    Telemetry of the command (OTLP) and the session files that Claude Code, Codex or others write while it
    runs become one mission with task, variant, git commit and outcome. Where recording fails the command
    runs all the same, and stderr says what is missing.
    """
    facts = {
        "task": task,
        "variant": variant,
        "trial": trial,
        "labels": _labels(label),
        "parent_mission_id": _run_around(os.environ),
    }
    folders = sessions or _session_folders(os.environ)
    recorder = Recorder("run_" + secrets.token_hex(8), facts, folders, arguments)
    stack = ExitStack()
    recorder.attempt(lambda: recorder.open(stack, home, url, token, workspace))
    recorder.attempt(recorder.begin)
    began = time.monotonic()
    code = _run(arguments, {**os.environ, **recorder.environment})
    try:
        recorder.attempt(lambda: recorder.end(code, time.monotonic() - began))
        recorder.attempt(stack.close)
    except KeyboardInterrupt:
        output.tell("quartermaster: interrupted; the recording of this run is incomplete")
    return code


def _labels(given: Sequence[str]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise UsageError(f"{one!r} is no label; one looks like team=search")
        labels[name] = value
    return labels


def _session_folders(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where Claude Code and Codex keep their sessions."""
    claude = environment.get("CLAUDE_CONFIG_DIR") or "~/.claude"
    codex = environment.get("CODEX_HOME") or "~/.codex"
    return Path(claude).expanduser() / "projects", Path(codex).expanduser() / "sessions"


class _Book(Protocol):
    """Where the entries of a run are kept."""

    def keep(self, body: bytes) -> None: ...

    def model_calls(self, mission_id: str) -> int:
        """How many model calls telemetry has told of."""
        ...


class Recorder:
    """What is recorded of one run. Only its `attempt` is called from outside, so that no fault leaves it."""

    def __init__(
        self, mission_id: str, facts: dict[str, Any], folders: Sequence[Path], arguments: Sequence[str]
    ) -> None:
        self.environment: dict[str, str] = {}
        self._mission_id = mission_id
        self._facts = facts
        self._folders = folders
        self._arguments = arguments
        self._book: _Book | None = None
        self._before: dict[Path, int] = {}
        self._since = 0

    def attempt(self, step: Callable[[], None]) -> None:
        """Do a step of the recording; a fault of it is told, and costs the command nothing."""
        try:
            step()
        except QuartermasterError as error:
            output.tell(f"quartermaster: {error}; this run is not fully recorded")
        except Exception as error:  # whatever it is, the command matters more
            output.tell(f"quartermaster: {type(error).__name__}: {error}; this run is not fully recorded")

    def open(
        self, stack: ExitStack, home: Path | None, url: str | None, token: str | None, workspace: str | None
    ) -> None:
        """Find out where entries and telemetry go."""
        url = url or (os.environ.get("QUARTERMASTER_URL") if home is None else None)
        if url:
            door, self._book = _elsewhere(stack, url, token, workspace)
        else:
            door, self._book = _at_home(stack, home, workspace)
        self.environment = _telemetry(os.environ, door, self._mission_id)
        for name in _ELSEWHERE:
            if os.environ.get(name):
                output.tell(f"quartermaster: {name} is set, so that telemetry goes there and is not recorded")

    def begin(self) -> None:
        """Tell what is known before the command runs."""
        if self._book is None:
            return
        self._before = sizes_below(self._folders)
        self._facts = {**self._facts, **_of_git(self._facts["labels"])}
        self._since = time.time_ns()
        title = " ".join(self._arguments)[:_TITLE_CHARACTERS]
        self._keep([self._fact("mission.created", self._since, {"title": title, **self._facts})])

    def end(self, code: int, seconds: float) -> None:
        """Gather the sessions, and tell how it ended."""
        if self._book is None:
            return
        ended = time.time_ns()
        merged = self._book.model_calls(self._mission_id) == 0  # else the same calls would count twice
        sessions = sessions_in(grown_since(self._before, self._folders), self._since)
        self._keep(parts_of(self._mission_id, sessions, merged=merged))
        outcome = {
            "outcome": _outcome(code),
            "origin": "run",
            "exit_code": code,
            "duration_ms": round(seconds * 1000),
        }
        # told again behind everything else, so that no session has the last word on task and variant
        again = self._fact("mission.created", ended, self._facts)
        self._keep([again, self._fact("mission.outcome", ended, outcome)])
        output.tell(f"quartermaster: recorded as {self._mission_id} ({outcome['outcome']})")

    def _fact(self, entry_type: str, instant: int, payload: Mapping[str, Any]) -> bytes:
        entry = {
            "id": minted_id("run", self._mission_id, entry_type, str(instant)),
            "mission_id": self._mission_id,
            "ts": format_instant(instant),
            "entry_type": entry_type,
            "actor_type": "system",
            "actor_id": "quartermaster",
            "summary": str(payload.get("title") or payload.get("outcome") or ""),
            "payload": {key: value for key, value in payload.items() if value not in (None, {})},
        }
        return msgspec.json.encode(entry)

    def _keep(self, entries: Iterable[bytes]) -> None:
        assert self._book is not None
        batch: list[bytes] = []
        for entry in entries:
            batch.append(entry)
            if sum(map(len, batch)) > _BATCH_BYTES:
                self._book.keep(b"\n".join(batch))
                batch = []
        if batch:
            self._book.keep(b"\n".join(batch))


def _elsewhere(
    stack: ExitStack, url: str, token: str | None, workspace: str | None
) -> tuple[Door | None, _Book]:
    from quartermaster.cli.client import Client, path_of

    token = token or os.environ.get("QUARTERMASTER_TOKEN") or ""
    client = Client(url, token or None, workspace)
    stack.callback(client.close)

    class Book:
        def keep(self, body: bytes) -> None:
            _require_all(client.post(path_of("journal"), body, "application/x-ndjson"))

        def model_calls(self, mission_id: str) -> int:
            rows = client.get(path_of("missions"), q=mission_id)["rows"]
            return int(rows[0]["model_calls"]) if rows else 0

    return _door(url, token, workspace), Book()


def _at_home(stack: ExitStack, home: Path | None, workspace: str | None) -> tuple[Door | None, _Book]:
    """The database of the home; telemetry goes to its daemon, or to a door that closes with this command."""
    import logging

    from quartermaster import logs
    from quartermaster.config import masker_of
    from quartermaster.home import DAEMON, Home, choose_workspace, holder, open_home
    from quartermaster.ingest import accept_entries
    from quartermaster.store import missions

    logs.configure("auto", level=logging.WARNING)
    settings = settings_for(home)
    folder = Home(settings.home)
    held = holder(folder)
    database = stack.enter_context(open_home(folder, create=True, beside_daemon=held is not None).database)
    chosen = database.look_up(lambda connection: choose_workspace(connection, workspace))
    masker = masker_of(settings)

    class Book:
        def keep(self, body: bytes) -> None:
            _require_all(msgspec.to_builtins(accept_entries(database, chosen.key, body, masker)))

        def model_calls(self, mission_id: str) -> int:
            found = database.look_up(
                lambda connection: missions.find_mission(connection, chosen.key, mission_id)
            )
            return 0 if found is None else found.model_calls

    door = None
    if held is not None and held.role == DAEMON:
        with suppress(OSError):
            url, token = folder.address.read_text().strip(), folder.token.read_text().strip()
            door = _door(url, token, chosen.slug)
    return door or stack.enter_context(receiving(database, chosen.key, masker)), Book()


def _require_all(answer: Mapping[str, Any]) -> None:
    rejected = answer.get("rejected") or ()
    if rejected:
        raise UsageError(f"{len(rejected):,} entries were not accepted: {rejected[0]['reason']}")


def _door(url: str, token: str, workspace: str | None) -> Door | None:
    """None where exporters cannot go: they speak no Unix sockets."""
    return Door(url, token, workspace) if url.startswith(("http://", "https://")) else None


def _telemetry(environment: Mapping[str, str], door: Door | None, mission_id: str) -> dict[str, str]:
    """The variables by which exporters of OpenTelemetry find the door; what was set for resources stays."""
    if door is None:
        return {}
    headers = {"Authorization": f"Bearer {door.token}"} if door.token else {}
    if door.workspace is not None:
        headers["X-Workspace-ID"] = door.workspace
    attributes = [one for one in _resource(environment) if not one.startswith(_NAMED)]
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": door.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": ",".join(f"{name}={quote(headers[name])}" for name in headers),
        "OTEL_RESOURCE_ATTRIBUTES": ",".join([*attributes, _NAMED + mission_id]),
        "OTEL_METRICS_EXPORTER": environment.get("OTEL_METRICS_EXPORTER", "none"),
    }


def _resource(environment: Mapping[str, str]) -> list[str]:
    given = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    return [one.strip() for one in given if one.strip()]


def _run_around(environment: Mapping[str, str]) -> str | None:
    """The mission of the run that this one is started in."""
    named = [one.removeprefix(_NAMED) for one in _resource(environment) if one.startswith(_NAMED)]
    return named[-1] if named else None


def _of_git(labels: Mapping[str, Any]) -> dict[str, Any]:
    """Commit and dirty flag of the working tree, before the agent changes it; nothing outside of one."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    dirty = {} if changes is None else {"dirty": bool(changes)}
    return {"commit": commit, "labels": {**dirty, **labels}}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _outcome(code: int) -> str:
    if code == 0:
        return "succeeded"
    return "aborted" if code > _SIGNALLED else "failed"


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The command with our own stdin, stdout and stderr; its exit code as a shell tells it."""
    sys.stdout.flush()
    try:
        process = subprocess.Popen(arguments, env=dict(environment))
    except FileNotFoundError:
        output.tell(f"quartermaster: there is no command {arguments[0]!r}")
        return _NOT_FOUND
    except OSError as error:
        output.tell(f"quartermaster: {arguments[0]!r} cannot be run: {error.strerror}")
        return _NOT_EXECUTABLE
    with _passing_on(process):
        code = process.wait()
    return _SIGNALLED - code if code < 0 else code


@contextmanager
def _passing_on(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Signals go to the command. What a terminal sends has reached it already."""

    def pass_on(number: int, _: FrameType | None) -> None:
        if number in (signal.SIGINT, signal.SIGQUIT) and _is_in_foreground():
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
