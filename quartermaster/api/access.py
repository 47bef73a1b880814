"""Who is asking, in which workspace, with which role; and how a browser logs in and out."""

import hashlib
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, delete, get, post
from litestar.datastructures import State

from quartermaster.api.answers import Answer, answer
from quartermaster.api.documentation import described
from quartermaster.api.edge import fields_of
from quartermaster.api.guesses import Guesses
from quartermaster.api.problems import (
    bad_request,
    no_credentials,
    no_workspace,
    not_a_member,
    role_too_low,
    too_many_guesses,
)
from quartermaster.api.proxies import address_of
from quartermaster.api.services import Services
from quartermaster.errors import StorageError
from quartermaster.store import access
from quartermaster.store.access import Membership, Principal
from quartermaster.store.database import Connection

PUBLIC: Final = "public"
"""A route that everybody may use."""

SIGNED_IN: Final = "signed in"
"""A route for every valid credential, whatever the workspace."""

_CACHE_SECONDS: Final = 1.0
_CACHE_LIMIT: Final = 1024


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What `authorise` has found out about a request. `membership` is None on routes without a workspace."""

    principal: Principal
    membership: Membership | None

    @property
    def workspace(self) -> int:
        """Key of the workspace that the request is about."""
        assert self.membership is not None, "the route declares no role"
        return self.membership.workspace


Call = Request[None, Access, State]


class Doorkeeper:
    """Tells principals from credentials, and remembers each for a second at most."""

    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._now = services.now
        self._known: dict[bytes, tuple[float, Principal]] = {}
        self._guesses = Guesses()
        instance = hashlib.sha256(str(services.database.path).encode("utf-8", "surrogateescape"))
        # Cookies do not tell ports apart, so two instances on one host need two names.
        self.cookie = f"quartermaster_{instance.hexdigest()[:12]}"

    def principal(self, scope: Any) -> Principal | None:
        """Who sends this request; None without valid credentials. 429 for a client that guesses."""
        fields = fields_of(scope)
        authorization = fields.get(b"authorization")
        if authorization is not None:
            return self._remembered(authorization, _token_in, self._by_token, scope)
        cookie = fields.get(b"cookie")
        return None if cookie is None else self._remembered(cookie, self._session_in, self._by_session, scope)

    def is_valid(self, scope: Any, workspace: int) -> bool:
        """Whether the same credentials still open this workspace."""
        principal = self.principal(scope)
        return principal is not None and any(one.workspace == workspace for one in principal.memberships)

    async def note_use(self, principal: Principal) -> None:
        """Write down that a principal was here."""
        self._known.clear()
        await self._database.write(lambda connection: access.note_use(connection, principal, self._now()))

    def forget(self) -> None:
        """Look everybody up again; something has changed."""
        self._known.clear()

    async def redeem(self, code: str, scope: Any, secret: bytes) -> str | None:
        """The session for a login code; None where it is not valid. 429 for a client that guesses."""
        key, address = hashlib.sha256(code.encode("utf-8", "surrogateescape")).digest(), address_of(scope)
        self._refuse_guesses(key, address)
        before = self.session_of(scope)

        def begin(connection: Connection) -> str | None:
            session = access.redeem_login_code(connection, code, now=self._now(), secret_bytes=secret)
            if session is not None and before is not None:
                access.end_session(connection, before)
            return session

        session = await self._database.write(begin)
        if session is None and code:
            self._guesses.wrong(address, key)
        return session

    def _remembered(
        self,
        credentials: bytes,
        read: Callable[[bytes], str | None],
        look_up: Callable[[str], Principal | None],
        scope: Any,
    ) -> Principal | None:
        key = hashlib.sha256(credentials).digest()
        moment = time.monotonic()
        known = self._known.get(key)
        if known is not None and moment < known[0]:
            return known[1]
        text = read(credentials)
        if text is None:
            return None
        address = address_of(scope)
        self._refuse_guesses(key, address)
        principal = look_up(text)
        if principal is None:
            self._known.pop(key, None)
            self._guesses.wrong(address, key)
            return None
        self._guesses.right(key)
        if len(self._known) >= _CACHE_LIMIT:
            self._known.clear()
        self._known[key] = (moment + _CACHE_SECONDS, principal)
        return principal

    def _refuse_guesses(self, key: bytes, address: str) -> None:
        pause = self._guesses.pause(address, key)
        if pause:
            raise too_many_guesses(pause)

    def _by_token(self, text: str) -> Principal | None:
        return self._database.look_up(lambda connection: access.authenticate(connection, text, self._now()))

    def _by_session(self, text: str) -> Principal | None:
        return self._database.look_up(
            lambda connection: access.authenticate_session(connection, text, self._now())
        )

    def session_of(self, scope: Any) -> bytes | None:
        """The digest of the session whose cookie a request carries, valid or not."""
        text = self._session_in(fields_of(scope).get(b"cookie", b""))
        return None if text is None else access.session_digest(text)

    def _session_in(self, cookie: bytes) -> str | None:
        try:
            found = SimpleCookie(cookie.decode("latin-1")).get(self.cookie)
        except CookieError:
            return None
        return None if found is None else found.value


def _token_in(authorization: bytes) -> str | None:
    """The token of a header; None for what is no token, which no database needs to be asked about."""
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not token.isascii():
        return None
    text = token.strip().decode()
    return text if access.token_id_of(text) is not None else None


def services_of(request: Any) -> Services:
    """What the application was given."""
    services: Services = request.app.state["services"]
    return services


def doorkeeper_of(request: Any) -> Doorkeeper:
    """The application's doorkeeper."""
    doorkeeper: Doorkeeper = request.app.state["doorkeeper"]
    return doorkeeper


async def authorise(request: Call) -> None:
    """Comes before every handler: 401, then 403 for the workspace, then 403 for the role.

    A hook and not a guard of the library, which copies the whole handler for each guard and request.
    """
    if request.scope["method"] == "OPTIONS":  # the library's own: which methods there are is no secret
        return
    least = request.route_handler.opt["role"]
    if least is PUBLIC:
        return
    principal = doorkeeper_of(request).principal(request.scope)
    if principal is None:
        raise no_credentials()
    membership = None if least is SIGNED_IN else _membership(request, principal)
    if membership is not None and membership.role < least:
        raise role_too_low(least.name, membership.role.name)
    request.scope["auth"] = Access(principal=principal, membership=membership)


def _membership(request: Call, principal: Principal) -> Membership:
    named = _named_workspace(request)
    if named:
        membership = principal.membership(named)
        if membership is None:
            raise not_a_member()
        return membership
    if len(principal.memberships) != 1:
        raise no_workspace()
    return principal.memberships[0]


def _named_workspace(request: Call) -> str | None:
    if request.scope["query_string"]:
        named = query_of(request).get("workspace_id")
        if named:
            if len(named) > 1:
                raise bad_request("repeated parameter", "The query parameter workspace_id may be given once.")
            return named[0]
    header = fields_of(request.scope).get(b"x-workspace-id")
    return header.decode("utf-8", "replace") if header else None


def query_of(request: Call) -> dict[str, list[str]]:
    """The parameters of the query that are not empty; 400 for text that is not UTF-8."""
    raw = request.scope["query_string"]
    try:
        pairs = parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=100)
    except (UnicodeError, ValueError):
        raise bad_request("invalid query", "The query is not percent-encoded UTF-8, or too long.") from None
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query


async def note_use(request: Call) -> None:
    """After the answer: once a day a token, once an hour a session is noted as used."""
    found = request.scope.get("auth")
    if isinstance(found, Access) and found.principal.worth_noting:
        with suppress(StorageError):  # the answer is out; the next request tries again
            await doorkeeper_of(request).note_use(found.principal)


class Whoami(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in, and where they may act."""

    user_id: str
    workspaces: list[dict[str, str]]


@post(
    "/api/v1/session",
    opt={"role": SIGNED_IN},
    status_code=201,
    responses=described({201: Whoami}, 401, 403),
    tags=["access"],
)
async def open_session(request: Call) -> Answer:
    """Exchange a token for a browser session: an HttpOnly, SameSite=Strict cookie."""
    principal = request.auth.principal
    services = services_of(request)
    before = doorkeeper_of(request).session_of(request.scope)

    def begin(connection: Connection) -> str:
        if before is not None:
            access.end_session(connection, before)
        secret = secrets.token_bytes(access.SECRET_BYTES)
        return access.create_session(connection, principal.token_id, now=services.now(), secret_bytes=secret)

    text = await services.database.write(begin)
    doorkeeper_of(request).forget()
    cookie = _cookie(doorkeeper_of(request).cookie, text, request.scope)
    return answer(_whoami(principal), status=201, headers={"Set-Cookie": cookie})


@get("/api/v1/session", opt={"role": SIGNED_IN}, responses=described({200: Whoami}, 401), tags=["access"])
async def show_session(request: Call) -> Answer:
    """Who is signed in."""
    return answer(_whoami(request.auth.principal))


@delete(
    "/api/v1/session",
    opt={"role": SIGNED_IN},
    status_code=204,
    responses=described({204: None}, 401, 403),
    tags=["access"],
)
async def close_session(request: Call) -> None:
    """Log the browser out, with `everywhere=true` every browser of the user; tokens stay valid."""
    principal = request.auth.principal
    everywhere = query_of(request).get("everywhere") == ["true"]
    session = principal.session

    def end(connection: Connection) -> None:
        if everywhere:
            access.end_sessions(connection, principal.user)
        elif session is not None:
            access.end_session(connection, session)

    if everywhere or session is not None:
        await services_of(request).database.write(end)
        doorkeeper_of(request).forget()


@get("/login", opt={"role": PUBLIC}, status_code=303, include_in_schema=False)
async def log_in(request: Call) -> Answer:
    """A printed link logs one browser in, once."""
    code = query_of(request).get("code", [""])[0]
    doorkeeper = doorkeeper_of(request)
    text = await doorkeeper.redeem(code, request.scope, secrets.token_bytes(access.SECRET_BYTES))
    if text is None:
        raise no_credentials()
    cookie = _cookie(doorkeeper.cookie, text, request.scope)
    return Answer(303, headers={"Location": "/", "Set-Cookie": cookie})


def _cookie(name: str, text: str, scope: Any) -> str:
    secure = "; Secure" if scope["scheme"] == "https" else ""
    return f"{name}={text}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _whoami(principal: Principal) -> Whoami:
    return Whoami(
        user_id=principal.user_id,
        workspaces=[
            {"workspace_id": one.workspace_id, "slug": one.slug, "role": one.role.name}
            for one in principal.memberships
        ],
    )
