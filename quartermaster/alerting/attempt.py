"""How an attempt to deliver a message ended."""

import msgspec


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """`said` may be shown and logged: it names no address and no argument, which may hold secrets.

    `final`: no further attempt can end otherwise. `after_seconds` is how long the receiver asks to wait.
    """

    delivered: bool
    said: str
    final: bool = False
    after_seconds: float | None = None


class Undeliverable(Exception):
    """An attempt that failed before it began; the message is what is said of it."""
