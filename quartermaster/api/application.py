"""The application: every route, behind one edge and one check of access."""

from functools import partial
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins import PluginProtocol

from quartermaster.api import (
    access,
    alerts,
    baselines,
    diff,
    doctor,
    eval,
    health,
    journal,
    members,
    metrics,
    missions,
    outline,
    page,
    problems,
    settings,
    sources,
    tokens,
    traces,
    trends,
)
from quartermaster.api.edge import Edge, accepted_hosts
from quartermaster.api.idempotency import Keys
from quartermaster.api.services import Services
from quartermaster.api.streams import Streams
from quartermaster.store.access import Role

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    access.open_session,
    access.show_session,
    access.close_session,
    access.log_in,
    members.list_members,
    members.add_member,
    members.change_member,
    members.remove_member,
    tokens.list_tokens,
    tokens.create_token,
    tokens.rotate_token,
    tokens.revoke_token,
    page.show_document,
    page.show_file,
    eval.queue_replay,
    eval.queue_regression,
    eval.queue_comparison,
    eval.list_runs,
    eval.stream_runs,
    eval.show_run,
    eval.cancel_run,
    trends.show_trends,
    baselines.list_baselines,
    baselines.show_baseline,
    baselines.freeze_baseline,
    baselines.accept_baseline,
    alerts.list_rules,
    alerts.add_rule,
    alerts.remove_rule,
    alerts.retry_rule,
    alerts.list_deliveries,
    missions.list_missions,
    missions.show_mission,
    missions.show_trajectory,
    outline.show_outline,
    outline.show_snippets,
    outline.show_strips,
    diff.show_difference,
    diff.show_similar,
    sources.list_sources,
    sources.show_source,
    journal.list_entries,
    journal.count_entries,
    journal.show_entry,
    journal.add_entries,
    traces.add_spans,
    traces.add_logs,
    health.show_liveness,
    health.show_readiness,
    doctor.show_checkup,
    settings.show_settings,
    metrics.show_metrics,
    health.show_schema,
)


_API_VERSION: Final = "1"
"""Of what /schema describes. That of the program is for those who are signed in."""


class _Application(Litestar):
    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Those that are asked for. The library would load pydantic, which no handler here uses."""
        return plugins


def make_application(services: Services, routes: tuple[HTTPRouteHandler, ...] = ROUTES) -> Litestar:
    """The whole HTTP API over the given services; ValueError for a route that does not say who may use it."""
    _require_roles(routes)
    requests = metrics.Requests()
    application = _Application(
        routes,
        before_request=access.authorise,
        after_response=access.note_use,
        exception_handlers=problems.HANDLERS,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # read_body has the limit
        state=State(
            {
                "services": services,
                "doorkeeper": access.Doorkeeper(services),
                "streams": Streams(),
                "requests": requests,
                "keys": Keys(),
                "intake": traces.Intake(),
                "describe": partial(describe, routes),
            }
        ),
    )
    hosts = accepted_hosts(services.host, services.port, services.allowed_hosts)
    # Middleware of the library comes after its routing; the edge is to come before everything.
    edge = Edge(application.asgi_handler, hosts, services.proxies)
    application.asgi_handler = metrics.Measured(edge, requests)
    return application


def _require_roles(routes: tuple[HTTPRouteHandler, ...]) -> None:
    for handler in routes:
        least = handler.opt.get("role")
        if not isinstance(least, Role) and least not in (access.PUBLIC, access.SIGNED_IN):
            raise ValueError(f"the route {sorted(handler.paths)} declares no role")


def describe(routes: tuple[HTTPRouteHandler, ...]) -> bytes:
    """OpenAPI 3.1 of the routes, as JSON."""
    described: Any = Litestar(
        routes,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Quartermaster",
            version=_API_VERSION,
            description="Tells you whether your AI agent got worse, from the recordings it leaves behind.",
            use_handler_docstrings=True,
            path="/described",  # never served: /schema is a route of our own
            render_plugins=[JsonRenderPlugin()],
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"token": []}],
        ),
    )
    return msgspec.json.encode(described.openapi_schema.to_schema())
