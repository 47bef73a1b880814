"""Answers as bytes that are ready to be sent."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar.types import Receive, Scope, Send

JSON: Final = "application/json"


class Answer:
    """A response whose body is encoded already: an ASGI application of one answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        *,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = [(b"content-length", b"%d" % len(body))]
        if body:
            self.headers.append((b"content-type", media_type.encode()))
        for name, value in (headers or {}).items():
            self.headers.append((name.lower().encode(), value.encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A value as JSON; msgspec.Raw inside of it goes out as it is."""
    return Answer(status, msgspec.json.encode(value), headers=headers)
