"""The numbered cases of bad input, attack and fault, each with the tests that hold it or a reason.

Every module here has a table CASES of its own; a number belongs to one of them. A test is named as
`tests/room/test_file.py::test_name`.
"""

from importlib import import_module
from pkgutil import iter_modules


class Reason(str):
    """Why a case has no test: what it needs does not exist in this program."""

    __slots__ = ()


Case = tuple[str, ...] | Reason


def merged() -> dict[int, Case]:
    """The cases of all tables; ValueError for a number that two of them claim."""
    cases: dict[int, Case] = {}
    for module in sorted(found.name for found in iter_modules(__path__)):
        table: dict[int, Case] = import_module(f"{__name__}.{module}").CASES
        twice = cases.keys() & table.keys()
        if twice:
            raise ValueError(f"cases {sorted(twice)} of {module} are claimed already")
        cases |= table
    return cases


CASES = merged()
