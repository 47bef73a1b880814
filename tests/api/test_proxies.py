"""Whom a request comes from, where a proxy forwards it."""

import pytest

from quartermaster.api.proxies import Proxies


def unmasked(proxies: Proxies, peer: str, *forwarded: str, scheme: str | None = None) -> tuple[str, str]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    if scheme is not None:
        headers.append((b"x-forwarded-proto", scheme.encode()))
    scope = {"client": (peer, 1) if peer else None, "headers": headers, "scheme": "http"}
    proxies.unmask(scope)
    return scope["client"][0] if scope["client"] else "", scope["scheme"]


def test_only_a_known_proxy_is_believed():
    proxies = Proxies(["10.0.0.0/8"])
    assert unmasked(proxies, "10.1.1.1", "203.0.113.7", scheme="https") == ("203.0.113.7", "https")
    assert unmasked(proxies, "192.0.2.1", "203.0.113.7", scheme="https") == ("192.0.2.1", "http")


def test_what_a_client_claims_before_the_proxy_does_not_count():
    proxies = Proxies(["10.0.0.1", "10.0.0.2"])
    assert unmasked(proxies, "10.0.0.1", "127.0.0.1, 203.0.113.7, 10.0.0.2")[0] == "203.0.113.7"
    assert unmasked(proxies, "10.0.0.1", "127.0.0.1", "203.0.113.7")[0] == "203.0.113.7"


def test_the_other_end_of_a_unix_socket_is_a_proxy_when_that_is_said():
    assert unmasked(Proxies(["unix"]), "", "203.0.113.7")[0] == "203.0.113.7"
    assert unmasked(Proxies(["10.0.0.1"]), "", "203.0.113.7")[0] == ""


def test_without_proxies_nothing_is_looked_at():
    assert not Proxies()


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/33", "*", ""])
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ValueError, match="does not appear to be"):
        Proxies([text])
