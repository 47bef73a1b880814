"""Which missions make one side of a comparison: named one by one, found by what is known, or frozen."""

from typing import Any, Final

import msgspec

from quartermaster.core.journal import parse_instant
from quartermaster.errors import Rejected, UsageError

LARGEST: Final = 10_000
"""How many missions one side may have."""

_TEXTS: Final = ("task", "variant", "format", "model", "agent", "commit", "q")
_TIMES: Final = ("since", "until")


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Missions by id, or those that match every field that is given.

    `since` and `until` are RFC 3339 times; a mission counts where it was at work between them. `labels`
    are values that a mission's labels must have. `baseline` names a frozen one instead. An empty selection
    would be everything: it is refused.
    """

    baseline: str | None = None
    mission_ids: tuple[str, ...] = ()
    task: str | None = None
    variant: str | None = None
    format: str | None = None
    model: str | None = None
    agent: str | None = None
    commit: str | None = None
    q: str | None = None
    since: str | None = None
    until: str | None = None
    labels: dict[str, str | int | float | bool] = {}

    @property
    def by_ids(self) -> bool:
        return bool(self.mission_ids)


def selection_of(document: Any, side: str) -> Selection:
    """The selection that JSON describes: an object as above, or a list of ids. Raises UsageError."""
    if isinstance(document, list):
        document = {"mission_ids": document}
    try:
        selection = msgspec.convert(document, Selection)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{side}: {error}") from None
    _check(selection, side)
    return selection


def _check(selection: Selection, side: str) -> None:
    named = [name for name in (*_TEXTS, *_TIMES) if getattr(selection, name)]
    if selection.baseline is not None:
        if selection != Selection(baseline=selection.baseline):
            raise UsageError(f"{side}: name a baseline or missions, not both")
        if not selection.baseline:
            raise UsageError(f"{side}: the name of the baseline is empty")
        return
    if selection.by_ids and (named or selection.labels):
        raise UsageError(f"{side}: name missions by mission_ids or describe them, not both")
    if not (selection.by_ids or named or selection.labels):
        raise UsageError(
            f"{side}: name missions by mission_ids, or describe them by task, variant, labels, …"
        )
    if len(selection.mission_ids) > LARGEST:
        raise UsageError(f"{side}: at most {LARGEST:,} missions")
    if not all(selection.mission_ids):
        raise UsageError(f"{side}: an id is empty")
    for name in _TIMES:
        try:
            _ = getattr(selection, name) and parse_instant(getattr(selection, name))
        except Rejected as error:
            raise UsageError(f"{side}: {name}: {error}") from None
