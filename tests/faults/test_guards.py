"""The list of guards is one of this program: each stands where it is said to, once."""

from pathlib import Path

import pytest
from faults.guards import GUARDS, Guard

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_where_it_is_said_to_and_its_tests_exist(guard: Guard):
    assert (ROOT / guard.file).read_text().count(guard.text) == 1
    assert guard.text != guard.instead
    assert all((ROOT / test).is_file() for test in guard.tests)
