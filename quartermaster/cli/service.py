"""`quartermaster service`: the unit by which systemd starts the daemon, watches it and starts it again."""

import hashlib
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Final

import click
import msgspec

from quartermaster.cli import output
from quartermaster.config import find_home
from quartermaster.errors import NotAllowed, NotFound, UsageError

UNIT: Final = "quartermaster.service"
_SYSTEM_FOLDER: Final = Path("/etc/systemd/system")
_SEAL: Final = "# Written by `quartermaster service install`; sha256 of what follows: "
_SHIPPED_START: Final = "ExecStart=/usr/bin/quartermaster serve"
_UNQUOTED: Final = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_CLOSED_OFF: Final = (Path("/home"), Path("/root"), Path("/run/user"))
"""Where the unit of the machine sees nothing (`ProtectHome`)."""
_SYSTEMCTL_SECONDS: Final = 5.0


class Place(msgspec.Struct, frozen=True):
    """Where the unit lies, of this user or of the whole machine."""

    path: Path
    of_user: bool

    @property
    def systemctl(self) -> str:
        """How its manager is spoken to."""
        return "systemctl --user" if self.of_user else "systemctl"

    @property
    def shipped(self) -> str:
        """The unit as it comes with the program."""
        name = f"user/{UNIT}" if self.of_user else UNIT
        packaged = files("quartermaster") / "systemd" / name
        checkout = Path(__file__).resolve().parents[2] / "systemd" / name
        for place in (packaged, checkout):
            if place.is_file():
                return place.read_text("utf-8")
        raise NotFound("the unit that comes with Quartermaster is missing; install Quartermaster again")

    def started_program(self) -> Path | None:
        """The program that the unit starts; None where its line cannot be read."""
        found = re.search(
            r'^ExecStart=(?:"((?:[^"\\]|\\.)*)"|(\S+))', self.path.read_text("utf-8"), re.MULTILINE
        )
        if found is None:
            return None
        quoted = re.sub(r"\\(.)", r"\1", found[1] or "").replace("%%", "%").replace("$$", "$")
        return Path(quoted or found[2])

    @property
    def is_enabled(self) -> bool:
        """Whether its manager starts it by itself."""
        wanted = "default.target.wants" if self.of_user else "multi-user.target.wants"
        return (self.path.parent / wanted / UNIT).is_symlink()


def place_of(*, of_user: bool) -> Place:
    """Where the unit of this user, or of the machine, is or would be."""
    if not of_user:
        return Place(_SYSTEM_FOLDER / UNIT, of_user=False)
    settings = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Place(Path(settings).expanduser() / "systemd/user" / UNIT, of_user=True)


def unit_text(place: Place, home: Path | None) -> str:
    """The unit that starts this very program, sealed so that a later change of it is noticed."""
    start = " ".join(_word(part) for part in [*program(), "serve", *(["--home", str(home)] if home else [])])
    text = place.shipped.replace(_SHIPPED_START, f"ExecStart={start}")
    if (
        is_single_file()
    ):  # it unpacks itself, and the process that tells is a child of the one that was started
        text = text.replace("NotifyAccess=main", "NotifyAccess=all")
    return _SEAL + hashlib.sha256(text.encode()).hexdigest() + "\n" + text


def program() -> list[str]:
    """How this program is started, by names that outlive this process."""
    if is_single_file():
        return [sys.executable]
    script = Path(sys.executable).with_name("quartermaster")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "quartermaster"]


def is_single_file() -> bool:
    return bool(getattr(sys, "frozen", False))


def is_as_written(text: str) -> bool:
    """Whether a unit is one of ours that nobody has changed since."""
    first, _, rest = text.partition("\n")
    return first == _SEAL + hashlib.sha256(rest.encode()).hexdigest()


def _word(text: str) -> str:
    """One word of a command line of systemd, where `%` and `$` have a meaning of their own."""
    if not text.isprintable():
        raise UsageError(f"{text!r} cannot stand in a unit; choose a path without control characters")
    if _UNQUOTED.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


user_option = click.option("--user", "of_user", is_flag=True, help="The unit of this user alone.")


@click.group("service")
def command() -> None:
    """Have systemd run the daemon."""


@command.command("install")
@user_option
@click.option("--home", type=click.Path(path_type=Path), metavar="DIR", help="The home that it serves.")
@click.option("--force", is_flag=True, help="Replace a unit that was changed by hand.")
def install(of_user: bool, home: Path | None, force: bool) -> None:
    """Write the unit, and say how to start it; nothing is started by this."""
    place = place_of(of_user=of_user)
    served = _served_home(place, home)
    text = unit_text(place, served)
    if place.path.exists() and not force and not is_as_written(place.path.read_text("utf-8")):
        raise UsageError(f"{place.path} was changed by hand; look at it, then pass --force to replace it")
    _write(place.path, text)
    output.tell(f"{place.path} is written; it serves {served or '/var/lib/quartermaster'}")
    output.tell(f"now: {place.systemctl} daemon-reload && {place.systemctl} enable --now quartermaster")
    if of_user:
        output.tell("to keep it running while you are not logged in: loginctl enable-linger")


@command.command("uninstall")
@user_option
@click.option("--force", is_flag=True, help="Remove a unit that was changed by hand.")
def uninstall(of_user: bool, force: bool) -> None:
    """Remove the unit; the home folder and all that is in it stay."""
    place = place_of(of_user=of_user)
    text = _read(place)
    if place.is_enabled:
        raise UsageError(f"it is enabled; first: {place.systemctl} disable --now quartermaster")
    if not force and not is_as_written(text):
        raise UsageError(f"{place.path} was changed by hand; look at it, then pass --force to remove it")
    try:
        place.path.unlink()
    except PermissionError as error:
        raise NotAllowed(f"{place.path} cannot be removed by this user; try again with sudo") from error
    output.tell(f"{place.path} is removed; now: {place.systemctl} daemon-reload")


@command.command("status")
@user_option
@output.format_option
def status(of_user: bool, form: str) -> None:
    """Say where the unit is, whether it is ours, enabled and running."""
    place = place_of(of_user=of_user)
    text = _read(place)
    row = {
        "unit": str(place.path),
        "text": "as written" if is_as_written(text) else "changed by hand",
        "enabled": place.is_enabled,
        "running": _is_active(place),
    }
    output.print_rows(form, [row], [output.field(name.upper(), name) for name in row])


def _served_home(place: Place, home: Path | None) -> Path | None:
    """None where the unit itself says which."""
    if not place.of_user:
        if home is not None:
            raise UsageError("the unit of the machine serves /var/lib/quartermaster; --home is for --user")
        _refuse_closed_off(Path(program()[0]))
        return None
    return find_home(home, os.environ)


def _refuse_closed_off(start: Path) -> None:
    if any(start.is_relative_to(folder) for folder in _CLOSED_OFF):
        raise UsageError(
            f"{start} lies in a home folder, which the unit of the machine cannot see;"
            " install Quartermaster elsewhere, such as in /opt, or pass --user"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{UNIT}.{os.getpid()}.part")
        part.write_text(text, "utf-8")
        part.replace(path)
    except PermissionError as error:
        advice = f"sudo {quote(program()[0])} service install"
        raise NotAllowed(
            f"{path} cannot be written by this user; run: {advice}, or pass --user for a unit of your own"
        ) from error


def _read(place: Place) -> str:
    try:
        return place.path.read_text("utf-8")
    except FileNotFoundError:
        other = " --user" if place.of_user else ""
        raise NotFound(f"there is no {place.path}; make one: quartermaster service install{other}") from None


def _is_active(place: Place) -> str:
    """What systemd says; `unknown` where it does not answer."""
    try:
        asked = subprocess.run(
            [*place.systemctl.split(), "is-active", UNIT],
            check=False,
            capture_output=True,
            text=True,
            timeout=_SYSTEMCTL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return asked.stdout.strip() or "unknown"
