from collections.abc import Iterator
from pathlib import Path

import pytest
from api_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    created = World(tmp_path)
    yield created
    created.database.close()
