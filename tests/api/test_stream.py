"""Server-sent events of runs, over real sockets."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import httpx
import msgspec
import pytest
from api_world import ADMIN, FOREIGN_MISSION, FOREIGN_OWNER, MISSION, OWNER, VIEWER, World

from quartermaster.api.streams import PER_PRINCIPAL
from quartermaster.store import access

STREAM = "/api/v1/eval/runs/stream"

Event = tuple[int, str, str]


@contextmanager
def opened(client: httpx.Client, **headers: str) -> Iterator[Iterator[str]]:
    """The lines of a stream behind its greeting."""
    with client.stream("GET", STREAM, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == ": connected"
        yield lines


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Event id, run id and status of each event; comments are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if fields.get("event") == "run":
            data = msgspec.json.decode(fields["data"])
            assert data["at"].endswith("Z")
            yield int(fields["id"]), data["id"], data["status"]
        fields = {}


def queue(client: httpx.Client, mission_id: str = MISSION, **headers: str) -> str:
    queued = client.post("/api/v1/eval/replay", json={"mission_id": mission_id}, headers=headers)
    assert queued.status_code == 202
    return str(queued.json()["run_id"])


def test_every_change_of_a_run_is_told_in_order_while_it_happens(world: World) -> None:
    with world.http(working=True) as client, opened(client) as lines:
        run_id = queue(client)
        told = list(islice(events(lines), 3))
    assert [(run, status) for _, run, status in told] == [
        (run_id, "queued"),
        (run_id, "running"),
        (run_id, "completed"),
    ]


def test_a_stream_continues_behind_the_last_event_without_gap_or_repeat(world: World) -> None:
    with world.http() as client:
        with opened(client) as lines:
            queue(client)
            last = next(events(lines))[0]
        missed = [queue(client) for _ in range(250)]
        with opened(client, **{"Last-Event-ID": str(last)}) as lines:
            resumed = events(lines)
            told = list(islice(resumed, 250))
            later = queue(client)
            told.append(next(resumed))
        with opened(client, **{"Last-Event-ID": "0"}) as lines:
            everything = list(islice(events(lines), 252))
    assert [run for _, run, _ in told] == [*missed, later]
    assert everything[1:] == told
    assert [number for number, _, _ in everything] == sorted({number for number, _, _ in everything})


def test_events_of_another_workspace_are_not_told(world: World) -> None:
    foreign = {"Authorization": f"Bearer {world.tokens[FOREIGN_OWNER]}", "X-Workspace-ID": "foreign"}
    with world.http(working=True) as client, opened(client, **{"Last-Event-ID": "0"}) as lines:
        queue(client, FOREIGN_MISSION, **foreign)
        own = queue(client)
        told = list(islice(events(lines), 3))
    assert {run for _, run, _ in told} == {own}


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_a_last_event_id_that_is_none_is_refused(world: World, last: str) -> None:
    with world.client() as client:
        assert client.get(STREAM, headers={"Last-Event-ID": last}).status_code == 400


def test_a_silent_stream_shows_that_it_lives(world: World) -> None:
    with world.http(heartbeat_seconds=0.05) as client, opened(client) as lines:
        assert [line for line in islice(lines, 6) if line] == [": heartbeat"] * 3


def test_a_stopping_server_ends_its_streams_cleanly(world: World) -> None:
    with world.http() as client, opened(client) as lines:
        world.stopping.set()
        assert list(events(lines)) == []


def test_a_stream_ends_when_its_reader_loses_access(world: World) -> None:
    with world.http(VIEWER) as client, opened(client) as lines:
        world.database.write_blocking(lambda c: access.remove_member(c, world.crew, "viewer"))
        began = time.monotonic()
        assert list(events(lines)) == []
    assert time.monotonic() - began < 5


def test_a_principal_may_have_a_few_streams_and_a_closed_one_makes_room(world: World) -> None:
    with world.http(ADMIN) as client:
        streams = [opened(client) for _ in range(PER_PRINCIPAL)]
        for stream in streams:
            stream.__enter__()
        refused = client.get(STREAM)
        assert (refused.status_code, refused.json()["error"]) == (429, "too many streams")
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/api/v1/eval/runs").status_code == 200
        with httpx.Client(base_url=client.base_url, headers=world.headers(OWNER)) as other, opened(other):
            pass
        for stream in streams:
            stream.__exit__(None, None, None)
        ends_at = time.monotonic() + 5
        while time.monotonic() < ends_at:
            with client.stream("GET", STREAM) as answer:
                if answer.status_code == 200:
                    return
            time.sleep(0.05)
    pytest.fail("closed streams still count")
