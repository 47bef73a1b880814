"""Secrets are found by their form and masked; what only speaks of secrets stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.core.secrets import Masker
from quartermaster.errors import ConfigurationError

LETTERS = "aB3dE5gH7jK9mN2pQ4sT6vW8yZ1cF0xR"
LONG = (LETTERS * 4)[:100]

SECRETS = {
    "anthropic_key": "sk-ant-api03-" + LONG[:60],
    "openai_key": "sk-proj-" + LONG[:48],
    "github_token": "ghp_" + LONG[:36],
    "gitlab_token": "glpat-" + LONG[:20],
    "aws_access_key": "AKIA" + "Q3EGT5ZXCVBNM2K7",
    "google_api_key": "AIza" + LONG[:35],
    "slack_token": "xoxb-" + LONG[:24],
    "stripe_key": "sk_live_" + LONG[:24],
    "hugging_face_token": "hf_" + LONG[:34],
    "npm_token": "npm_" + LONG[:36],
    "pypi_token": "pypi-AgE" + LONG[:60],
    "quartermaster_token": "qm_" + LONG[:12] + "_" + LONG[:49],
    "json_web_token": f"eyJ{LONG[:20]}.eyJ{LONG[:30]}.{LONG[:43]}",
}


@pytest.mark.parametrize(("rule", "secret"), SECRETS.items())
@pytest.mark.parametrize("around", ["{}", "key={} and more", '{{"text": "use {}"}}', "({})", "\n{}\n"])
def test_a_secret_is_masked_wherever_it_stands(rule: str, secret: str, around: str) -> None:
    masked, counts = Masker().mask(around.format(secret).encode())
    assert secret.encode() not in masked
    assert masked.decode() == around.format(f"[masked:{rule}]")
    assert counts == {rule: 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Authorization: Bearer {LONG[:40]}", "Authorization: Bearer [masked:bearer_token]"),
        ("postgres://app:h7Tq2vLp@db.local/x", "postgres://app:[masked:connection_string]@db.local/x"),
        (f"API_KEY={LETTERS}", "API_KEY=[masked:assigned_secret]"),
        (f'"client_secret": "{LETTERS}"', '"client_secret": "[masked:assigned_secret]"'),
        (f"password = '{LETTERS}'", "password = '[masked:assigned_secret]'"),
        (f"aws_secret_access_key: {LETTERS}", "aws_secret_access_key: [masked:assigned_secret]"),
    ],
)
def test_only_the_secret_itself_is_masked(text: str, expected: str) -> None:
    assert Masker().mask(text.encode())[0].decode() == expected


def test_a_private_key_is_masked_with_its_line_breaks() -> None:
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{LONG}\n{LONG}\n-----END RSA PRIVATE KEY-----"
    masked, _ = Masker().mask(json.dumps({"file": key, "after": 1}).encode())
    assert json.loads(masked) == {"file": "[masked:private_key]", "after": 1}


def test_a_secret_that_begins_inside_of_the_beginning_of_another_is_masked() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + LONG + "\n-----END PRIVATE KEY-----"
    masked, counts = Masker().mask(f"glpat{key}".encode())
    assert (masked, counts) == (b"glpat[masked:private_key]", {"private_key": 1})


def test_a_private_key_is_masked_as_far_as_a_cut_text_holds_it() -> None:
    text = f"-----BEGIN RSA PRIVATE KEY-----\n{LONG}\n{LONG}… and so on"
    masked, _ = Masker().mask(json.dumps({"output": text}, ensure_ascii=False).encode())
    assert json.loads(masked) == {"output": "[masked:private_key]… and so on"}


@pytest.mark.parametrize(
    "text",
    [
        '{"input_tokens": 1234567890123456, "output_tokens": 12}',
        "token = tokenizer.encode_plus(text)",
        "password: str = settings.database_password",
        'secret = os.environ["API_SECRET_KEY_NAME"]',
        "sk-learn-something-with-many-words-in-it",
        "https://example.org:8080/path@2",
        "postgres://user:password@localhost/db",
        "postgres://user:$PASSWORD@localhost/db",
        "Bearer authentication_is_required_here",
        "task-sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    ],
)
def test_what_only_speaks_of_secrets_stays(text: str) -> None:
    assert Masker().mask(text.encode()) == (text.encode(), {})
    assert not Masker().finds(text.encode())


def test_patterns_of_the_user_are_masked_too() -> None:
    masker = Masker([r"ACME-\d{6}", r"badge=(\w+)"])
    assert masker.mask(b"ACME-123456 badge=joe")[0] == b"[masked:custom] badge=[masked:custom]"


def test_a_pattern_that_is_no_regular_expression_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'\('"):
        Masker(["("])


@given(
    st.lists(st.sampled_from([*SECRETS.values(), " ", '"', "\\", "password=", "://a:", "@b", "ü", "x" * 40]))
)
def test_masked_json_stays_json_and_has_nothing_left_to_mask(pieces: list[str]) -> None:
    text = "".join(pieces)
    masked, _ = Masker().mask(json.dumps({"text": text, "list": pieces}).encode())
    assert set(json.loads(masked)) == {"text", "list"}
    assert Masker().mask(masked) == (masked, {})
