"""One mission judged alone: its rows go by once, page by page, and leave counts and signatures.

Nothing grows with the mission but the commands still open, the ledgers of model calls and the loop
windows of the last two minutes.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from hashlib import blake2b, sha256
from itertools import islice
from operator import itemgetter
from struct import pack
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.core import metrics
from quartermaster.core.metrics import Metric, Tally
from quartermaster.core.pricing import Price, list_price
from quartermaster.core.profile import END, START, Edge
from quartermaster.core.trajectory import (
    ASSIGNMENT_CREATED,
    BUDGET_EXCEEDED,
    COMMAND,
    COMMAND_END,
    COMMAND_START,
    COST_INCURRED,
    ENTRY_TYPE_OF_KIND,
    ESCALATION_QUESTION,
    GOAL_WORDS,
    INPUT_BLOCKED,
    KEEPER_DECISION,
    MODEL_CALL,
    OUTPUT_BLOCKED,
    RUNNING_WORDS,
    STATUS_CHANGE,
    terms_of,
    text_template,
)

Row = tuple[Any, ...]
"""The fields of `trajectory.Step`, in its order."""
Texts = Mapping[Any, str | None]
"""From the key that stands for a text in a row to the text. Equal texts have equal keys."""
Level = Literal["kinds", "tools", "arguments", "outcomes"]

FAILURE_MODES: Final = ("tool_loop", "budget_runaway", "guardrail_cascade", "escalation_loop")
LEVELS: Final[tuple[Level, ...]] = ("kinds", "tools", "arguments", "outcomes")

_COMMANDS: Final = frozenset({COMMAND, COMMAND_START, COMMAND_END})
_LOOP_LENGTH: Final = 6
_LOOP_NANOSECONDS: Final = 120 * 10**9
_LONG_AGO: Final = (-(2**80),) * (_LOOP_LENGTH - 1)
_CASCADE_LENGTH: Final = 4
_QUESTIONS: Final = 3
_WARN: Final = 2

_TERMS: Final = itemgetter(16)
_PAGE: Final = 4096
_CACHE_LIMIT: Final = 16_384
_KINDS: Final = range(max(ENTRY_TYPE_OF_KIND) + 1)


class PlainTexts(dict[Any, str | None]):
    """For rows that hold their texts themselves."""

    def __missing__(self, key: Any) -> Any:
        return key


class Layers(msgspec.Struct, frozen=True):
    """Four digests without a seed, each over what the one before covers and one thing more."""

    kinds: str
    tools: str
    arguments: str
    outcomes: str


class Finding(msgspec.Struct, frozen=True):
    """A failure mode and the index of the step that completed it."""

    failure_mode: str
    step: int


class CostCheck(msgspec.Struct, frozen=True):
    """What was recorded and what the list price would be, in picodollars, of calls that have both."""

    calls: int
    recorded: int
    listed: int

    @property
    def differs(self) -> bool:
        """By more than two in a hundred of the recorded sum."""
        return 50 * abs(self.listed - self.recorded) > abs(self.recorded)


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of one mission. Instants are those of the first and the last row; `transitions`
    count which tool directly followed which, shell commands by the program that they start."""

    seed: int
    steps: int
    signature: str
    layers: Layers
    metrics: tuple[Metric, ...]
    findings: tuple[Finding, ...]
    goal_reached: bool
    model_calls: int
    commands: int
    failed_commands: int
    commands_without_outcome: int
    decisions_denied: int
    blocks: int
    tokens: int
    unpriced_tokens: int
    first_instant: int | None
    last_instant: int | None
    transitions: tuple[tuple[Edge, int], ...]
    cost_check: CostCheck | None = None

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)


class OpenCommands:
    """Commands that were journalled as started and have not ended; the last one started ends first."""

    def __init__(self) -> None:
        self._starts: dict[int | None, list[int]] = {}

    def open(self, pairing: int | None, step: int) -> None:
        self._starts.setdefault(pairing, []).append(step)

    def close(self, pairing: int | None, step: int) -> int:
        """The step that this end belongs to: its start, or `step` where it is one of its own."""
        starts = self._starts.get(pairing)
        if not starts:
            return step
        start = starts.pop()
        if not starts:
            del self._starts[pairing]
        return start


def steps(rows: Iterable[Row]) -> Iterator[tuple[int, Any]]:
    """Kind and tool of each step: a command's end closes its start, and a cost is no step."""
    commands = OpenCommands()
    index = 0
    for row in rows:
        kind = row[1]
        if kind == COST_INCURRED:
            continue
        if kind == COMMAND_START:
            commands.open(row[12], index)
        elif kind == COMMAND_END and commands.close(row[12], index) != index:
            continue
        yield kind, row[2]
        index += 1


class Name(NamedTuple):
    """What the kind and the tool of one step add to the signatures: `levels` holds eight bytes for each
    of kind, tool and argument template."""

    contract: bytes
    levels: bytes


class Signatures:
    """The contract signature and the layered ones, over steps in their order.

    `names` gives the name of a step by its kind, then its tool. An outcome is twice the index of its
    step, plus one for a success.
    """

    def __init__(self, texts: Texts, seed: int) -> None:
        self._texts = texts
        self.names: list[dict[Any, Name]] = [_Cache(partial(self._name, kind)) for kind in _KINDS]
        self.arguments: dict[Any, bytes] = _Cache(self._argument)
        self._contract = sha256(b"%d\0" % seed)
        self._kinds = sha256()
        self._tools = sha256()
        self._templates = sha256()
        self._arguments = sha256()
        self._outcomes = sha256()

    def add(self, names: list[Name], arguments: list[bytes], outcomes: list[int]) -> None:
        self._contract.update(b"".join([name[0] for name in names]))
        levels = array("Q", b"".join([name[1] for name in names]))
        self._kinds.update(levels[0::3])
        self._tools.update(levels[1::3])
        self._templates.update(levels[2::3])
        self._arguments.update(b"".join(arguments))
        self._outcomes.update(pack(f"<{len(outcomes)}q", *outcomes))

    def contract(self) -> str:
        return self._contract.hexdigest()

    def layers(self) -> Layers:
        arguments = sha256(self._templates.digest() + self._arguments.digest()).digest()
        return Layers(
            kinds=self._kinds.hexdigest(),
            tools=self._tools.hexdigest(),
            arguments=arguments.hex(),
            outcomes=sha256(arguments + self._outcomes.digest()).hexdigest(),
        )

    def _name(self, kind: int, tool: Any) -> Name:
        entry_type = ENTRY_TYPE_OF_KIND[kind]
        text = text_of(self._texts, tool)
        name = program(text) if kind in _COMMANDS else text
        return Name(
            contract=f"{entry_type}|{text}\0".encode("utf-8", "surrogatepass"),
            levels=_digest(entry_type)
            + _digest(entry_type, name)
            + _digest(entry_type, name, text_template(text)),
        )

    def _argument(self, key: Any) -> bytes:
        return _digest(text_of(self._texts, key))


class _Cache(dict[Any, Any]):
    """Remembers what a function made of a key; forgets everything once it holds too much."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Any) -> Any:
        if len(self) >= _CACHE_LIMIT:
            self.clear()
        value = self[key] = self._make(key)
        return value


def program(command: str) -> str:
    """The program that a command line starts, without its directory."""
    words = command.split(None, 1)
    return words[0].rstrip("/").rpartition("/")[2] if words else ""


def text_of(texts: Texts, key: Any) -> str:
    return "" if key is None else texts[key] or ""


def _writable(text: str) -> str:
    """The text as a store keeps it: half of a surrogate pair is no text."""
    return text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=8192)
def _digest(*parts: str) -> bytes:
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _Asked(NamedTuple):
    """What a price is asked for, and whether the recording says that such calls are not billed."""

    model: str
    terms: str | None
    unbilled: bool


class _LoopWindows(dict[Any, list[int] | None]):
    """Per tool the instants of its last five commands; None for a command without a name."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self._texts = texts
        self._many = _PAGE

    def __missing__(self, tool: Any) -> list[int] | None:
        named = text_of(self._texts, tool)
        window = self[tool] = list(_LONG_AGO) if named else None
        return window

    def forget_before(self, instant: int) -> None:
        """Lets go of windows that no later command can complete, once they have doubled."""
        if len(self) <= self._many:
            return
        for tool in [tool for tool, window in self.items() if window is None or window[-1] < instant]:
            del self[tool]
        self._many = max(_PAGE, 2 * len(self))


class Assessor:
    """Judges one mission: `add` its rows in order, as many at a time as suits, then ask for the `result`.

    Between two calls of `add` the caller may look at its deadline; a result may be asked for at any time.
    With `check_costs` recorded costs are held against list prices, which takes the catalogue.
    """

    def __init__(
        self, texts: Texts, seed: int = 0, price: Price = list_price, *, check_costs: bool = False
    ) -> None:
        self._check_costs = check_costs
        self._texts = texts
        self._seed = seed
        self._price = price
        self._tally = Tally()
        self._signatures = Signatures(texts, seed)
        self._commands = OpenCommands()
        self._windows = _LoopWindows(texts)
        self._asked: dict[tuple[Any, Any], _Asked] = _Cache(self._ask)
        self._modes: dict[str, int] = {}
        self._programs: dict[Any, str] = _Cache(lambda tool: _writable(program(text_of(texts, tool))))
        self._last_tool = START
        self._edges: Counter[tuple[str, str]] = Counter()
        self._rare: dict[int, Callable[[int, Row], None]] = {
            ASSIGNMENT_CREATED: self._add_assignment,
            STATUS_CHANGE: self._add_status,
            INPUT_BLOCKED: self._add_block,
            OUTPUT_BLOCKED: self._add_block,
            ESCALATION_QUESTION: self._add_question,
            BUDGET_EXCEEDED: self._add_exceeded_budget,
        }
        self._blocks = 0
        self._questions = 0
        self._call_ledgers: set[int] = set()
        self._charges: dict[int, tuple[int, int]] = {}
        self._first_instant: int | None = None
        self._last_instant: int | None = None

    def add(self, rows: Iterable[Row]) -> None:
        iterator = iter(rows)
        while page := list(islice(iterator, _PAGE)):
            self._add_page(page)

    def result(self) -> Assessment:
        tally = self._final_tally()
        return Assessment(
            seed=self._seed,
            steps=tally.steps,
            signature=self._signatures.contract(),
            layers=self._signatures.layers(),
            metrics=metrics.read_metrics(tally),
            findings=tuple(Finding(mode, self._modes[mode]) for mode in tally.failure_modes),
            goal_reached=tally.goal_index is not None,
            model_calls=tally.model_calls,
            commands=tally.commands,
            failed_commands=tally.failed_commands,
            commands_without_outcome=tally.commands - tally.succeeded_commands - tally.failed_commands,
            decisions_denied=tally.decisions_denied,
            blocks=self._blocks,
            tokens=tally.tokens,
            unpriced_tokens=tally.unpriced_tokens,
            first_instant=self._first_instant,
            last_instant=self._last_instant,
            transitions=self._transitions(),
            cost_check=CostCheck(
                tally.calls_with_both_costs, tally.recorded_where_both, tally.listed_where_both
            )
            if tally.calls_with_both_costs
            else None,
        )

    def _final_tally(self) -> Tally:
        charges = [charge for ledger, charge in self._charges.items() if ledger not in self._call_ledgers]
        return msgspec.structs.replace(
            self._tally,
            cost=self._tally.cost + sum(cost for _, cost in charges),
            charges_without_call=self._tally.charges_without_call + sum(count for count, _ in charges),
            failure_modes=tuple(mode for mode in FAILURE_MODES if mode in self._modes),
        )

    def _add_page(self, page: list[Row]) -> None:  # noqa: PLR0912, PLR0915
        """The hot loop: one flat table of cases over local names, because a call costs as much as a case."""
        commands, windows, rare = self._commands, self._windows, self._rare
        names_of, arguments_of = self._signatures.names, self._signatures.arguments
        looping = "tool_loop" in self._modes
        names: list[Name] = []
        arguments: list[bytes] = []
        outcomes: list[int] = []
        successes: list[bool | None] = []
        calls: list[Row] = []
        decisions: list[bool | None] = []
        costs: list[Row] = []
        tools: list[Any] = []
        ends = 0
        index = self._tally.steps
        for row in page:
            instant, kind, tool, success, _, _, _, _, _, _, _, _, pairing, _, argument, _, _ = row
            if kind == MODEL_CALL:
                calls.append(row)
            elif kind in _COMMANDS:
                step = index
                if kind == COMMAND_START:
                    commands.open(pairing, index)
                elif kind == COMMAND_END:
                    step = commands.close(pairing, index)
                successes.append(success)
                if success is not None:
                    outcomes.append(step + step + success)
                if step != index:
                    ends += 1
                    continue
                tools.append(tool)
                if not looping and (window := windows[tool]) is not None:
                    window.append(instant)
                    if instant - window.pop(0) <= _LOOP_NANOSECONDS:
                        looping = True
                        self._modes["tool_loop"] = index
            elif kind in rare:
                rare[kind](index, row)
            elif kind == KEEPER_DECISION:
                decisions.append(success)
                if success is not None:
                    outcomes.append(index + index + success)
            elif kind == COST_INCURRED:
                costs.append(row)
                continue
            names.append(names_of[kind][tool])
            if argument is not None:
                arguments.append(b"%d:" % index + arguments_of[argument])
            index += 1
        self._signatures.add(names, arguments, outcomes)
        self._tally.steps = index
        self._add_commands(successes, ends)
        self._add_tools(tools)
        self._add_decisions(decisions)
        self._add_model_calls(calls)
        self._add_costs(costs)
        windows.forget_before(page[-1][0] - _LOOP_NANOSECONDS)
        self._add_instants(page[0][0], page[-1][0])

    def _add_instants(self, first: int, last: int) -> None:
        if self._first_instant is None:
            self._first_instant = first
        self._last_instant = last

    def _add_commands(self, successes: list[bool | None], ends: int) -> None:
        self._tally.commands += len(successes) - ends
        self._tally.succeeded_commands += successes.count(True)
        self._tally.failed_commands += successes.count(False)

    def _add_tools(self, keys: list[Any]) -> None:
        if not keys:
            return
        tools = [self._programs[key] for key in keys]
        self._edges.update(zip([self._last_tool, *tools[:-1]], tools, strict=True))
        self._last_tool = tools[-1]

    def _transitions(self) -> tuple[tuple[Edge, int], ...]:
        edges = self._edges + Counter({(self._last_tool, END): 1})
        return tuple((Edge(*pair), edges[pair]) for pair in sorted(edges))

    def _add_decisions(self, successes: list[bool | None]) -> None:
        self._tally.decisions += len(successes)
        self._tally.decisions_allowed += successes.count(True)
        self._tally.decisions_denied += successes.count(False)

    def _add_model_calls(self, calls: list[Row]) -> None:
        if not calls:
            return
        tally = self._tally
        tokens = [row[5] for row in calls if row[5] is not None]
        costs = [row[10] for row in calls if row[10] is not None]
        tally.model_calls += len(calls)
        tally.calls_with_tokens += len(tokens)
        tally.tokens += sum(tokens)
        tally.calls_with_recorded_cost += len(costs)
        tally.cost += sum(costs)
        self._call_ledgers.update([row[13] for row in calls if row[13] is not None])
        self._add_calls_not_billed(calls)
        if len(costs) < len(calls):
            self._price_calls([row for row in calls if row[10] is None])
        if self._check_costs and costs:
            self._check_recorded_costs([row for row in calls if row[10] is not None])

    def _add_calls_not_billed(self, calls: list[Row]) -> None:
        for key, count in Counter(map(_TERMS, calls)).items():
            unbilled = terms_of(text_of(self._texts, key)).unbilled
            if unbilled is not None:
                self._tally.calls_not_billed += count
                self._tally.unbilled |= {unbilled}

    def _price_calls(self, calls: list[Row]) -> None:
        for row in calls:
            cost = self._list_price(row)
            if cost is None:
                self._tally.unpriced_tokens += row[5] or 0
                continue
            self._tally.cost += cost
            self._tally.calls_with_list_price += 1

    def _check_recorded_costs(self, calls: list[Row]) -> None:
        tally = self._tally
        recorded, listed = [], []
        for row in calls:
            if row[6] is None or row[7] is None or self._asked[row[2], row[16]].unbilled:
                continue
            cost = self._list_price(row)
            if cost is not None:
                recorded.append(row[10])
                listed.append(cost)
        tally.calls_with_both_costs += len(listed)
        tally.recorded_where_both += sum(recorded)
        tally.listed_where_both += sum(listed)

    def _ask(self, key: tuple[Any, Any]) -> _Asked:
        terms = text_of(self._texts, key[1]) or None
        return _Asked(text_of(self._texts, key[0]), terms, terms_of(terms).unbilled is not None)

    def _list_price(self, row: Row) -> int | None:
        asked = self._asked[row[2], row[16]]
        return self._price(
            asked.model,
            fresh=row[6],
            output=row[7],
            cache_read=row[8],
            cache_write=row[9],
            instant=row[0],
            cache_write_1h=row[15],
            terms=asked.terms,
        )

    def _add_costs(self, costs: list[Row]) -> None:
        """A cost whose model call has gone by is dropped; any other waits for it until the end."""
        for row in costs:
            cost, ledger = row[10], row[13]
            if cost is None or ledger in self._call_ledgers:
                continue
            if ledger is None:
                self._tally.cost += cost
                self._tally.charges_without_call += 1
                continue
            count, total = self._charges.get(ledger, (0, 0))
            self._charges[ledger] = (count + 1, total + cost)

    def _add_status(self, index: int, row: Row) -> None:
        word = text_of(self._texts, row[2]).lower()
        if word in RUNNING_WORDS:
            self._tally.running = True
        elif word in GOAL_WORDS and self._tally.goal_index is None:
            self._tally.goal_index = index

    def _add_assignment(self, index: int, row: Row) -> None:
        if not self._tally.running:
            self._tally.assignments_before_running += 1

    def _add_block(self, index: int, row: Row) -> None:
        if row[1] == OUTPUT_BLOCKED and row[4] >= _WARN:
            self._tally.hallucinations += 1
        self._blocks += 1
        if self._blocks == _CASCADE_LENGTH:
            self._modes["guardrail_cascade"] = index

    def _add_question(self, index: int, row: Row) -> None:
        self._questions += 1
        if self._questions == _QUESTIONS:
            self._modes["escalation_loop"] = index

    def _add_exceeded_budget(self, index: int, row: Row) -> None:
        self._modes.setdefault("budget_runaway", index)


def assess(rows: Iterable[Row], texts: Texts, seed: int = 0, price: Price = list_price) -> Assessment:
    """The assessment of rows that are at hand all at once."""
    assessor = Assessor(texts, seed, price)
    assessor.add(rows)
    return assessor.result()
