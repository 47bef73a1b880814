"""`quartermaster service`: the units as they come, and what is written from them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
SYSTEM, USER = UNITS / "quartermaster.service", UNITS / "user/quartermaster.service"
EXPOSURE = 1.5

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze; install systemd to check units"
)


def analyze(folder: Path, *arguments: object) -> str:
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder), "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def startable(unit: Path, folder: Path) -> Path:
    """A copy of a unit that starts a program which exists: a check looks for it."""
    copy = folder / unit.name
    copy.write_text(unit.read_text().replace("/usr/bin/quartermaster", sys.executable))
    return copy


@needs_systemd
@pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path, tmp_path: Path):
    manager = ["--user"] if unit == USER else []
    assert analyze(tmp_path, *manager, "verify", startable(unit, tmp_path)) == ""


@needs_systemd
def test_the_unit_of_the_machine_exposes_little(tmp_path: Path):
    said = analyze(tmp_path, "security", "--offline=true", "--no-pager", startable(SYSTEM, tmp_path))
    score = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert score is not None, said
    assert float(score[1]) <= EXPOSURE


@pytest.mark.parametrize("unit", [SYSTEM, USER], ids=["system", "user"])
def test_the_unit_waits_for_readiness_and_is_watched(unit: Path):
    lines = unit.read_text().splitlines()
    assert {"Type=notify", "WatchdogSec=30s", "Restart=on-failure", "KillMode=mixed", "UMask=0077"} <= set(
        lines
    )
    assert "ExecStart=/usr/bin/quartermaster serve" in lines


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """Where the units of a user lie."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    return tmp_path / "config/systemd/user/quartermaster.service"


def test_a_unit_of_the_user_starts_this_program_on_this_home(quartermaster, home: Path, config, unit: Path):
    done = quartermaster("service", "install", "--user", **config)
    assert done.returncode == 0, done.stderr
    start = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    started = Path(start.removeprefix("ExecStart=").split()[0])
    assert started.is_file()
    assert started.parent == Path(sys.executable).parent
    assert start.endswith(f"serve --home {home}")
    assert "systemctl --user enable --now quartermaster" in done.stderr
    assert not home.exists()


@needs_systemd
def test_systemd_understands_what_was_written_for_a_home_with_an_odd_name(
    quartermaster, tmp_path: Path, config, unit: Path
):
    odd = tmp_path / 'a "home" of 50% $HOME'
    assert quartermaster("service", "install", "--user", "--home", odd, **config).returncode == 0
    assert analyze(tmp_path, "--user", "verify", unit) == ""
    assert r'--home "' in unit.read_text()
    assert r"\"home\" of 50%% $$HOME" in unit.read_text()


def test_a_unit_that_nobody_changed_is_replaced(quartermaster, tmp_path: Path, config, unit: Path):
    quartermaster("service", "install", "--user", "--home", tmp_path / "one", **config)
    assert quartermaster("service", "install", "--user", "--home", tmp_path / "two", **config).returncode == 0
    assert f"--home {tmp_path / 'two'}" in unit.read_text()


def test_a_unit_that_was_changed_by_hand_is_left_alone_without_force(quartermaster, config, unit: Path):
    quartermaster("service", "install", "--user", **config)
    changed = unit.read_text().replace("WatchdogSec=30s", "WatchdogSec=60s")
    unit.write_text(changed)
    refused = quartermaster("service", "install", "--user", **config)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert quartermaster("service", "uninstall", "--user", **config).returncode == 2
    assert unit.read_text() == changed
    assert "changed by hand" in quartermaster("service", "status", "--user", **config).stdout
    assert quartermaster("service", "install", "--user", "--force", **config).returncode == 0
    assert "WatchdogSec=30s" in unit.read_text()


def test_an_enabled_unit_is_not_taken_away_under_its_manager(quartermaster, config, unit: Path):
    quartermaster("service", "install", "--user", **config)
    wants = unit.parent / "default.target.wants"
    wants.mkdir()
    (wants / unit.name).symlink_to(unit)
    refused = quartermaster("service", "uninstall", "--user", **config)
    assert refused.returncode == 2
    assert "systemctl --user disable --now quartermaster" in refused.stderr
    (wants / unit.name).unlink()
    assert quartermaster("service", "uninstall", "--user", **config).returncode == 0
    assert not unit.exists()


def test_without_a_unit_status_and_uninstall_say_how_to_make_one(quartermaster, config):
    for name in ("status", "uninstall"):
        done = quartermaster("service", name, "--user", **config)
        assert done.returncode == 2
        assert "service install --user" in done.stderr


def test_the_home_is_not_for_the_unit_of_the_machine(quartermaster, home: Path):
    refused = quartermaster("service", "install", "--home", home)
    assert refused.returncode == 2
    assert "--user" in refused.stderr
