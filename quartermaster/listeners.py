"""Where the daemon listens: an address, a Unix socket, or a socket that systemd has opened; and its TLS."""

import errno
import os
import socket
import ssl
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from quartermaster.errors import ConfigurationError

_BACKLOG: Final = 1024
_FIRST_PASSED: Final = 3
"""File descriptor of the first socket that systemd passes on."""
_UNIX_SCHEME: Final = "unix:"


def bind(host: str, port: int, *, guarded: bool) -> socket.socket:
    """A listening socket; ConfigurationError says why there is none.

    `guarded` says that what travels over it is encrypted, by TLS of our own or of a proxy.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError(f"host {host!r} is not an address of this machine") from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] is not socket.AF_INET)
    if not guarded:
        _require_loopback(host, str(address[0]))
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(_why_not_bound(host, port, error)) from error
    return listener


@contextmanager
def bind_unix(path: Path, mode: str) -> Generator[socket.socket, None, None]:
    """A listening Unix socket, which is removed at the end; one that a killed daemon left is replaced.

    `mode` says who may connect, in octal: 0600 its owner, 0660 its group too.
    """
    _remove_leftover(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~int(mode, 8))  # from its first moment on it is not open to others
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"socket {path} cannot be made: {error.strerror or error}") from error
    finally:
        os.umask(before)
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def passed_on(environment: Mapping[str, str], *, guarded: bool) -> socket.socket | None:
    """The socket that systemd has opened for this process; None where it has not."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return None
    if environment.get("LISTEN_FDS") != "1":
        raise ConfigurationError(
            f"systemd passes on {environment.get('LISTEN_FDS')} sockets;"
            " the socket unit names one address in ListenStream="
        )
    try:
        listener = socket.socket(fileno=_FIRST_PASSED)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigurationError("what systemd passes on is no socket") from error
    if listener.type is not socket.SOCK_STREAM or not listens:
        raise ConfigurationError("the socket unit needs ListenStream= and Accept=no")
    if not guarded and not is_unix(listener):
        host = str(listener.getsockname()[0])
        _require_loopback(host, host)
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What answers in TLS with a certificate (PEM, its chain behind it); None where none is named."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError("TLS needs both --tls-cert and --tls-key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{certificate} and {key} are no PEM certificate with its own key, without a password"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"the TLS certificate or key cannot be read: {error.strerror}") from error
    return context


def is_unix(listener: socket.socket) -> bool:
    """Whether only processes of this machine reach it, by a file."""
    return listener.family is socket.AF_UNIX


def url_of(listener: socket.socket, *, secure: bool) -> str:
    """The address under which a listening socket is reached."""
    if is_unix(listener):
        return f"{_UNIX_SCHEME}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{name}:{port}"


def is_loopback(address: str) -> bool:
    """Whether an IP address is reached from this machine alone."""
    return ip_address(address.partition("%")[0]).is_loopback


def _require_loopback(host: str, address: str) -> None:
    if not is_loopback(address):
        raise ConfigurationError(
            f"host {host!r} is reachable from other machines, and tokens would travel unencrypted;"
            " give a certificate with --tls-cert and --tls-key, put a TLS proxy in front and pass"
            " --behind-proxy, or keep 127.0.0.1"
        )


def _remove_leftover(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(f"socket {path} is a file of another kind; choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                path.unlink(missing_ok=True)
                return
        raise ConfigurationError(f"socket {path} is in use; another daemon answers there")


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another with --port, or 0 for a free one"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has; choose one above 1023 with --port"
    return f"{host}:{port} cannot be listened on: {error.strerror}"
