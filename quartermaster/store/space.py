"""The disk under a database: how much of it is free, and a ballast that is thrown off when it is full.

A database on a full disk can neither empty its log nor delete: the ballast is the room that it needs
then. Long before that, below the low-water mark, nothing is taken in any more.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from quartermaster.errors import StorageFull

MEBIBYTE: Final = 2**20
LEAST_TO_OPEN: Final = MEBIBYTE
"""Bytes without which a database cannot even be opened."""

_BALLAST: Final = "ballast"


class Space:
    """The disk that a folder lies on. `low_water_bytes`: with less than that nothing is taken in."""

    def __init__(self, folder: Path, *, low_water_bytes: int = 0) -> None:
        self._folder = folder
        self._ballast = folder / _BALLAST
        self.low_water_bytes = low_water_bytes

    def free(self) -> int:
        """Bytes that this user may still write."""
        return shutil.disk_usage(self._folder).free

    def shortage(self) -> str | None:
        """Why nothing is taken in at the moment; None while there is room."""
        free = self.free()
        if free >= self.low_water_bytes:
            return None
        return (
            f"the disk is nearly full ({_mebibytes(free)} free, {_mebibytes(self.low_water_bytes)} wanted);"
            " nothing is taken in until some is freed"
        )

    def require(self) -> None:
        """StorageFull where there is too little room to take anything in."""
        shortage = self.shortage()
        if shortage is not None:
            raise StorageFull(shortage)

    def require_to_open(self) -> None:
        """Make room to open the database, at the cost of the ballast; StorageFull where there is none."""
        if self.free() < LEAST_TO_OPEN and not (self.drop_ballast() and self.free() >= LEAST_TO_OPEN):
            raise StorageFull(f"the disk is full ({_mebibytes(self.free())} free); free some space")

    def take_ballast(self, size: int) -> None:
        """Occupy so many bytes, unless that is done or would leave less than the low-water mark."""
        if not size or self._ballast.exists() or self.free() < self.low_water_bytes + size:
            return
        try:
            descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            self.drop_ballast()

    def drop_ballast(self) -> bool:
        """Give the ballast's room back; whether there was one."""
        with suppress(OSError):
            self._ballast.unlink()
            return True
        return False


def _mebibytes(size: int) -> str:
    return f"{size / MEBIBYTE:,.1f} MiB"
