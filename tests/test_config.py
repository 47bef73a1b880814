"""Where settings come from, which source wins, and what is refused."""

import hashlib
from decimal import Decimal
from pathlib import Path

import pytest

from quartermaster.config import SETTINGS, Inbox, Settings, find_home, load_settings, own_prices, profile_of
from quartermaster.core.pricing import OwnPrices
from quartermaster.errors import ConfigurationError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory beside a home folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path


def load(place: Path, *, environment: dict[str, str] | None = None, **flags: object) -> Settings:
    return load_settings(
        home=place / "home", flags=flags, environment=environment or {}, directory=place / "work"
    )


def write_home(place: Path, text: str) -> None:
    (place / "home" / "config.toml").write_text(text)


def write_project(place: Path, text: str) -> None:
    (place / "work" / "quartermaster.toml").write_text(text)


def test_without_any_source_every_setting_has_its_default(place: Path):
    settings = load(place)
    assert (settings.host, settings.port) == ("127.0.0.1", 7117)
    assert settings.eval_deadline_seconds == 600
    assert settings.ingest_line_limit_bytes == settings.http_body_limit_bytes == 16 * 2**20
    for setting in SETTINGS:
        assert getattr(settings, setting.field) == setting.default


def test_each_source_wins_over_the_one_behind_it(place: Path):
    write_home(place, "port = 1001")
    assert load(place).port == 1001
    write_project(place, "port = 1002")
    assert load(place).port == 1002
    assert load(place, environment={"QUARTERMASTER_PORT": "1003"}).port == 1003
    assert load(place, environment={"QUARTERMASTER_PORT": "1003"}, port=1004).port == 1004


def test_a_source_that_is_silent_about_a_key_leaves_it_to_the_next(place: Path):
    write_home(place, "port = 1001\n[eval]\nconcurrency = 3")
    write_project(place, "[eval]\ndeadline_seconds = 5")
    settings = load(place, host=None)
    assert (settings.port, settings.eval_concurrency, settings.eval_deadline_seconds) == (1001, 3, 5.0)
    assert settings.host == "127.0.0.1"


def test_every_setting_can_be_given_by_its_variable(place: Path, tmp_path: Path):
    texts = {
        "host": "::1",
        "alert.page_url": "https://qm.example.com",
        "behind_proxy": "true",
        "log_format": "json",
        "inbox": str(tmp_path / "recordings"),
        "socket_mode": "0660",
        "http.allowed_hosts": "a.example:443, b.example",
        "http.trusted_proxies": "10.0.0.0/8, unix",
        "ingest.mask_secrets": "false",
    }
    environment = {setting.variable: texts.get(setting.key, "1") for setting in SETTINGS}
    environment |= dict.fromkeys(
        ("QUARTERMASTER_INGEST_LINE_LIMIT_BYTES", "QUARTERMASTER_HTTP_BODY_LIMIT_BYTES"), "2048"
    )
    environment["QUARTERMASTER_EVAL_WORKER_MEMORY_BYTES"] = str(2**30)
    settings = load(place, environment=environment)
    assert settings.behind_proxy is True
    assert settings.inbox == (Inbox(tmp_path / "recordings", "local"),)
    assert settings.http_allowed_hosts == ("a.example:443", "b.example")
    assert settings.http_body_limit_bytes == 2048
    assert all(getattr(settings, setting.field) != setting.default for setting in SETTINGS)


@pytest.mark.parametrize(
    "text",
    ["prot = 1", "[eval]\ndeadline = 1", "[evil]\nx = 1", "[evil]", "eval = 3", "home = '/x'", "'' = 1"],
)
def test_an_unknown_key_is_refused_with_its_name_and_its_file(place: Path, text: str):
    write_project(place, text)
    with pytest.raises(ConfigurationError, match=r"quartermaster\.toml: unknown setting") as caught:
        load(place)
    assert caught.value.exit_code == 2


def test_an_unknown_variable_is_refused_by_name(place: Path):
    with pytest.raises(ConfigurationError, match="QUARTERMASTER_PROT"):
        load(place, environment={"QUARTERMASTER_PROT": "1"})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("port = '7117'", "port"),
        ("port = true", "port"),
        ("port = 65536", "port"),
        ("port = 1.0", "port"),
        ("behind_proxy = 1", "behind_proxy"),
        ("behind_proxy = 'yes'", "behind_proxy"),
        ("host = ''", "host"),
        ("log_format = 'xml'", "log_format"),
        ("inbox = 'x'", "inbox"),
        ("[inbox]\npath = 'x'", "inbox"),
        ("[[inbox]]\nworkspace = 'x'", "inbox"),
        ("[[inbox]]\npath = 'x'\ncolour = 'y'", "inbox"),
        ("[[inbox]]\npath = 3", "inbox"),
        ("[eval]\ndeadline_seconds = 0", "eval.deadline_seconds"),
        ("[eval]\ndeadline_seconds = nan", "eval.deadline_seconds"),
        ("[eval]\ndeadline_seconds = inf", "eval.deadline_seconds"),
        ("[eval.thresholds]\ncost_rise = -0.1", "eval.thresholds.cost_rise"),
        ("[http]\nallowed_hosts = 'a'", "http.allowed_hosts"),
        ("[http]\nallowed_hosts = [1]", "http.allowed_hosts"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_key_file_and_what_is_allowed(
    place: Path, text: str, key: str
):
    write_home(place, text)
    with pytest.raises(ConfigurationError) as caught:
        load(place)
    message = str(caught.value)
    assert f"config.toml: {key} is " in message
    assert "; allowed is " in message


@pytest.mark.parametrize("text", ["yes", "1", "True", "on", ""])
def test_a_boolean_variable_is_true_or_false_and_nothing_else(place: Path, text: str):
    with pytest.raises(ConfigurationError, match=r"QUARTERMASTER_BEHIND_PROXY .* true or false"):
        load(place, environment={"QUARTERMASTER_BEHIND_PROXY": text})


def test_broken_toml_is_refused_with_the_file_and_the_place(place: Path):
    write_home(place, "port =")
    with pytest.raises(ConfigurationError, match=r"config\.toml is not valid TOML: "):
        load(place)


def test_a_settings_file_that_is_a_folder_is_refused(place: Path):
    (place / "work" / "quartermaster.toml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(place)


def test_a_relative_inbox_is_taken_from_where_it_was_written(place: Path):
    write_home(place, "[[inbox]]\npath = '../records'\nworkspace = 'team'")
    (inbox,) = load(place).inbox
    assert inbox.path.resolve() == place / "records"
    assert inbox.workspace == "team"
    (inbox,) = load(place, inbox=[{"path": "here"}]).inbox
    assert inbox.path == place / "work" / "here"


def test_an_inbox_that_would_take_in_everything_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(place / "people" / "ann"))
    (place / "people" / "ann").mkdir(parents=True)
    for folder in ("/", "~", "~/..", str(place / "home"), str(place), str(place / "home" / "inbox")):
        with pytest.raises(ConfigurationError, match=r"^inbox "):
            load(place, inbox=[{"path": folder}])
    assert load(place, inbox=[{"path": "~/.claude/projects"}]).inbox


def test_a_link_to_the_data_folder_is_refused_as_inbox(place: Path):
    (place / "link").symlink_to(place)
    with pytest.raises(ConfigurationError, match="contains the data folder"):
        load(place, inbox=[{"path": str(place / "link")}])


def test_the_home_comes_from_the_flag_then_the_variable_then_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    environment = {"QUARTERMASTER_HOME": str(tmp_path / "by-variable")}
    assert find_home(tmp_path / "by-flag", environment) == tmp_path / "by-flag"
    assert find_home(None, environment) == tmp_path / "by-variable"
    assert find_home(None, {}).name == "quartermaster"


def test_thresholds_become_the_profile_of_comparisons(place: Path):
    write_home(place, "[eval.thresholds]\nsteps_rise = 0.5\nhallucinations_rise = 2")
    profile = profile_of(load(place))
    assert profile.steps_to_goal == 0.5
    assert profile.hallucinations == 2
    assert profile.tool_success_rate == 0.05


TOML_PRICES = '["our-*"]\ninput = 1\noutput = 2.5\n\n[["gpt-4o"]]\ninput = 3\noutput = 4\nfrom = 2026-01-01\n'
JSON_PRICES = (
    '{"our-*": {"input": 1, "output": 2.5}, "gpt-4o": [{"input": 3, "output": 4, "from": "2026-01-01"}]}'
)


@pytest.mark.parametrize(("name", "text"), [("prices.toml", TOML_PRICES), ("prices.json", JSON_PRICES)])
def test_own_prices_are_read_from_beside_the_file_that_names_them(place: Path, name: str, text: str):
    (place / "home" / name).write_text(text)
    write_home(place, f'[eval]\nprice_file = "{name}"\n')
    prices = own_prices(load(place))
    assert [(one.pattern, one.input, one.output) for one in prices.prices] == [
        ("our-*", 1, Decimal("2.5")),
        ("gpt-4o", 3, 4),
    ]
    assert [one.since for one in prices.prices] == [None, 1767225600 * 10**9]
    assert prices.digest == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_without_a_price_file_there_are_no_own_prices(place: Path):
    assert own_prices(load(place)) == OwnPrices()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.toml", '["m"]\ninput = "x"\noutput = 1\n', "input of 'm' is 'x'; allowed is a number of dollars"),
        ("p.toml", "[m\n", "is not valid TOML"),
        ("p.json", "{", "is not valid JSON"),
        ("p.json", "[]", "the file holds no table"),
    ],
)
def test_a_mistake_in_the_price_file_names_file_and_key(place: Path, name: str, text: str, said: str):
    (place / "work" / name).write_text(text)
    settings = load(place, environment={"QUARTERMASTER_EVAL_PRICE_FILE": name})
    with pytest.raises(ConfigurationError, match=said) as raised:
        own_prices(settings)
    assert str(place / "work" / name) in str(raised.value)


def test_a_price_file_that_is_gone_is_an_error(place: Path):
    with pytest.raises(ConfigurationError, match=r"price file .* cannot be read"):
        own_prices(load(place, **{"eval.price_file": "gone.toml"}))
