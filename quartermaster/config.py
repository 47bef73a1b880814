"""Settings: what they are, where they come from and which source wins.

A setting comes from a flag, else from its `QUARTERMASTER_*` variable, else from `quartermaster.toml` in
the working directory, else from `config.toml` in the home folder, else it has its default. A key that
nobody knows and a value of the wrong type are errors: a typing mistake must not become a default.
"""

import hashlib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from quartermaster.api.proxies import Proxies
from quartermaster.core.comparison import Profile
from quartermaster.core.pricing import OwnPrices, own_prices_of
from quartermaster.core.secrets import Masker
from quartermaster.errors import ConfigurationError
from quartermaster.store.retention import Policy

PROJECT_FILE: Final = "quartermaster.toml"
HOME_FILE: Final = "config.toml"
POLICY_TABLE: Final = "policy"
"""The table of the project's file that is no setting: how its missions are compared."""
PREFIX: Final = "QUARTERMASTER_"

VARIABLES_BESIDE_SETTINGS: Final = {
    "QUARTERMASTER_HOME": "the home folder, where `--home` is not given",
    "QUARTERMASTER_URL": "a daemon elsewhere, where `--url` is not given",
    "QUARTERMASTER_TOKEN": "the token for it, where `--token` is not given",
    "QUARTERMASTER_DEBUG": "`1` shows the traceback of an internal error",
}
_VARIABLES_OF_TESTS: Final = frozenset({"QUARTERMASTER_TRACES", "QUARTERMASTER_TEST_INSTALLED"})


class Inbox(msgspec.Struct, frozen=True):
    """A folder that is watched in place and read only; its missions go to one workspace (id or slug)."""

    path: Path
    workspace: str = "local"
    mask_secrets: bool = True


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of one process. Fields are named like their keys, dots as underscores."""

    home: Path
    host: str
    port: int
    behind_proxy: bool
    tls_cert: Path | None
    tls_key: Path | None
    socket: Path | None
    socket_mode: str
    log_format: str
    inbox: tuple[Inbox, ...]
    eval_deadline_seconds: float
    eval_concurrency: int
    eval_queue_limit: int
    eval_worker_memory_bytes: int
    eval_price_file: Path | None
    eval_thresholds_tool_success_drop: float
    eval_thresholds_steps_rise: float
    eval_thresholds_cost_rise: float
    eval_thresholds_hallucinations_rise: int
    ingest_scan_seconds: float
    ingest_line_limit_bytes: int
    ingest_mask_secrets: bool
    ingest_secret_patterns: tuple[str, ...]
    http_body_limit_bytes: int
    http_allowed_hosts: tuple[str, ...]
    http_trusted_proxies: tuple[str, ...]
    storage_low_water_bytes: int
    storage_ballast_bytes: int
    retention_days: int
    retention_missions: int
    retention_bytes: int
    retention_interval_seconds: float
    alert_page_url: str | None
    alert_timeout_seconds: float
    alert_attempts: int
    alert_pause_seconds: float
    alert_trend_seconds: float
    backup_interval_seconds: float
    backup_keep: int


class Kind(msgspec.Struct, frozen=True):
    """How the values of a setting are read: `accept` and `parse` raise ValueError for what they refuse."""

    allowed: str
    accept: Callable[[Any], Any]
    parse: Callable[[str], Any]


class Setting(msgspec.Struct, frozen=True):
    """One setting: its dotted key, its default, how it is read and what it is for."""

    key: str
    default: object
    kind: Kind
    about: str

    @property
    def field(self) -> str:
        return self.key.replace(".", "_")

    @property
    def variable(self) -> str:
        return PREFIX + self.field.upper()


def _integer(least: int, most: int) -> Kind:
    def accept(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return Kind(f"a whole number from {least} to {most}", accept, int)


def _number(*, above: float | None = None, least: float | None = None, most: float) -> Kind:
    def accept(value: Any) -> float:
        if type(value) not in (int, float) or not value <= most:
            raise ValueError
        if (above is not None and value <= above) or (least is not None and value < least):
            raise ValueError
        return float(value)

    low = f"above {above:g}" if above is not None else f"from {least:g}"
    return Kind(f"a number {low} to {most:g}", accept, float)


def _accept_boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _parse_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _accept_text(value: Any) -> str:
    if type(value) is not str or not value.strip() or not value.isprintable():
        raise ValueError
    return value


def _accept_texts(value: Any) -> tuple[str, ...]:
    if type(value) not in (list, tuple):
        raise ValueError
    return tuple(_accept_text(item) for item in value)


def _accept_url(value: Any) -> str:
    text = _accept_text(value)
    if not text.startswith(("http://", "https://")):
        raise ValueError
    return text


def _accept_path(value: Any) -> Path:
    return Path(_accept_text(value))


def _words(*words: str) -> Kind:
    def accept(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Kind("one of " + ", ".join(words), accept, str)


def _accept_inboxes(value: Any) -> tuple[Inbox, ...]:
    if type(value) not in (list, tuple):
        raise ValueError
    return tuple(_accept_inbox(item) for item in value)


def _accept_inbox(item: Any) -> Inbox:
    if type(item) is not dict or not {"path"} <= set(item) <= {"path", "workspace", "mask_secrets"}:
        raise ValueError
    path, workspace = _accept_text(item["path"]), _accept_text(item.get("workspace", "local"))
    return Inbox(Path(path), workspace, _accept_boolean(item.get("mask_secrets", True)))


def _accept_proxies(value: Any) -> tuple[str, ...]:
    texts = _accept_texts(value)
    Proxies(texts)
    return texts


def _parse_texts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _parse_inboxes(text: str) -> list[dict[str, str]]:
    return [{"path": part} for part in text.split(os.pathsep) if part]


_BOOLEAN: Final = Kind("true or false", _accept_boolean, _parse_boolean)
_TEXT: Final = Kind("a text", _accept_text, str)
_URL: Final = Kind("an address that begins with http:// or https://", _accept_url, str)
_PATH: Final = Kind("the path of a file", _accept_path, str)
_TEXTS: Final = Kind("a list of texts", _accept_texts, _parse_texts)
_PROXIES: Final = Kind("a list of IP addresses, networks or `unix`", _accept_proxies, _parse_texts)
_INBOXES: Final = Kind(
    "a list of tables with `path` and, if wanted, `workspace` and `mask_secrets`",
    _accept_inboxes,
    _parse_inboxes,
)

_MEBIBYTE: Final = 2**20

SETTINGS: Final = (
    Setting("host", "127.0.0.1", _TEXT, "address the daemon listens on"),
    Setting("port", 7117, _integer(0, 65535), "its port; 0 takes a free one"),
    Setting("behind_proxy", False, _BOOLEAN, "allows a host that other machines reach: TLS ends before us"),
    Setting("tls_cert", None, _PATH, "certificate in PEM, its chain behind it; the daemon then speaks TLS"),
    Setting("tls_key", None, _PATH, "its key in PEM, without a password"),
    Setting("socket", None, _PATH, "Unix socket to listen on instead of an address"),
    Setting("socket_mode", "0600", _words("0600", "0660"), "0660: the group of that socket may connect too"),
    Setting(
        "log_format", "auto", _words("auto", "console", "json"), "auto: console on a terminal, else json"
    ),
    Setting("inbox", (), _INBOXES, "folders that are watched beside the home's own inbox"),
    Setting("eval.deadline_seconds", 600.0, _number(above=0, most=86_400), "how long one run may take"),
    Setting("eval.concurrency", 2, _integer(1, 64), "runs at the same time"),
    Setting(
        "eval.queue_limit",
        20_000,
        _integer(1, 2**40),
        "runs of a workspace that may wait; over HTTP more are refused with 429",
    ),
    Setting(
        "eval.worker_memory_bytes",
        4096 * _MEBIBYTE,
        _integer(64 * _MEBIBYTE, 2**50),
        "memory of its own that one evaluating process may have; a run that needs more fails",
    ),
    Setting("eval.price_file", None, _PATH, "prices that go before the catalogue's (TOML or JSON)"),
    Setting(
        "eval.thresholds.tool_success_drop",
        0.05,
        _number(least=0, most=1),
        "tool success may fall by this (absolute)",
    ),
    Setting(
        "eval.thresholds.steps_rise",
        0.20,
        _number(least=0, most=1000),
        "steps to goal may rise by this",
    ),
    Setting("eval.thresholds.cost_rise", 0.15, _number(least=0, most=1000), "cost may rise by this"),
    Setting(
        "eval.thresholds.hallucinations_rise",
        0,
        _integer(0, 1_000_000),
        "hallucinations may rise by this",
    ),
    Setting("ingest.scan_seconds", 5.0, _number(above=0, most=3600), "time between two scans of the inboxes"),
    Setting(
        "ingest.line_limit_bytes",
        16 * _MEBIBYTE,
        _integer(1024, 2**30),
        "a longer line is rejected",
    ),
    Setting("ingest.mask_secrets", True, _BOOLEAN, "masks keys and passwords before anything is kept"),
    Setting("ingest.secret_patterns", (), _TEXTS, "regular expressions of further secrets to mask"),
    Setting(
        "http.body_limit_bytes",
        16 * _MEBIBYTE,
        _integer(1024, 2**30),
        "a larger request body is refused",
    ),
    Setting("http.allowed_hosts", (), _TEXTS, "further `Host` headers to accept, such as a proxy's name"),
    Setting(
        "http.trusted_proxies",
        (),
        _PROXIES,
        "addresses or networks of proxies whose `X-Forwarded-For` counts; `unix`: whoever uses the socket",
    ),
    Setting(
        "storage.low_water_bytes",
        512 * _MEBIBYTE,
        _integer(0, 2**50),
        "with less than this free on the disk nothing is taken in",
    ),
    Setting(
        "storage.ballast_bytes",
        64 * _MEBIBYTE,
        _integer(0, 2**40),
        "size of a file that makes room when the disk is full; 0: none",
    ),
    Setting(
        "retention.days",
        0,
        _integer(0, 100_000),
        "missions that did not change for so many days are removed; 0: never",
    ),
    Setting(
        "retention.missions",
        0,
        _integer(0, 2**40),
        "missions that a workspace keeps, last changed first; 0: all",
    ),
    Setting(
        "retention.bytes", 0, _integer(0, 2**50), "room that the missions of a workspace may take; 0: any"
    ),
    Setting(
        "retention.interval_seconds",
        3600.0,
        _number(least=1, most=7 * 86_400),
        "time between two rounds of retention",
    ),
    Setting("alert.page_url", None, _URL, "address of the page in messages; else where the daemon listens"),
    Setting("alert.timeout_seconds", 10.0, _number(above=0, most=300), "how long one attempt may take"),
    Setting("alert.attempts", 8, _integer(1, 20), "attempts after which a message is given up"),
    Setting(
        "alert.pause_seconds",
        5.0,
        _number(above=0, most=3600),
        "pause after a failed attempt; each one is four times as long as the one before, up to six hours",
    ),
    Setting(
        "alert.trend_seconds",
        60.0,
        _number(above=0, most=86_400),
        "time between two looks at a trend that a rule waits for",
    ),
    Setting(
        "backup.interval_seconds",
        7 * 86_400.0,
        _number(least=0, most=366 * 86_400),
        "time between two backups that the daemon makes and verifies by itself; 0: none",
    ),
    Setting("backup.keep", 2, _integer(1, 1000), "how many of those are kept, the newest ones"),
)

_BY_KEY: Final = {setting.key: setting for setting in SETTINGS}
_BY_VARIABLE: Final = {setting.variable: setting for setting in SETTINGS}


def load_settings(
    *,
    home: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str],
    directory: Path,
) -> Settings:
    """All settings as of now. `flags` are by key, those that are None were not given."""
    folder = find_home(home, environment)
    values: dict[str, Any] = {setting.field: setting.default for setting in SETTINGS}
    for source in (folder / HOME_FILE, directory / PROJECT_FILE):
        values.update(_from_file(source))
    values.update(_from_environment(environment, directory))
    values.update(_from_flags(flags or {}, directory))
    settings = Settings(home=folder, **values)
    for inbox in settings.inbox:
        check_inbox(inbox.path, folder)
    return settings


def find_home(flag: Path | None, environment: Mapping[str, str]) -> Path:
    """The home folder: the flag, else QUARTERMASTER_HOME, else where the platform keeps data of a user."""
    if flag is not None:
        return flag.expanduser().absolute()
    if environment.get("QUARTERMASTER_HOME"):
        return Path(environment["QUARTERMASTER_HOME"]).expanduser().absolute()
    import platformdirs  # noqa: PLC0415 - most processes are told their home

    return platformdirs.user_data_path("quartermaster", appauthor=False)


def profile_of(settings: Settings) -> Profile:
    """The thresholds of the settings."""
    return Profile(
        tool_success_rate=settings.eval_thresholds_tool_success_drop,
        steps_to_goal=settings.eval_thresholds_steps_rise,
        total_cost_usd=settings.eval_thresholds_cost_rise,
        hallucinations=settings.eval_thresholds_hallucinations_rise,
    )


def retention_of(settings: Settings) -> Policy:
    """What workspaces keep of which nothing was said themselves."""
    return Policy(
        days=settings.retention_days or None,
        missions=settings.retention_missions or None,
        size=settings.retention_bytes or None,
    )


def masker_of(settings: Settings) -> Masker | None:
    """What masks secrets; None where that is switched off."""
    return Masker(settings.ingest_secret_patterns) if settings.ingest_mask_secrets else None


def own_prices(settings: Settings) -> OwnPrices:
    """The user's own prices, as their file is now."""
    path = settings.eval_price_file
    if path is None:
        return OwnPrices()
    try:
        text = path.read_bytes()
        document = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text.decode())
        return own_prices_of(document, hashlib.sha256(text).hexdigest()[:12])
    except OSError as error:
        raise ConfigurationError(f"price file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigurationError(f"price file {path} is not valid {kind}: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"price file {path}: {error}") from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    if path.name == PROJECT_FILE:
        document.pop(POLICY_TABLE, None)
    values = {}
    for key, value in _flattened(document):
        setting = _BY_KEY.get(key)
        if setting is None:
            raise ConfigurationError(f"{path}: unknown setting {key!r}; {_advice(key)}")
        values[setting.field] = _accepted(setting, value, f"{path}: {key}", path.parent)
    return values


def _flattened(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and any(key.startswith(f"{prefix}{name}.") for key in _BY_KEY):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _advice(key: str) -> str:
    if key == "home":
        return "the home is chosen with --home or QUARTERMASTER_HOME"
    return "known are " + ", ".join(_BY_KEY)


def _from_environment(environment: Mapping[str, str], directory: Path) -> dict[str, Any]:
    values = {}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in VARIABLES_BESIDE_SETTINGS or name in _VARIABLES_OF_TESTS:
            continue
        setting = _BY_VARIABLE.get(name)
        if setting is None:
            known = ", ".join([*VARIABLES_BESIDE_SETTINGS, *_BY_VARIABLE])
            raise ConfigurationError(f"unknown environment variable {name}; known are {known}")
        place = f"environment variable {name}"
        try:
            value = setting.kind.parse(environment[name])
        except ValueError as error:
            raise _refused(setting, environment[name], place) from error
        values[setting.field] = _accepted(setting, value, place, directory)
    return values


def _from_flags(flags: Mapping[str, object], directory: Path) -> dict[str, Any]:
    given = {_BY_KEY[key]: value for key, value in flags.items() if value is not None}
    return {
        setting.field: _accepted(setting, value, f"--{setting.key}", directory)
        for setting, value in given.items()
    }


def _accepted(setting: Setting, value: Any, place: str, base: Path) -> Any:
    try:
        accepted = setting.kind.accept(value)
    except ValueError as error:
        raise _refused(setting, value, place) from error
    if setting.kind is _PATH:
        return _absolute(accepted, base)
    if setting.kind is _INBOXES:
        return tuple(msgspec.structs.replace(one, path=_absolute(one.path, base)) for one in accepted)
    return accepted


def _refused(setting: Setting, value: object, place: str) -> ConfigurationError:
    return ConfigurationError(f"{place} is {value!r:.100}; allowed is {setting.kind.allowed}")


def _absolute(path: Path, base: Path) -> Path:
    return base.absolute() / path.expanduser()


def check_inbox(path: Path, home: Path) -> None:
    """Refuse a folder that is none of recordings, or that this program writes to itself.

    Raises ConfigurationError with what to do.
    """
    folder = path.resolve()
    if folder == Path(folder.anchor):
        raise ConfigurationError(f"inbox {path} is the whole file system; name the folder of the recordings")
    if _user_folder().is_relative_to(folder):
        raise ConfigurationError(f"inbox {path} holds all your files; name the folder of the recordings")
    if home.resolve().is_relative_to(folder):
        raise ConfigurationError(f"inbox {path} contains the data folder {home}; choose another of the two")
    if folder.is_relative_to(home.resolve()):
        raise ConfigurationError(f"inbox {path} lies inside the data folder, whose inbox is watched anyway")


def _user_folder() -> Path:
    try:
        return Path.home().resolve()
    except RuntimeError:  # an account without a home folder
        return Path("/")
