"""Who really asks, where a proxy that is known forwards for them."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

UNIX: Final = "unix"
"""Stands for whoever connects over a Unix socket, among the addresses of proxies."""

_NO_ADDRESS: Final = ""


class Proxies:
    """Addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; false without any.

    Raises ValueError for a text that is neither an address, nor a network, nor `unix`.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        texts = frozenset(trusted)
        self._unix = UNIX in texts
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(text) for text in sorted(texts - {UNIX})
        )

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether what an address forwards is believed; "" is the other end of a Unix socket."""
        if address == _NO_ADDRESS:
            return self._unix
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def unmask(self, scope: Any) -> None:
        """Put the client and the scheme that a trusted proxy names into the scope of a request.

        Of a chain of proxies the last address that is not one of them counts: what stands before it
        is the client's own claim.
        """
        if not self.trusts(address_of(scope)):
            return
        chain = ",".join(_values(scope, b"x-forwarded-for")).split(",")
        for address in reversed([one.strip() for one in chain if one.strip()]):
            scope["client"] = (address, 0)
            if not self.trusts(address):
                break
        if _values(scope, b"x-forwarded-proto") == ["https"]:
            scope["scheme"] = "https"


def address_of(scope: Any) -> str:
    """The address that a request comes from; "" over a Unix socket."""
    return scope["client"][0] if scope["client"] else _NO_ADDRESS


def _values(scope: Any, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
