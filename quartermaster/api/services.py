"""What the application is given by whoever starts it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import msgspec

from quartermaster.api.proxies import Proxies
from quartermaster.api.recent_details import RecentDetails
from quartermaster.api.recent_pairs import RecentPairs
from quartermaster.checkup import Finding
from quartermaster.core.pricing import OwnPrices
from quartermaster.core.secrets import Masker
from quartermaster.store.retention import Policy

if TYPE_CHECKING:
    from quartermaster.backups import Backups
    from quartermaster.inbox import Ingester
    from quartermaster.jobs import Supervisor
    from quartermaster.lookout import Lookout
    from quartermaster.store.database import Database


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that handlers use and do not own.

    `host` and `port` are what the server is bound to; `allowed_hosts` are further values of the Host
    header, with their port. What `proxies` say of their clients is believed. `now` gives nanoseconds
    since 1970, `ready` the reasons for not being ready, `parts` the state of each part. `stopping`
    ends every open stream. `queue_limit` is how many runs of a workspace may wait.
    `lookout` examines long missions elsewhere; without it they are examined in a thread.
    `checkup` looks at the installation, `retention` is what a workspace keeps that says nothing of it.
    """

    database: "Database"
    supervisor: "Supervisor"
    ingester: "Ingester | None"
    now: Callable[[], int]
    ready: Callable[[], list[str]]
    stopping: anyio.Event
    host: str
    port: int
    prices: OwnPrices = OwnPrices()
    masker: Masker | None = None
    allowed_hosts: tuple[str, ...] = ()
    proxies: Proxies = msgspec.field(default_factory=Proxies)
    body_limit_bytes: int = 16 * 1024 * 1024
    queue_limit: int = 20_000
    parts: Callable[[], dict[str, str]] = dict
    heartbeat_seconds: float = 15.0
    backups: "Backups | None" = None
    lookout: "Lookout | None" = None
    checkup: Callable[[], list[Finding]] = list
    retention: Policy = Policy()
    recent_pairs: RecentPairs = msgspec.field(default_factory=RecentPairs)
    recent_details: RecentDetails = msgspec.field(default_factory=RecentDetails)
