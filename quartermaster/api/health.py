"""Whether the process lives, whether it can work, and how to talk to it."""

import anyio.to_thread
import msgspec
from litestar import get

from quartermaster.api.access import PUBLIC, Call, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.documentation import described


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`reasons` are there when the status is not `ready`; a part is `ok`, or what is wrong with it."""

    status: str
    reasons: list[str] | msgspec.UnsetType = msgspec.UNSET
    parts: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


@get("/healthz", opt={"role": PUBLIC}, responses=described({200: Health}), tags=["health"])
async def show_liveness(request: Call) -> Answer:
    """200 for as long as the process answers at all."""
    return answer(Health(status="alive"))


@get("/readyz", opt={"role": PUBLIC}, responses=described({200: Health, 503: Health}), tags=["health"])
async def show_readiness(request: Call) -> Answer:
    """200 when requests can be worked on, else 503 with the reasons."""
    services = services_of(request)
    reasons, parts = services.ready(), services.parts() or msgspec.UNSET
    if reasons:
        unready = Health(status="not ready", reasons=reasons, parts=parts)
        return answer(unready, status=503, headers={"Retry-After": "1"})
    return answer(Health(status="ready", parts=parts))


@get("/schema", opt={"role": PUBLIC}, include_in_schema=False)
async def show_schema(request: Call) -> Answer:
    """OpenAPI 3.1 of this API. It is made when somebody asks for the first time."""
    state = request.app.state
    if "schema" not in state:
        state["schema"] = await anyio.to_thread.run_sync(state["describe"])
    return Answer(200, state["schema"], media_type="application/vnd.oai.openapi+json")
