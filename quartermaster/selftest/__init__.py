"""The installed rules, put to the proof on this machine: how often they alarm falsely, and what they see."""

from collections.abc import Iterator
from typing import Final

from quartermaster.selftest import alignment, changes, labels, loops, speed, statistics
from quartermaster.selftest.figures import Figure
from quartermaster.selftest.work import Extent, Part, Sources, workers

__all__ = ["PARTS", "Extent", "Figure", "Sources", "measure"]

PARTS: Final[dict[str, Part]] = {
    "stats": statistics.figures,
    "loops": loops.figures,
    "changes": changes.figures,
    "alignment": alignment.figures,
    "speed": speed.figures,
    "labels": labels.figures,
}


def measure(parts: list[str], extent: Extent, sources: Sources, processes: int) -> Iterator[Figure]:
    """The figures of the parts in order. The same extent gives the same figures, whatever the number of
    processes; seconds and megabytes are this machine's."""
    for part in parts:
        with workers(processes, part) as work:
            yield from PARTS[part](work, extent, sources)
