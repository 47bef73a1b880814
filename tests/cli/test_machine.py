"""`quartermaster doctor` on machines that are not as they should be: one fault a test."""

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quartermaster.checkup import Finding
from quartermaster.cli import doctor, machine
from quartermaster.config import Settings, load_settings
from quartermaster.errors import StorageError
from quartermaster.home import DAEMON, Home, hold, open_home
from quartermaster.store import database, filesystem

Check = Callable[[Settings, Home], Iterator[Finding]]
NOBODY = 65534


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> Settings:
    home.mkdir(mode=0o700)
    return load_settings(home=home, environment={}, directory=tmp_path)


def told(check: Check, settings: Settings) -> dict[str, str]:
    """State and message of the only finding."""
    (found,) = check(settings, Home(settings.home))
    return {"state": found.state, "message": found.message}


def test_a_home_without_a_young_backup_is_a_warning(settings: Settings):
    home = Home(settings.home)
    with open_home(home, create=True).database as opened:
        opened.write_blocking(lambda c: c.execute("update workspace set created_at = 0").close())
    found = told(machine.check_backups, settings)
    assert found["state"] == "warn"
    assert "there is none" in found["message"]
    assert "quartermaster backup FILE" in found["message"]
    home.backups.mkdir()
    made = time.strftime("quartermaster.%Y%m%dT%H%M%SZ.db", time.gmtime())
    (home.backups / made).touch()
    assert told(machine.check_backups, settings)["state"] == "ok"


def test_a_typing_mistake_in_a_setting_is_a_finding(quartermaster, home: Path):
    home.mkdir()
    (home / "config.toml").write_text("prot = 7117")
    done = quartermaster("doctor", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert done.returncode == 10
    assert (row["check"], row["state"]) == ("settings", "fail")
    assert "config.toml: unknown setting 'prot'" in row["message"]


def test_a_home_of_another_user_says_whose_it_is(settings: Settings):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(settings.home, NOBODY, NOBODY)
    found = told(machine.check_owner, settings)
    assert found["state"] == "fail"
    assert f"belongs to user {NOBODY}" in found["message"]
    assert "chown" in found["message"]


def test_a_home_that_cannot_be_written_fails(settings: Settings):
    if os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    settings.home.chmod(0o500)
    found = told(machine.check_owner, settings)
    assert found["state"] == "fail"
    assert "cannot be written" in found["message"]


def test_a_home_on_a_network_file_system_fails(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    mounts.write_text(f"/dev/root / ext4 rw 0 0\nserver:/x {settings.home.parent} nfs4 rw 0 0\n")
    found = told(machine.check_filesystem, settings)
    assert found["state"] == "fail"
    assert "nfs4" in found["message"]
    assert "--home" in found["message"]
    mounts.write_text(f"server:/x / nfs4 rw 0 0\n/dev/root {settings.home.parent} ext4 rw 0 0\n")
    assert list(machine.check_filesystem(settings, Home(settings.home))) == []


def test_no_database_is_opened_on_a_network_file_system(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    mounts.write_text(f"server:/x {tmp_path} nfs4 rw 0 0\n")
    with pytest.raises(StorageError, match=r"network file system \(nfs4\).*--home"):
        open_home(Home(home), create=True)
    assert not (home / "quartermaster.db").exists()
    mounts.write_text(f"/dev/sda1 {tmp_path} ext4 rw 0 0\n")
    open_home(Home(home), create=True).database.close()


def test_the_innermost_mount_says_what_a_path_lies_on():
    mounts = "a / ext4 rw 0 0\nb /srv nfs rw 0 0\nc /srv/my\\040disk xfs rw 0 0\n"
    assert filesystem.kind_of(Path("/srv/my disk/home"), mounts) == "xfs"
    assert filesystem.kind_of(Path("/srv/other"), mounts) == "nfs"
    assert filesystem.kind_of(Path("/srvother"), mounts) == "ext4"


def test_symbolic_links_in_the_inbox_are_counted(settings: Settings, tmp_path: Path):
    inbox = settings.home / "inbox/local"
    inbox.mkdir(parents=True)
    assert list(machine.check_links(settings, Home(settings.home))) == []
    (inbox / "sessions").symlink_to(tmp_path)
    found = told(machine.check_links, settings)
    assert found["message"].startswith("1 symbolic links")
    assert "watch add" in found["message"]


def test_a_clock_that_was_turned_back_is_noticed(settings: Settings):
    token = settings.home / "token"
    token.touch()
    assert list(machine.check_clock(settings, Home(settings.home))) == []
    later = time.time() + 7200
    os.utime(token, (later, later))
    assert "120 minutes from now" in told(machine.check_clock, settings)["message"]


def test_a_huge_log_of_the_database_is_a_warning(settings: Settings):
    log = settings.home / "quartermaster.db-wal"
    with log.open("wb") as file:
        file.truncate(600 * 2**20)
    found = told(machine.check_log, settings)
    assert "600 MiB" in found["message"]
    assert "restart the daemon" in found["message"]


def test_what_a_killed_daemon_leaves_is_told(start_daemon, quartermaster):
    start_daemon().kill()
    rows = {row["check"]: row for row in json.loads(quartermaster("doctor", "--format", "json").stdout)}
    assert rows["leftovers"]["state"] == "warn"
    assert rows["daemon"]["state"] == "ok"


def test_a_daemon_that_does_not_answer_is_told(settings: Settings):
    home = Home(settings.home)
    home.address.write_text("http://127.0.0.1:9\n")
    with hold(home, DAEMON):
        found = told(doctor.check_daemon, settings)
    assert found["state"] == "warn"
    assert f"process {os.getpid()} is not ready" in found["message"]


def test_a_low_limit_of_open_files_says_how_to_raise_it(settings: Settings):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        found = told(machine.check_files, settings)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found["message"].startswith("256 files")
    assert "LimitNOFILE" in found["message"]


def test_few_watches_are_a_warning(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    watches = tmp_path / "max_user_watches"
    monkeypatch.setattr(doctor, "_WATCHES", watches)
    watches.write_text("512\n")
    assert told(doctor.check_watches, settings)["state"] == "warn"


def test_a_nearly_full_disk_fails(quartermaster, home: Path):
    home.mkdir()
    done = quartermaster("doctor", "--format", "json", QUARTERMASTER_STORAGE_LOW_WATER_BYTES=str(2**50))
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert rows["disk"]["state"] == "fail"
    assert "nothing is recorded" in rows["disk"]["message"]


def test_a_sqlite_with_the_checkpoint_fault_is_told_with_the_extra_that_has_none(settings: Settings):
    found = told(doctor.check_sqlite, settings)
    assert (found["state"] == "warn") == (database.sqlite_fault() is not None)
    assert ("quartermaster[sqlite]" in found["message"]) == (database.sqlite_fault() is not None)


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "unreadable"])
def test_a_certificate_that_cannot_be_used_fails(
    quartermaster, home: Path, tmp_path: Path, content: str | None
):
    home.mkdir()
    for name in ("cert.pem", "key.pem"):
        if content is not None:
            (tmp_path / name).write_text(content)
    variables = {
        "QUARTERMASTER_TLS_CERT": str(tmp_path / "cert.pem"),
        "QUARTERMASTER_TLS_KEY": str(tmp_path / "key.pem"),
    }
    done = quartermaster("doctor", "--format", "json", **variables)
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert rows["tls"]["state"] == "fail", done.stdout
    assert str(tmp_path / "cert.pem") in rows["tls"]["message"]


def test_a_unit_that_is_not_enabled_or_starts_nothing_is_told_with_the_command(quartermaster, tmp_path: Path):
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    unit = tmp_path / "config/systemd/user/quartermaster.service"
    quartermaster("service", "install", "--user", **config)

    def service() -> dict[str, str]:
        rows = json.loads(quartermaster("doctor", "--format", "json", **config).stdout)
        return next(row for row in rows if row["check"] == "service")

    assert service()["state"] == "warn"
    assert "systemctl --user enable --now quartermaster" in service()["message"]
    unit.with_name("default.target.wants").mkdir()
    (unit.with_name("default.target.wants") / unit.name).symlink_to(unit)
    assert service()["state"] == "ok"
    unit.write_text('[Service]\nExecStart="/opt/a 50%% \\"gone\\"/quartermaster" serve\n')
    assert service()["state"] == "fail"
    assert 'starts /opt/a 50% "gone"/quartermaster, which is gone' in service()["message"]
