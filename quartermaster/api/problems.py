"""Every error of the API in its one shape: application/problem+json."""

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from quartermaster.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    OutcomeUnknown,
    StorageBusy,
    StorageFull,
    TookTooLong,
    UsageError,
)

MEDIA_TYPE: Final = "application/problem+json"

_log = structlog.get_logger("quartermaster.api")


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True):
    """An error. `error` is a short stable sentence for programs, `detail` says what to do. `outcome` is
    there, and `unknown`, where it is not known whether the request had an effect."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    outcome: str | msgspec.UnsetType = msgspec.UNSET


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        error: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        outcome: str | msgspec.UnsetType = msgspec.UNSET,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.detail = detail
        self.headers = dict(headers or {})
        self.outcome = outcome

    def body(self) -> bytes:
        """The JSON of this error."""
        return msgspec.json.encode(
            ProblemBody(
                type="about:blank",
                title=HTTPStatus(self.status).phrase,
                status=self.status,
                detail=self.detail,
                error=self.error,
                outcome=self.outcome,
            )
        )


def no_credentials() -> Problem:
    """One answer for missing, malformed, wrong, expired and revoked credentials."""
    return Problem(
        401,
        "no valid credentials",
        "Send a token as 'Authorization: Bearer qm_…'; `quartermaster token create` makes one.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def too_many_guesses(seconds: int) -> Problem:
    """An address has sent too many credentials that are not valid; further ones are not looked at."""
    return Problem(
        429,
        "too many wrong credentials",
        "Too many wrong credentials came from this address; wait, then send a valid token.",
        headers={"Retry-After": str(seconds)},
    )


def no_workspace() -> Problem:
    """The token may act in several workspaces, and none is named."""
    return Problem(
        401,
        "workspace required",
        "Name a workspace by the query parameter workspace_id or by the header X-Workspace-ID.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def not_a_member() -> Problem:
    """One answer for a foreign workspace and for one that does not exist."""
    return Problem(
        403,
        "not a member of this workspace",
        "Ask an owner of the workspace to add you, or name another one.",
    )


def role_too_low(needed: str, held: str) -> Problem:
    """A member asks for what only higher roles may do."""
    return Problem(
        403,
        "role too low",
        f"This needs the role {needed} or a higher one in this workspace; yours is {held}.",
    )


def queue_full(limit: int) -> Problem:
    """So many runs of the workspace wait that no more are taken."""
    return Problem(
        429,
        "too many queued runs",
        f"{limit} runs of this workspace wait; queue more once some have ended, or cancel some.",
        headers={"Retry-After": "10"},
    )


def not_found(noun: str) -> Problem:
    """One answer for a foreign id and for one that does not exist."""
    return Problem(
        404, f"{noun} not found", f"No {noun} of that id is in this workspace; list them to see ids."
    )


def bad_request(error: str, detail: str) -> Problem:
    """The request itself is wrong."""
    return Problem(400, error, detail)


def too_large(limit: int) -> Problem:
    """The body is over the limit; the rest of it is not read."""
    return Problem(
        413,
        "body too large",
        f"The body may have {limit} bytes; split it into several requests.",
        headers={"Connection": "close"},
    )


def storage_full(status: int) -> Problem:
    """Nothing was kept; it works again once there is room."""
    return Problem(
        status,
        "storage full",
        "The disk has too little room, and nothing was kept; try again once some is freed.",
        headers={"Retry-After": "30"},
    )


def _outcome_unknown() -> Problem:
    return Problem(
        503,
        "outcome unknown",
        "The disk failed while this was kept. Send it again with the same Idempotency-Key, or look whether"
        " it is there; what was kept is not kept twice.",
        headers={"Retry-After": "5"},
        outcome="unknown",
    )


def _from_http(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return Problem(404, "no such route", "GET /schema lists every route.")
    if error.status_code == 405:
        return Problem(
            405,
            "method not allowed",
            "The header Allow lists the methods of this route.",
            headers=error.headers,
        )
    if error.status_code >= 500:
        return _unforeseen(error)
    phrase = HTTPStatus(error.status_code).phrase
    return Problem(error.status_code, phrase.lower(), "The request could not be understood; see /schema.")


def _unforeseen(error: Exception) -> Problem:
    """Nothing about the error leaves the process but a number under which the log tells everything."""
    error_id = secrets.token_hex(8)
    _log.error("request failed", error_id=error_id, exc_info=error)
    return Problem(500, "internal error", f"Try again; if it stays, look for error {error_id} in the log.")


def problem_of(error: Exception) -> Problem:
    """How an exception is told to a client."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return _from_http(error)
        case StorageFull():
            return storage_full(507)
        case OutcomeUnknown():
            return _outcome_unknown()
        case TookTooLong():
            return Problem(503, "took too long", str(error), headers={"Retry-After": "5"})
        case StorageBusy():
            return Problem(
                503, "storage busy", "The database is busy or full; try again.", headers={"Retry-After": "1"}
            )
        case NotFound():
            return Problem(404, "not found", str(error))
        case Conflict():
            return Problem(409, "conflict", str(error))
        case UsageError():
            return bad_request("invalid request", str(error))
        case NotAllowed():
            return Problem(403, "not allowed", str(error))
        case msgspec.DecodeError() | RecursionError() | UnicodeError() | OverflowError():
            return bad_request("invalid request", "The request holds text or numbers that cannot be read.")
        case _:
            return _unforeseen(error)


def _respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    problem = problem_of(error)
    return Response(
        problem.body(), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


# HTTPException is named because the library looks for it before it looks for Exception.
HANDLERS: Final[ExceptionHandlersMap] = {HTTPException: _respond, Exception: _respond}
