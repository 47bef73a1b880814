"""Recordings that are compared where they lie: read into a database of their own that is gone afterwards."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from quartermaster.cli.archives import is_archive, unpack
from quartermaster.config import Settings, masker_of
from quartermaster.errors import NotFound
from quartermaster.home import Home, open_home
from quartermaster.ingest import Progress, ingest_paths
from quartermaster.store import access
from quartermaster.store.database import Connection, Database
from quartermaster.store.missions import MissionFilter, find_mission, list_missions
from quartermaster.store.sources import SourceLedger, files_of_missions

T = TypeVar("T")

_LIST: Final = 500
_SECONDS: Final = 600.0


class Recordings:
    """Recorded missions, each side in a workspace of its own: both may hold the same session."""

    def __init__(self, database: Database, settings: Settings, folder: Path) -> None:
        self._database = database
        self._settings = settings
        self._folder = folder

    def add(
        self, side: str, paths: Sequence[Path], on_progress: Callable[[Progress], None] | None = None
    ) -> int:
        """Reads files, folders and archives as one side; its workspace.

        Raises NotFound where they hold no mission.
        """
        workspace = self._database.write_blocking(
            lambda connection: access.create_workspace(
                connection, side, workspace_id=f"ws_{side}", name=side, now=0
            )
        ).key
        ledgers = ingest_paths(
            self._database,
            workspace,
            [self._unpacked(path, f"{side}-{index}") for index, path in enumerate(paths)],
            on_progress,
            line_limit_bytes=self._settings.ingest_line_limit_bytes,
            masker=masker_of(self._settings),
        )
        if not self.mission_ids(workspace):
            raise NotFound(_nothing_in(side, paths, ledgers))
        return workspace

    def mission_ids(self, workspace: int, variant: str | None = None) -> list[str]:
        """All missions of a side, or those of one variant, by id."""

        def listed(connection: Connection) -> list[str]:
            ids: list[str] = []
            filters = MissionFilter(limit=_LIST, variant=variant)
            while True:
                page = list_missions(connection, workspace, filters)
                ids += [mission.mission_id for mission in page.rows]
                if page.next_cursor is None:
                    return sorted(ids)
                filters = MissionFilter(limit=_LIST, variant=variant, cursor=page.next_cursor)

        return self.read(listed)

    def variants(self, workspace: int) -> list[str]:
        """The variants that the missions of a side name."""
        ids = self.mission_ids(workspace)

        def found(connection: Connection) -> list[str]:
            missions = (find_mission(connection, workspace, mission_id) for mission_id in ids)
            return sorted({mission.variant for mission in missions if mission and mission.variant})

        return self.read(found)

    def files_of(self, workspace: int, path: Path) -> dict[str, str]:
        """Where each mission was read, below the path that was named, with `/` between the parts."""
        named = path.as_posix()

        def found(connection: Connection) -> dict[str, str]:
            return {
                mission_id: f"{named}/{name}" if path.is_dir() else named
                for mission_id, name in files_of_missions(connection, workspace)
            }

        return self.read(found)

    def _unpacked(self, path: Path, name: str) -> Path:
        if not is_archive(path):
            return path
        folder = self._folder / "archives" / name
        folder.mkdir(parents=True)
        unpack(path, folder)
        return folder

    def read(self, query: Callable[[Connection], T]) -> T:
        return self._database.read_blocking(query, _SECONDS)


@contextmanager
def temporary_recordings(settings: Settings) -> Iterator[Recordings]:
    """A place for recordings that ends with the block; the user's home is neither read nor written."""
    with tempfile.TemporaryDirectory(prefix="quartermaster-") as folder:
        database = open_home(Home(Path(folder)), create=True).database
        try:
            yield Recordings(database, settings, Path(folder))
        finally:
            database.close()


def _nothing_in(side: str, paths: Sequence[Path], ledgers: Sequence[SourceLedger]) -> str:
    named = ", ".join(str(path) for path in paths)
    if not ledgers:
        return f"the {side} holds no files: {named}"
    reasons = sorted({ledger.reason for ledger in ledgers if ledger.reason})
    why = f" ({'; '.join(reasons[:3])})" if reasons else ""
    return f"no recorded mission in the {side}: {named}{why}; `quartermaster ingest` tells of each file"
