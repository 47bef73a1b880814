"""What tests of several rooms share: a home folder of their own, the command line, a running daemon."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from running import PROGRAM, Daemon

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., Daemon]

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("searching", print_blob=True)
settings.load_profile("repeatable")
"""The same tree gets the same verdict twice; `--hypothesis-profile searching` tries what was never tried."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser comes last: its driver keeps an event loop running in the thread of the tests."""
    items.sort(key=lambda item: item.path.parent.name == "web")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests know their own settings only; what is for the tests themselves stays."""
    for name in list(os.environ):
        if name.startswith("QUARTERMASTER_") and name not in (
            "QUARTERMASTER_TRACES",
            "QUARTERMASTER_TEST_INSTALLED",
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the program runs on."""
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a home folder may be made."""
    return tmp_path / "home"


@pytest.fixture
def samples() -> Path:
    """The sample recordings of this project."""
    return Path(__file__).resolve().parents[1] / "data" / "samples"


@pytest.fixture
def quartermaster(home: Path, tmp_path: Path) -> Run:
    """Runs one command on the home and gives its exit code, stdout and stderr."""

    def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "QUARTERMASTER_HOME": str(home), **environment},
        )

    return run


@pytest.fixture
def start_daemon(home: Path) -> Iterator[Start]:
    """Starts daemons on the home; what still runs at the end of the test is killed."""
    started: list[Daemon] = []

    def start(*arguments: object, **environment: str) -> Daemon:
        started.append(Daemon.start(home, *map(str, arguments), environment=environment))
        return started[-1]

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.kill()
