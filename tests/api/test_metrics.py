"""What `/metrics` says: in a form that Prometheus takes, and of what has happened."""

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from api_world import ENTRY, MISSION, World
from running import Daemon, deliver

from quartermaster import __version__
from quartermaster.instruments import Count, Gauge, Histogram, exposition

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
KINDS = {"counter", "gauge", "histogram"}


class Sample(NamedTuple):
    """One line that holds a value."""

    name: str
    labels: dict[str, str]
    value: float


class Scrape(dict[str, list[Sample]]):
    """Samples by family."""

    def value(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 where nothing was counted yet."""
        samples = [one for found in self.values() for one in found if one.name == name]
        return sum(one.value for one in samples if labels.items() <= one.labels.items())


def parse(text: str) -> Scrape:
    """Read an exposition, and fail at whatever a strict reader refuses."""
    assert text.endswith("\n")
    scrape, kinds = Scrape(), {}
    family, about = "", ""
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            about, _, words = line.removeprefix("# HELP ").partition(" ")
            assert words and NAME.fullmatch(about), line
        elif line.startswith("# TYPE "):
            family, kind = line.removeprefix("# TYPE ").split(" ")
            assert family == about and kind in KINDS and family not in kinds, line
            kinds[family], scrape[family] = kind, []
        else:
            sample = parse_sample(line)
            suffixes = ("_bucket", "_sum", "_count") if kinds[family] == "histogram" else ("",)
            assert sample.name in [family + suffix for suffix in suffixes], line
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in seen, line
            seen.add(key)
            scrape[family].append(sample)
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name
        if kind == "histogram":
            check_histogram(name, scrape[name])
    return scrape


def parse_sample(line: str) -> Sample:
    found = SAMPLE.fullmatch(line)
    assert found is not None, line
    name, labels, value = found.groups()
    pairs = LABEL.findall(labels or "")
    assert "".join(f'{key}="{text}",' for key, text in pairs).rstrip(",") == (labels or ""), line
    number = float(value)
    assert math.isfinite(number), line
    return Sample(name, dict(pairs), number)


def check_histogram(name: str, samples: list[Sample]) -> None:
    """Buckets grow, and the last one is the count."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    counts: dict[tuple[tuple[str, str], ...], float] = {}
    for one in samples:
        labels = {key: text for key, text in one.labels.items() if key != "le"}
        key = tuple(sorted(labels.items()))
        if one.name == f"{name}_bucket":
            buckets.setdefault(key, []).append((float(one.labels["le"]), one.value))
        elif one.name == f"{name}_count":
            counts[key] = one.value
    assert buckets.keys() == counts.keys()
    for key, found in buckets.items():
        assert found == sorted(found)
        assert [value for _, value in found] == sorted(value for _, value in found)
        assert found[-1] == (math.inf, counts[key])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def scrape_of(daemon: Daemon) -> Scrape:
    return parse(daemon.text("/metrics"))


def test_what_is_served_is_what_prometheus_reads(world: World) -> None:
    with world.client() as client:
        answer = client.get("/metrics")
        scrape = parse(answer.text)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert scrape.value("quartermaster_build_info", version=__version__) == 1
    assert scrape.value("quartermaster_ready") == 1
    for name in ("database_bytes", "disk_free_bytes"):
        assert scrape.value(f"quartermaster_{name}") > 0, name
    if Path("/proc/self/statm").exists():
        assert scrape.value("process_resident_memory_bytes") > 2**20
        assert scrape.value("process_open_fds") > 2
        assert abs(scrape.value("process_start_time_seconds") - time.time()) < 3600


def test_requests_are_counted_by_route_and_never_by_what_a_client_invents(world: World) -> None:
    with world.client() as client:
        for path in (f"/api/v1/journal/{ENTRY}", "/api/v1/journal/j_unknown", "/invented/by/a/client"):
            client.get(path)
        client.request("INVENTED", "/healthz")
        scrape = parse(client.get("/metrics").text)
    count = "quartermaster_http_requests_total"
    route = "/api/v1/journal/{entry_id}"
    assert scrape.value(count, method="GET", route=route, status="200") == 1
    assert scrape.value(count, method="GET", route=route, status="404") == 1
    assert scrape.value(count, route="unmatched", status="404") == 1
    assert {one.labels["method"] for one in scrape[count]} <= {"GET", "other"}
    assert not [one for one in scrape[count] if "invented" in one.labels["route"]]
    assert scrape.value("quartermaster_http_request_seconds_count", route=route) == 2


def test_a_scrape_tells_what_is_wrong_and_costs_little(world: World) -> None:
    world.reasons.append("the ingester is being restarted")
    with world.client() as client:
        assert parse(client.get("/metrics").text).value("quartermaster_ready") == 0
        began = time.process_time()
        for _ in range(20):
            client.get("/metrics")
        assert (time.process_time() - began) / 20 < 0.05


def test_records_that_are_handed_in_are_counted_by_what_became_of_them(world: World) -> None:
    line = b'{"id": "j_00000000000000b1", "entry_type": "note", "ts": "2026-01-01T00:00:00Z"}\n'
    with world.client() as client:
        headers = {"Content-Type": "application/x-ndjson"}
        client.post("/api/v1/journal", content=line + line + b"{\n", headers=headers)
        scrape = parse(client.get("/metrics").text)
    told = {
        result: scrape.value("quartermaster_records_total", format="native", result=result)
        for result in ("accepted", "duplicate", "conflicting", "rejected")
    }
    assert told == {"accepted": 1, "duplicate": 1, "conflicting": 0, "rejected": 1}
    assert scrape.value("quartermaster_writer_batch_changes_count") > 0
    assert scrape.value("quartermaster_writer_batch_seconds_count") == scrape.value(
        "quartermaster_writer_batch_changes_count"
    )


def test_a_run_and_the_queue_before_it_are_counted(world: World) -> None:
    with world.http(working=True) as client:
        before = parse(client.get("/metrics").text)
        run_id = client.post("/api/v1/eval/replay", json={"mission_id": MISSION}).json()["run_id"]
        ends = time.monotonic() + 20
        while client.get(f"/api/v1/eval/runs/{run_id}").json()["status"] != "completed":
            assert time.monotonic() < ends
            time.sleep(0.05)
        after = parse(client.get("/metrics").text)
    name = "quartermaster_run_seconds_count"
    assert after.value(name, kind="replay", result="completed") == 1 + before.value(name)
    assert after.value("quartermaster_runs_queued") == after.value("quartermaster_runs_running") == 0


def test_runs_that_wait_are_seen(world: World) -> None:
    with world.client() as client:
        for _ in range(3):
            client.post("/api/v1/eval/replay", json={"mission_id": MISSION})
        assert parse(client.get("/metrics").text).value("quartermaster_runs_queued") == 3


def test_a_daemon_tells_of_files_their_records_and_how_soon_they_could_be_asked_for(
    start_daemon, samples: Path
):
    daemon = start_daemon()
    inbox = daemon.home / "inbox/local"
    deliver(samples / "native/login_fix.ndjson", inbox)
    (inbox / "broken.ndjson").write_text('{"entry_type": "note", "ts": "2026-01-01T00:00:00Z"}\n{"x": \n')

    def seen() -> Scrape | None:
        scrape = scrape_of(daemon)
        rejected = scrape.value("quartermaster_records_total", result="rejected")
        return scrape if scrape.value("quartermaster_ingest_lag_seconds_count") >= 2 and rejected else None

    scrape = daemon.wait_for(seen)
    assert scrape is not None
    assert scrape.value("quartermaster_records_total", format="native", result="accepted") == 102
    assert scrape.value("quartermaster_watched_files") == 2
    assert scrape.value("quartermaster_ingest_lag_seconds_sum") < 20
    assert scrape.value("quartermaster_wal_bytes") > 0
    assert str(daemon.home) not in daemon.text("/metrics")


def test_labels_with_quotes_breaks_and_backslashes_stay_one_line() -> None:
    count = Count("odd_total", "A \\ and\na break.", ("what",))
    count.add(2, 'a "quoted"\n\\ text')
    text = exposition([count]).decode()
    assert text.splitlines() == [
        "# HELP odd_total A \\\\ and\\na break.",
        "# TYPE odd_total counter",
        'odd_total{what="a \\"quoted\\"\\n\\\\ text"} 2',
    ]
    parse(text)


def test_a_value_on_a_bound_belongs_to_it_and_one_above_all_to_the_last() -> None:
    seconds = Histogram("some_seconds", "Some.", (0.5, 1.0))
    for value in (0.5, 0.75, 1.0, 9.0):
        seconds.observe(value)
    scrape = parse(exposition([seconds, Gauge("level", "A level.", [({}, 0.25)])]).decode())
    assert [one.value for one in scrape["some_seconds"]] == [1, 3, 4, 11.25, 4]
    assert scrape.value("level") == 0.25
