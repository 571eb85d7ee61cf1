"""An authority for each test, served on this machine, with an agent of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from highflame_middleware.testing.authority import Agent, Authority
from tests.identity.kit import Clock


@pytest.fixture
def authority() -> Iterator[Authority]:
    found = Authority()
    with found.serve():
        yield found


@pytest.fixture
def agent(authority: Authority) -> Agent:
    return authority.register("writer", scopes=["tools:read", "tools:write"])


@pytest.fixture
def clock() -> Clock:
    return Clock()
