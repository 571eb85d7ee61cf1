"""A guard for each test of decorators."""

from __future__ import annotations

import pytest

from tests.decorators.kit import Watching


@pytest.fixture
def guard() -> Watching:
    return Watching()
