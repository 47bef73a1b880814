"""Whether a part that takes one piece of work after another is stuck in one."""

import time
from typing import Self


class Pulse:
    """Since when a part has been at its present piece of work; one that rests is never stuck.

    The clock does not count while the machine sleeps.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def __enter__(self) -> Self:
        self.again()
        return self

    def __exit__(self, *_: object) -> None:
        self._since = None

    def again(self) -> None:
        """The present piece is done, the next one begins."""
        self._since = time.monotonic()

    def seconds(self) -> float:
        """How long the present piece has taken; 0 at rest."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since
