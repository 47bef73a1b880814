"""Cursors of paged lists: opaque to clients, bound to the list that made them."""

import base64
import binascii
import zlib
from typing import Any

import msgspec

from quartermaster.errors import UsageError


def write_cursor(scope: tuple[Any, ...], position: tuple[Any, ...]) -> str:
    """A cursor that continues behind `position` of the list that `scope` names."""
    body = msgspec.json.encode(position)
    check = zlib.crc32(body, zlib.crc32(repr(scope).encode())).to_bytes(4, "big")
    return base64.urlsafe_b64encode(check + body).rstrip(b"=").decode()


def read_cursor(cursor: str, scope: tuple[Any, ...], types: tuple[Any, ...]) -> tuple[Any, ...]:
    """The position inside of a cursor; UsageError when it is damaged or of another list."""
    try:
        data = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, body = data[:4], data[4:]
        if zlib.crc32(body, zlib.crc32(repr(scope).encode())).to_bytes(4, "big") != check:
            raise ValueError
        position = msgspec.json.decode(body)
        if len(position) != len(types) or not all(map(isinstance, position, types)):
            raise ValueError
    except (ValueError, binascii.Error, TypeError, UnicodeEncodeError, RecursionError):
        raise UsageError("the cursor is damaged or of another list; start from the first page") from None
    return tuple(position)
