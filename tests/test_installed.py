"""Installed as users install it: the wheel in an environment of its own, started by its entry point."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WHEEL = os.environ.get("QUARTERMASTER_WHEEL")

pytestmark = pytest.mark.skipif(
    os.environ.get("QUARTERMASTER_TEST_INSTALLED") != "1", reason="only where an installed wheel is tested"
)


def test_the_entry_point_starts_the_program():
    done = run(Path(sys.executable).with_name("quartermaster"), "--version")
    assert done.stdout.startswith("quartermaster ")


def test_the_wheel_brings_its_samples_and_its_units(tmp_path: Path):
    script = Path(sys.executable).with_name("quartermaster")
    assert "hallucinations rose" in run(script, "demo", home=tmp_path).stdout
    run(script, "service", "install", "--user", "--home", tmp_path / "data", home=tmp_path)
    unit = (tmp_path / ".config/systemd/user/quartermaster.service").read_text()
    assert f"ExecStart={script} serve --home {tmp_path / 'data'}" in unit


def test_the_wheel_brings_its_documentation():
    script = Path(sys.executable).with_name("quartermaster")
    assert run(script, "help", "ci").stdout.startswith("## In CI\n")
    assert ".TH QUARTERMASTER 1" in (Path(sys.prefix) / "share/man/man1/quartermaster.1").read_text()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("pipx", ("install",)), ("uv", ("tool", "install"))],
    ids=["pipx", "uv tool"],
)
def test_a_tool_that_gives_programs_environments_of_their_own_installs_it(
    tool: str, arguments: tuple[str, ...], tmp_path: Path
):
    if shutil.which(tool) is None or WHEEL is None:
        pytest.skip(f"{tool} is not installed, or QUARTERMASTER_WHEEL names no wheel")
    run(tool, *arguments, WHEEL, home=tmp_path, seconds=300)
    assert run(tmp_path / ".local/bin/quartermaster", "--version", home=tmp_path).stdout


def run(
    *command: object, home: Path | None = None, seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "PIPX_"))}
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment | ({} if home is None else {"HOME": str(home)}),
    )
    assert done.returncode == 0, done.stderr
    return done
