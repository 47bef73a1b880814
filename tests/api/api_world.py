"""A real database with two workspaces, a real application over it, and a client for each principal."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
from litestar import Litestar
from litestar.testing import TestClient

from quartermaster.api.application import make_application
from quartermaster.api.services import Services
from quartermaster.core.comparison import Profile
from quartermaster.ingest import ingest_paths
from quartermaster.jobs import Supervisor
from quartermaster.listeners import bind
from quartermaster.server import Server
from quartermaster.store import access, journal, sources
from quartermaster.store.access import Role
from quartermaster.store.database import Database

NOBODY = "nobody"
BAD_TOKEN = "bad token"
FOREIGN_OWNER = "foreign owner"
VIEWER, MEMBER, MANAGER, ADMIN, OWNER = (role.name for role in Role)
PRINCIPALS = (NOBODY, BAD_TOKEN, FOREIGN_OWNER, VIEWER, MEMBER, ADMIN)

MISSION, OTHER_MISSION, FOREIGN_MISSION = "m-1", "m-2", "f-1"
ENTRY, FOREIGN_ENTRY = "j_00000000000000a1", "j_00000000000000f1"


class World:
    """The workspace `crew` with a member of each role, the workspace `foreign` with an owner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "quartermaster.db")
        self.supervisor = Supervisor(self.database, profile=Profile())
        self.stopping = anyio.Event()
        self.reasons: list[str] = []
        self.tokens = {BAD_TOKEN: "qm_" + "0" * 12 + "_" + "0" * 49}
        self.crew = self.workspace("crew")
        self.foreign = self.workspace("foreign")
        for role in Role:
            self.tokens[role.name] = self.member(role.name.lower(), role, self.crew)
        self.tokens[FOREIGN_OWNER] = self.member("eve", Role.OWNER, self.foreign)
        self.record(self.crew, MISSION, ENTRY)
        self.record(self.crew, OTHER_MISSION, "j_00000000000000a2")
        self.record(self.foreign, FOREIGN_MISSION, FOREIGN_ENTRY)

    def workspace(self, slug: str) -> int:
        now = time.time_ns()
        created = self.database.write_blocking(lambda c: access.create_workspace(c, slug, now=now))
        return created.key

    def member(self, user_id: str, role: Role, workspace: int) -> str:
        self.database.write_blocking(lambda c: access.put_member(c, workspace, user_id, role, time.time_ns()))
        return self.token(user_id)

    def token(self, user_id: str, *, workspace: int | None = None, expires_at: int | None = None) -> str:
        text, _ = self.database.write_blocking(
            lambda c: access.create_token(
                c,
                user_id,
                workspace=workspace,
                expires_at=expires_at,
                now=time.time_ns(),
                secret_bytes=secrets.token_bytes(access.SECRET_BYTES),
            )
        )
        return text

    def record(self, workspace: int, mission_id: str, *entry_ids: str) -> None:
        raws = [
            msgspec.json.encode(
                {
                    "id": entry_id,
                    "mission_id": mission_id,
                    "ts": f"2026-01-01T00:00:{number:02}Z",
                    "entry_type": "exec.command",
                    "payload": {"command": "make test", "exit_code": 0},
                }
            )
            for number, entry_id in enumerate(entry_ids)
        ]
        self.database.write_blocking(lambda c: journal.append(c, workspace, raws, now=time.time_ns()))

    def ingest(self, workspace: int, name: str, data: bytes) -> str:
        """Read a file that lies in the folder `recordings`; the id of the source."""
        path = self.folder / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        ingest_paths(self.database, workspace, [self.folder / "recordings"])
        listed = self.database.read_blocking(lambda c: sources.list_sources(c, workspace))
        return next(one.source_id for one in listed if one.name == name)

    def services(self, **changes: Any) -> Services:
        given: dict[str, Any] = {
            "database": self.database,
            "supervisor": self.supervisor,
            "ingester": None,
            "now": time.time_ns,
            "ready": lambda: self.reasons,
            "stopping": self.stopping,
            "host": "127.0.0.1",
            "port": 80,
        }
        return Services(**(given | changes))

    def headers(self, principal: str, **more: str) -> dict[str, str]:
        """What a principal sends who means the workspace `crew`."""
        headers = {"X-Workspace-ID": "crew", **more}
        if principal in self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens[principal]}"
        return headers

    @contextmanager
    def client(self, principal: str = OWNER, **changes: Any) -> Iterator[TestClient[Litestar]]:
        application = make_application(self.services(**changes))
        with TestClient(application, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            client.headers.update(self.headers(principal))
            yield client

    @contextmanager
    def server(self, *, working: bool = False, **changes: Any) -> Iterator[str]:
        """A real server on a free port of the loopback; its address. `working`: runs are executed too."""
        listener = bind("127.0.0.1", 0, guarded=False)
        port = listener.getsockname()[1]
        server = Server(make_application(self.services(port=port, **changes)))
        supervisor = self.supervisor if working else None
        thread = threading.Thread(target=lambda: anyio.run(_serve, server, listener, supervisor))
        thread.start()
        try:
            _wait_for(lambda: server.started)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
            listener.close()
            assert not thread.is_alive(), "the server did not stop"

    @contextmanager
    def http(self, principal: str = OWNER, **changes: Any) -> Iterator[httpx.Client]:
        with (
            self.server(**changes) as address,
            httpx.Client(base_url=address, headers=self.headers(principal), timeout=10) as client,
        ):
            yield client


async def _serve(server: Server, listener: socket.socket, supervisor: Supervisor | None) -> None:
    async with anyio.create_task_group() as tasks:
        if supervisor is not None:
            await tasks.start(supervisor.run)
        await server.run_on([listener])
        if supervisor is not None:
            await supervisor.stop()


def _wait_for(claim: Any) -> None:
    ends_at = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < ends_at, "nothing happened within 10 seconds"
        time.sleep(0.005)
