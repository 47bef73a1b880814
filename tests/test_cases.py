"""Every numbered case that is claimed names tests that exist, or says why there is none."""

import ast
from functools import cache
from pathlib import Path

import pytest
from cases import CASES, Reason

ROOT = Path(__file__).resolve().parents[1]
LAST = 202


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


@pytest.mark.parametrize("number", sorted(CASES))
def test_a_case_names_tests_that_exist_or_a_reason(number: int):
    assert 1 <= number <= LAST
    case = CASES[number]
    if isinstance(case, Reason):
        assert len(case) > 20
        return
    assert case
    for test in case:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert name in names_in(path), test


def test_every_case_is_claimed():
    assert set(CASES) == set(range(1, LAST + 1))
