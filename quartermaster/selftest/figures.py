"""What a self-test found: a figure, the bar it is held against, and how sure the figure is."""

import math
from typing import Final, Literal

import msgspec

from quartermaster.core.resampling import Rate

Unit = Literal["share", "seconds", "megabytes", "runs"]
Verdict = Literal["pass", "within error", "fail", "no bar"]

_ERRORS: Final = 3
"""So many Monte-Carlo errors beyond its bar a figure has failed."""


class Bar(msgspec.Struct, frozen=True):
    """The figure lies between these; None is no bound."""

    least: float | None = None
    most: float | None = None

    def missed_by(self, value: float) -> float:
        below = 0.0 if self.least is None else self.least - value
        above = 0.0 if self.most is None else value - self.most
        return max(0.0, below, above)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a self-test. `of` says how many resamples, series or cases stand behind the value.

    `error` is one standard error of a value that was drawn, 0 where all cases were counted. A value of
    None could not be measured here: that is no pass where there is a bar.
    """

    part: str
    what: str
    value: float | None
    unit: Unit
    bar: Bar | None = None
    error: float = 0.0
    of: int | None = None

    @property
    def verdict(self) -> Verdict:
        if self.bar is None:
            return "no bar"
        if self.value is None:
            return "fail"
        missed = self.bar.missed_by(self.value)
        if not missed:
            return "pass"
        return "within error" if missed <= _ERRORS * self.error else "fail"


def drawn(part: str, what: str, rate: Rate, bar: Bar | None = None) -> Figure:
    """A rate over draws. One hit and one miss are added for its error, so that none of n has one too."""
    chance = (rate.hits + 1) / (rate.of + 2)
    error = math.sqrt(chance * (1 - chance) / rate.of) if rate.of else 0.0
    return Figure(part=part, what=what, value=rate.share, unit="share", bar=bar, error=error, of=rate.of)


def counted(part: str, what: str, rate: Rate, bar: Bar | None = None) -> Figure:
    """A rate over all cases there are."""
    return Figure(part=part, what=what, value=rate.share, unit="share", bar=bar, of=rate.of)
