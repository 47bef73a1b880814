"""What is set for a workspace, as far as its numbers and missions depend on it."""

from typing import Any

import msgspec
from litestar import get

from quartermaster import __version__
from quartermaster.api.access import Call, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.documentation import described, operation
from quartermaster.store import retention
from quartermaster.store.access import Role
from quartermaster.store.retention import Policy


class WorkspaceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`thresholds`: by how much a metric may get worse, as shares, hallucinations as a count.
    `retention`: what is kept, null without limit."""

    version: str
    thresholds: dict[str, Any]
    retention: Policy


@get(
    "/api/v1/settings",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses=described({200: WorkspaceSettings}, 400, 401, 403, 503),
    tags=["health"],
)
async def show_settings(request: Call) -> Answer:
    """Thresholds of a regression and what the workspace keeps, as they are in force."""
    services, workspace = services_of(request), request.auth.workspace
    policy = await services.database.read(
        lambda connection: retention.policy_of(connection, workspace, services.retention)
    )
    thresholds = msgspec.to_builtins(services.supervisor.profile)
    return answer(WorkspaceSettings(version=__version__, thresholds=thresholds, retention=policy))
