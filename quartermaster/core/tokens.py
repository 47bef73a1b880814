"""How a token is written: `qm_`, a public id, a secret, and a checksum against typing mistakes."""

import re
import zlib
from hashlib import sha256
from typing import Final

SECRET_BYTES: Final = 32
"""Random bytes that a secret is made of."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 12
_SECRET_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_TOKEN: Final = re.compile(r"qm_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)


def new_token(secret_bytes: bytes) -> tuple[str, str, str]:
    """The text of a token, its public id and its secret."""
    secret = secret_text(secret_bytes)
    token_id = _base62(sha256(b"token id" + secret_bytes).digest(), _ID_LENGTH)
    body = f"qm_{token_id}_{secret}"
    return body + _checksum(body), token_id, secret


def secret_text(secret_bytes: bytes) -> str:
    """A secret in letters and digits; ValueError for one that is too short to be one."""
    if len(secret_bytes) < SECRET_BYTES:
        raise ValueError(f"a secret is made of {SECRET_BYTES} random bytes")
    return _base62(secret_bytes, _SECRET_LENGTH)


def parse_token(text: str) -> tuple[str, str] | None:
    """Public id and secret; None for what is no token, also for one with a typing mistake."""
    match = _TOKEN.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_LENGTH]) != match[3]:
        return None
    return match[1], match[2]


def is_token(text: str) -> bool:
    """Whether a text is written like a token; says nothing about whether it is valid."""
    return parse_token(text) is not None


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()).to_bytes(4, "big"), _CHECKSUM_LENGTH)


def _base62(data: bytes, length: int) -> str:
    """The last `length` base62 digits of a number, the most significant first."""
    number, digits = int.from_bytes(data, "big"), []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
