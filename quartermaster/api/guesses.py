"""A limit on guessing credentials: a client address may be wrong a few times a minute."""

import math
import time
from ipaddress import IPv6Address, ip_address
from typing import Final

GUESSES: Final = 20
SECONDS: Final = 60.0

_ADDRESSES: Final = 4096
_CREDENTIALS: Final = 4096


class Guesses:
    """Wrong credentials by address. The same ones sent again are no further guess, and credentials that
    were once right are always looked at, so that nobody is locked out by a neighbour who guesses."""

    def __init__(self) -> None:
        self._of_address: dict[str, tuple[float, int]] = {}
        self._wrong: set[bytes] = set()
        self._right: set[bytes] = set()

    def right(self, credentials: bytes) -> None:
        """These digested credentials were valid."""
        _remember(self._right, credentials)

    def wrong(self, address: str, credentials: bytes) -> None:
        """Count a guess, unless it is an old one."""
        if credentials in self._wrong:
            return
        _remember(self._wrong, credentials)
        source = _source(address)
        began, count = self._of_address.get(source, (0.0, 0))
        if time.monotonic() - began > SECONDS:
            began, count = time.monotonic(), 0
        if len(self._of_address) >= _ADDRESSES and source not in self._of_address:
            self._of_address.clear()
        self._of_address[source] = (began, count + 1)

    def pause(self, address: str, credentials: bytes) -> int:
        """Seconds after which credentials are looked at again; 0: now."""
        if not self._of_address or credentials in self._right:
            return 0
        began, count = self._of_address.get(_source(address), (0.0, 0))
        left = began + SECONDS - time.monotonic()
        return math.ceil(left) if count >= GUESSES and left > 0 else 0


def _remember(known: set[bytes], credentials: bytes) -> None:
    if len(known) >= _CREDENTIALS:
        known.clear()
    known.add(credentials)


def _source(address: str) -> str:
    """An address of version 6 counts with its neighbours: one machine has 2^64 of them."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return parsed.exploded[:19] if isinstance(parsed, IPv6Address) else address
