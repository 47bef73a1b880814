"""What `quartermaster doctor` finds, over HTTP: for those who look after a workspace."""

from ipaddress import ip_address
from typing import Final

import anyio.to_thread
import msgspec
from litestar import get

from quartermaster.api.access import Call, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.documentation import described, operation
from quartermaster.api.edge import fields_of
from quartermaster.api.proxies import address_of
from quartermaster.checkup import Finding
from quartermaster.store.access import Membership, Role

_FORWARDED: Final = (b"x-forwarded-for", b"forwarded")


class FindingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One check: `ok`, `warn` or `fail`. Messages name folders of the machine: they are null elsewhere."""

    check: str
    state: str
    message: str | None
    command: str | None


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """Every check. `here`: whoever asks does so on the machine of the daemon itself."""

    here: bool
    rows: list[FindingRow]
    count: int


@get(
    "/api/v1/doctor",
    opt={"role": Role.ADMIN},
    operation_class=operation(),
    responses=described({200: Checkup}, 400, 401, 403, 503),
    tags=["health"],
)
async def show_checkup(request: Call) -> Answer:
    """What is wrong with the installation, and what to do. Folders are told on the machine itself alone."""
    membership = request.auth.membership
    assert membership is not None, "the route declares no role"
    found = await anyio.to_thread.run_sync(services_of(request).checkup)
    here = _is_here(request)
    rows = [_row(one, membership, here=here) for one in found if _concerns(one, membership)]
    return answer(Checkup(here=here, rows=rows, count=len(rows)))


def _concerns(finding: Finding, membership: Membership) -> bool:
    return finding.workspace in (None, membership.slug, membership.workspace_id)


def _row(finding: Finding, membership: Membership, *, here: bool) -> FindingRow:
    command = finding.command
    if command is not None and membership.slug != "local":
        command = f"{command} --workspace {membership.slug}"
    return FindingRow(
        check=finding.check,
        state=finding.state,
        message=finding.message if here else None,
        command=command if here else None,
    )


def _is_here(request: Call) -> bool:
    """Whether nothing says that the request has come from another machine."""
    if any(name in fields_of(request.scope) for name in _FORWARDED):
        return False
    address = address_of(request.scope)
    try:
        return not address or ip_address(address).is_loopback
    except ValueError:
        return False
