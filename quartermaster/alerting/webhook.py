"""Messages as signed POSTs, in the way of Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp` and
`webhook-signature: v1,…`, an HMAC-SHA256 over `id.timestamp.body`.

The address is looked up once for each attempt, and what was looked up and allowed is what is connected to:
a name that changes its address meanwhile gains nothing. Redirects are not followed, proxies of the
environment not used, and no answer is read beyond its head.
"""

import base64
import hashlib
import hmac
import ssl
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

import anyio

from quartermaster import __version__
from quartermaster.alerting.attempt import Attempt, Undeliverable
from quartermaster.core.alerts import Webhook
from quartermaster.errors import UsageError

if TYPE_CHECKING:
    import httpx

SECRET_BYTES: Final = 32
"""Random bytes that a secret is made of."""

_PREFIX: Final = "whsec_"
_URL_LIMIT: Final = 2_000
_PORTS: Final = {"http": 80, "https": 443}
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_ADDRESSES: Final = 4
_GONE: Final = 410
_OWN_NAMES: Final = (".local", ".localhost", ".internal", ".lan", ".home.arpa")


def secret_of(random: bytes) -> str:
    """A secret as receivers are given it."""
    return _PREFIX + base64.b64encode(random).decode()


def signed_headers(secret: str, delivery_id: str, body: bytes, *, timestamp: int) -> dict[str, str]:
    """The headers of one attempt; `timestamp` is in seconds since 1970."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = hmac.new(key, b"%s.%d.%s" % (delivery_id.encode(), timestamp, body), hashlib.sha256).digest()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
        "content-type": "application/json",
        "user-agent": f"quartermaster/{__version__}",
    }


def check_url(url: str, *, local: bool) -> str:
    """The address, where messages may be sent to it; `local`: somebody on this machine asks for it.

    UsageError says what is wrong with it, without repeating it.
    """
    if len(url) > _URL_LIMIT or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(f"the URL has at most {_URL_LIMIT:,} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("the URL cannot be read; use one like https://hooks.example.com/alerts") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise UsageError("the URL begins with https:// or http:// and names a host")
    if "@" in parts.netloc:
        raise UsageError("the URL holds no user and no password: messages are signed instead")
    if parts.fragment:
        raise UsageError("the URL ends before its #: what is behind it is never sent")
    if not local and not _may_be_public(parts.hostname):
        raise UsageError(
            "the host is of a private network; whoever owns this machine may add such a rule there,"
            " with `quartermaster alert add`"
        )
    return url


def shown(url: str) -> str:
    """The address without path and query, which are the secret of many receivers."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, whatever it is wrapped into."""
    ip = ip_address(address.partition("%")[0])
    wrapped = _wrapped(ip) if isinstance(ip, IPv6Address) else None
    return ip.is_global and not ip.is_multicast and (wrapped is None or is_public(str(wrapped)))


def _wrapped(ip: IPv6Address) -> IPv4Address | None:
    if ip in _TRANSLATED:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _may_be_public(host: str) -> bool:
    """What can be said before the name is looked up; each attempt looks again."""
    try:
        return is_public(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return "." in name and not name.endswith(_OWN_NAMES)


async def post(
    webhook: Webhook, secret: str, delivery_id: str, body: bytes, *, timestamp: int, seconds: float
) -> Attempt:
    """One attempt. Whatever goes wrong is what is said of it."""
    headers = signed_headers(secret, delivery_id, body, timestamp=timestamp)
    try:
        with anyio.fail_after(seconds):
            return await _post(webhook, headers, body, seconds)
    except TimeoutError:
        return Attempt(delivered=False, said=f"no answer within {seconds:g} seconds")
    except Undeliverable as error:
        return Attempt(delivered=False, said=str(error))


async def _post(webhook: Webhook, headers: dict[str, str], body: bytes, seconds: float) -> Attempt:
    import httpx  # noqa: PLC0415 - the first message loads it, not the start

    parts = urlsplit(webhook.url)
    addresses = await _addresses(parts, private_too=webhook.local)
    transport = httpx.AsyncHTTPTransport(verify=_trust(), trust_env=False, retries=0)
    async with httpx.AsyncClient(
        transport=transport, trust_env=False, follow_redirects=False, timeout=seconds
    ) as http:
        for number, address in enumerate(addresses, start=1):
            request = http.build_request(
                "POST",
                httpx.URL(webhook.url).copy_with(host=address),
                content=body,
                headers={**headers, "host": parts.netloc},
                extensions={"sni_hostname": parts.hostname},
            )
            try:
                response = await http.send(request, stream=True)
            except httpx.ConnectError as error:
                if number == len(addresses):
                    raise Undeliverable(_why_unconnected(error)) from None
                continue
            except httpx.HTTPError as error:
                raise Undeliverable(
                    f"the connection ended without an answer ({type(error).__name__})"
                ) from None
            await response.aclose()
            return _understood(response)
    raise Undeliverable("the host has no address")


async def _addresses(parts: SplitResult, *, private_too: bool) -> list[str]:
    """Where the host is, as far as messages may go there, each address once."""
    try:
        found = await anyio.getaddrinfo(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except (OSError, UnicodeError):
        raise Undeliverable("the name of the host is not known") from None
    known = list(dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found))
    allowed = [address for address in known if private_too or is_public(address)]
    if known and not allowed:
        raise Undeliverable(
            "the host is of a private network, which a rule that was made over HTTP may not reach"
        )
    return allowed[:_ADDRESSES]


@cache
def _trust() -> ssl.SSLContext:
    """Authorities of the machine, among them its owner's own, and those that come with the client."""
    import httpx  # noqa: PLC0415 - as above

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _why_unconnected(error: "httpx.ConnectError") -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "it does not speak TLS as it should"
        cause = cause.__cause__ or cause.__context__
    return "no connection"


def _understood(response: "httpx.Response") -> Attempt:
    status = response.status_code
    if 200 <= status < 300:
        return Attempt(delivered=True, said=f"answered {status}")
    if 300 <= status < 400:
        return Attempt(delivered=False, said=f"answered {status}: redirects are not followed")
    if status == _GONE:
        return Attempt(delivered=False, said=f"answered {status}: it wants no more messages", final=True)
    wait = response.headers.get("retry-after", "")
    after = float(wait) if wait.isascii() and wait.isdigit() and len(wait) <= 9 else None
    return Attempt(delivered=False, said=f"answered {status}", after_seconds=after)
