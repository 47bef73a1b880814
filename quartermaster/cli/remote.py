"""A daemon at an address, through its HTTP API."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from quartermaster.cli.client import Client, path_of
from quartermaster.cli.target import Row
from quartermaster.cli.waiting import wait_for_run
from quartermaster.errors import NotFound

_PAGE: Final = 200
_SEARCHED_RUNS: Final = 2_000
"""How many runs are looked through for a prefix: the API has no filter for it."""


class Remote:
    """One workspace of one daemon."""

    def __init__(self, url: str, token: str | None, workspace: str | None) -> None:
        self._client = Client(url, token, workspace)

    def missions(self, filters: Row, limit: int) -> Iterator[Row]:
        rows = self._client.pages(
            path_of("missions"), "rows", limit=min(limit, _PAGE), **_parameters(filters)
        )
        return islice(rows, limit)

    def mission(self, mission_id: str) -> Row:
        return self._client.get(path_of("missions", mission_id))

    def difference(self, baseline_id: str, candidate_id: str, window: Row) -> Row:
        return self._client.get(path_of("missions", baseline_id, "diff", candidate_id), **_parameters(window))

    def similar(self, mission_id: str, filters: Row) -> Row:
        return self._client.get(path_of("missions", mission_id, "similar"), **filters)

    def has_mission(self, mission_id: str) -> bool:
        return self._has(path_of("missions", mission_id, "trajectory"), limit=1)

    def mission_ids(self, prefix: str, limit: int) -> list[str]:
        rows = self._client.pages(path_of("missions"), "rows", limit=_PAGE, q=prefix)
        ids = (str(row["mission_id"]) for row in rows)
        return list(islice((one for one in ids if one.startswith(prefix)), limit))

    def sources(self, filters: Row, limit: int) -> Iterator[Row]:
        rows = self._client.pages(path_of("sources"), "rows", limit=min(limit, _PAGE), **_parameters(filters))
        return islice(rows, limit)

    def entries(self, filters: Row, limit: int) -> Iterator[Row]:
        rows = self._client.pages(
            path_of("journal"), "entries", limit=min(limit, _PAGE), **_parameters(filters)
        )
        return islice(rows, limit)

    def evaluate(self, kind: str, body: Row, *, wait: bool) -> Row:
        queued = self._client.post(path_of("eval", kind), msgspec.json.encode(body))
        run_id = str(queued["run_id"])
        return wait_for_run(self.run, run_id) if wait else {"id": run_id, **self.run(run_id)}

    def runs(self, limit: int) -> Iterator[Row]:
        rows = self._client.pages(path_of("eval", "runs"), "rows", limit=min(limit, _PAGE))
        return islice(rows, limit)

    def run(self, run_id: str) -> Row:
        return self._client.get(path_of("eval", "runs", run_id))

    def has_run(self, run_id: str) -> bool:
        return self._has(path_of("eval", "runs", run_id))

    def run_ids(self, prefix: str, limit: int) -> list[str]:
        ids = (str(row["id"]) for row in self.runs(_SEARCHED_RUNS))
        return list(islice((one for one in ids if one.startswith(prefix)), limit))

    def trends(self, filters: Row) -> Row:
        return self._client.get(path_of("eval", "trends"), **_parameters(filters))

    def baselines(self) -> list[Row]:
        return list(self._client.get(path_of("baselines"))["rows"])

    def baseline(self, name: str) -> Row:
        return self._client.get(path_of("baselines", name))

    def freeze(self, body: Row) -> Row:
        return self._client.post(path_of("baselines"), msgspec.json.encode(body))

    def accept(self, name: str, body: Row) -> Row:
        return self._client.post(path_of("baselines", name, "accept"), msgspec.json.encode(body))

    def ingest(self, paths: Sequence[Path], on_progress: Callable[[str], None]) -> list[Row]:
        from quartermaster.cli.delivery import deliver

        return deliver(self._client, paths, on_progress)

    def close(self) -> None:
        self._client.close()

    def _has(self, path: str, **query: object) -> bool:
        try:
            self._client.get(path, **query)
        except NotFound:
            return False
        return True


def _parameters(filters: Row) -> dict[str, Any]:
    """Several values of one filter go with commas between them."""
    return {name: ",".join(value) if isinstance(value, tuple) else value for name, value in filters.items()}
