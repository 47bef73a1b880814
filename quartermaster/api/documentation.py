"""How routes are described for GET /schema."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from quartermaster.api.problems import MEDIA_TYPE, ProblemBody

TEXT: Final = Schema(type=OpenAPIType.STRING)
WHOLE: Final = Schema(type=OpenAPIType.INTEGER, minimum=-(2**63), maximum=2**63 - 1)
FLAG: Final = Schema(type=OpenAPIType.BOOLEAN)
TIME: Final = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)
CURSOR: Final = Schema(type=OpenAPIType.STRING, description="`next_cursor` of the page before.")

EVENT_STREAM: Final = ResponseSpec(
    str, generate_examples=False, description="Server-sent events.", media_type="text/event-stream"
)
ENTRIES: Final = RequestBody(
    description="Native entries: one JSON object a line, or an array of them.",
    content={
        "application/x-ndjson": OpenAPIMediaType(schema=TEXT),
        "application/json": OpenAPIMediaType(
            schema=Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT))
        ),
    },
    required=True,
)

_MEANING: Final = {
    400: "The body, a parameter or a header is malformed.",
    401: "No valid credentials, or no workspace is named.",
    403: "Not a member of the workspace, the role is too low, or the request comes from another site.",
    404: "Nothing of that id is in this workspace.",
    409: "The Idempotency-Key was used for another request.",
    413: "The body is over the limit.",
    415: "The content type is not JSON.",
    429: "Too many open streams, or too many runs wait; try again after Retry-After seconds.",
    503: "Busy, or the outcome is unknown; try again after Retry-After seconds.",
    507: "The disk has too little room; nothing was kept.",
}
_WORKSPACE: Final = (
    Parameter(name="workspace_id", param_in="query", schema=TEXT, description="Id or slug of the workspace."),
    Parameter(name="X-Workspace-ID", param_in="header", schema=TEXT, description="The same, as a header."),
)
_IDEMPOTENCY: Final = Parameter(
    name="Idempotency-Key",
    param_in="header",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255),
    description="A repeated request under one key gets the first answer again, for 24 hours.",
)


def json_object(fields: Mapping[str, Schema], *, required: Sequence[str]) -> RequestBody:
    """A body of one JSON object."""
    schema = Schema(type=OpenAPIType.OBJECT, properties=dict(fields), required=list(required))
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)


def one_of(words: Sequence[str]) -> Schema:
    """One of some words."""
    return Schema(type=OpenAPIType.STRING, enum=list(words))


def integer(least: int, most: int, default: int) -> Schema:
    """A whole number within bounds."""
    return Schema(type=OpenAPIType.INTEGER, minimum=least, maximum=most, default=default)


def described(answers: Mapping[int, Any], *problems: int) -> dict[int, ResponseSpec]:
    """What a route answers: a type for each status that is fine, and the errors."""
    specs = {
        status: ResponseSpec(container, generate_examples=False, description="As asked.")
        for status, container in answers.items()
    }
    for status in problems:
        specs[status] = ResponseSpec(
            ProblemBody, generate_examples=False, description=_MEANING[status], media_type=MEDIA_TYPE
        )
    return specs


def operation(
    *,
    body: RequestBody | None = None,
    query: Mapping[str, Schema] | None = None,
    repeatable: bool = False,
) -> type[Operation]:
    """What a handler that reads the request itself does not show: its body, its query, its headers.

    `repeatable` says that the route knows Idempotency-Key.
    """
    parameters = [
        *(Parameter(name=name, param_in="query", schema=schema) for name, schema in (query or {}).items()),
        *_WORKSPACE,
        *([_IDEMPOTENCY] if repeatable else []),
    ]

    class Described(Operation):
        def __init__(self, **told: Any) -> None:
            super().__init__(**told)
            self.parameters = [*(self.parameters or ()), *parameters]
            if body is not None:
                self.request_body = body

    return Described
