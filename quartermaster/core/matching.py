"""A mission held against a reference: are its tool calls those that were expected, in which order?

How strict the order is and how much of the arguments must agree are chosen apart from each other. Live
agents vary: the same task done twice seldom has the same calls, so an exact match is for replays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.core.alignment import arguments_of
from quartermaster.core.transcript import Event, EventKind

Order = Literal["exact", "in order", "any order", "subset", "superset"]
"""`exact`: the same calls in the same order. `in order`: the expected calls come in their order, others may
come between. `any order`: the same calls in whatever order. `subset`: no call that is not expected.
`superset`: every expected call, and maybe more."""
Arguments = Literal["exact", "ignore", "subset", "superset"]
"""Of a call: its arguments are equal to those expected, are not looked at, are among them, or hold them."""

ORDERS: Final[tuple[Order, ...]] = ("exact", "in order", "any order", "subset", "superset")
ARGUMENTS: Final[tuple[Arguments, ...]] = ("exact", "ignore", "subset", "superset")
MATCH_MODES: Final[dict[str, Order]] = {order.replace(" ", "-"): order for order in ORDERS}
"""The orders as they are written in a command or an address."""
CALLS_TOLD: Final = 100
"""Missing calls, and calls too many, that are named; all of them are counted."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are held against a reference. Calls of `ignored_tools` and arguments of `ignored_arguments`
    are left out on both sides."""

    order: Order = "in order"
    arguments: Arguments = "ignore"
    ignored_tools: frozenset[str] = frozenset()
    ignored_arguments: frozenset[str] = frozenset()


class Called(msgspec.Struct, frozen=True):
    """A call by its tool and its arguments as JSON texts; none where arguments are not looked at."""

    tool: str
    arguments: dict[str, str]


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a mission matches, and how much of it does: `matched` calls, each at most once.

    Precision is a share of the calls made, recall of those expected; None over no calls. `divergence` is
    the index of the first call that is not the one expected in its place, None where there is none.
    `missing` were expected and not made, `extra` were made and not expected, whatever their order; the
    first hundred of each.
    """

    matches: bool
    matched: int
    expected: int
    made: int
    precision: float | None
    recall: float | None
    f1: float | None
    divergence: int | None
    missing: tuple[Called, ...] = ()
    extra: tuple[Called, ...] = ()


class _Call(NamedTuple):
    tool: str
    arguments: frozenset[tuple[str, str]]


_Agree = Callable[[_Call, _Call], bool]


def match(reference: Iterable[Event], candidate: Iterable[Event], rules: Rules | None = None) -> Match:
    """The tool calls of a mission against those of a reference."""
    chosen = rules or Rules()
    expected, made = _calls(reference, chosen), _calls(candidate, chosen)
    agree = _AGREE[chosen.arguments]
    matched, missing, extra = _paired(
        expected, made, agree, transparent=chosen.arguments in ("exact", "ignore")
    )
    precision = matched / len(made) if made and expected else None
    recall = matched / len(expected) if expected else None
    return Match(
        matches=_matches(chosen.order, expected, made, agree, matched),
        matched=matched,
        expected=len(expected),
        made=len(made),
        precision=precision,
        recall=recall,
        f1=2 * matched / (len(made) + len(expected)) if expected else None,
        divergence=_divergence(expected, made, agree),
        missing=tuple(map(_told, missing[:CALLS_TOLD])),
        extra=tuple(map(_told, extra[:CALLS_TOLD])),
    )


def _told(call: _Call) -> Called:
    return Called(call.tool, dict(sorted(call.arguments)))


def _calls(events: Iterable[Event], rules: Rules) -> list[_Call]:
    return [
        _Call(event.name, _arguments(event, rules))
        for event in events
        if event.kind is EventKind.TOOL_CALL and event.name not in rules.ignored_tools
    ]


def _arguments(event: Event, rules: Rules) -> frozenset[tuple[str, str]]:
    if rules.arguments == "ignore":
        return frozenset()
    return frozenset(
        (key, _text(value))
        for key, value in arguments_of(event).items()
        if key not in rules.ignored_arguments
    )


def _text(value: Any) -> str:
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except (msgspec.EncodeError, RecursionError, UnicodeEncodeError, TypeError):
        return repr(value)


def _equal(expected: _Call, made: _Call) -> bool:
    return expected == made


def _within(expected: _Call, made: _Call) -> bool:
    return expected.tool == made.tool and made.arguments <= expected.arguments


def _holding(expected: _Call, made: _Call) -> bool:
    return expected.tool == made.tool and made.arguments >= expected.arguments


_AGREE: Final[dict[Arguments, _Agree]] = {
    "exact": _equal,
    "ignore": _equal,
    "subset": _within,
    "superset": _holding,
}


def _matches(
    order: Order, expected: Sequence[_Call], made: Sequence[_Call], agree: _Agree, matched: int
) -> bool:
    match order:
        case "exact":
            return len(expected) == len(made) and _divergence(expected, made, agree) is None
        case "in order":
            return _in_order(expected, made, agree)
        case "any order":
            return matched == len(expected) == len(made)
        case "subset":
            return matched == len(made)
        case "superset":
            return matched == len(expected)


def _in_order(expected: Sequence[_Call], made: Sequence[_Call], agree: _Agree) -> bool:
    """The first call that will do is the best choice for each expected one."""
    rest = iter(made)
    return all(any(agree(wanted, call) for call in rest) for wanted in expected)


def _divergence(expected: Sequence[_Call], made: Sequence[_Call], agree: _Agree) -> int | None:
    for index, (wanted, call) in enumerate(zip(expected, made, strict=False)):
        if not agree(wanted, call):
            return index
    return None if len(expected) == len(made) else min(len(expected), len(made))


def _paired(
    expected: Sequence[_Call], made: Sequence[_Call], agree: _Agree, *, transparent: bool
) -> tuple[int, list[_Call], list[_Call]]:
    """The most calls that can be paired, and those of both sides that are left over.

    Equal ones are paired first, which costs no other pair: what agrees with one of two equal calls agrees
    with the other.
    """
    wanted, given = Counter(expected), Counter(made)
    equal = (wanted & given).total()
    missing, extra = [*(wanted - given).elements()], [*(given - wanted).elements()]
    if transparent:
        return equal, missing, extra
    partner = _most_pairs(missing, extra, agree)
    found = frozenset(partner.values())
    return (
        equal + len(partner),
        [call for index, call in enumerate(missing) if index not in found],
        [call for index, call in enumerate(extra) if index not in partner],
    )


def _most_pairs(expected: Sequence[_Call], made: Sequence[_Call], agree: _Agree) -> dict[int, int]:
    """A largest matching, of made calls to expected ones, grown by one augmenting path at a time."""
    choices = [[j for j, call in enumerate(made) if agree(wanted, call)] for wanted in expected]
    partner: dict[int, int] = {}
    for start in range(len(expected)):
        _augment(start, choices, partner)
    return partner


def _augment(start: int, choices: Sequence[Sequence[int]], partner: dict[int, int]) -> None:
    """Finds a path from an expected call without a partner to a made one without, and turns its pairs."""
    reached_from: dict[int, int] = {}
    left_by: dict[int, int] = {}
    waiting = [start]
    while waiting:
        wanted = waiting.pop()
        for call in choices[wanted]:
            if call in reached_from:
                continue
            reached_from[call] = wanted
            if call not in partner:
                _turn(call, reached_from, left_by, partner)
                return
            left_by[partner[call]] = call
            waiting.append(partner[call])


def _turn(
    call: int | None, reached_from: dict[int, int], left_by: dict[int, int], partner: dict[int, int]
) -> None:
    while call is not None:
        wanted = reached_from[call]
        partner[call] = wanted
        call = left_by.get(wanted)
