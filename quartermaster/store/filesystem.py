"""The file system that a folder lies on: a database does not work on one of another machine."""

from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mounts")
OF_OTHER_MACHINES: Final = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "9p",
        "fuse.sshfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.glusterfs",
    ]
)
"""File systems whose locks and shared memory do not hold between machines, as a write-ahead log needs it."""


def foreign_filesystem(path: Path) -> str | None:
    """The kind of the file system of another machine that a path lies on; None for one of this machine,
    and where that cannot be said."""
    try:
        mounts = MOUNTS.read_text("utf-8", "replace")
    except OSError:
        return None
    kind = kind_of(path.resolve(), mounts)
    return kind if kind in OF_OTHER_MACHINES else None


def kind_of(path: Path, mounts: str) -> str:
    """The kind of the file system that a path lies on; empty where that cannot be said."""
    found: tuple[int, str] = (0, "")
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        place = point.replace(r"\040", " ")
        if path.is_relative_to(place) and len(place) >= found[0]:
            found = (len(place), kind)
    return found[1]
