"""A Shield for each test, and no waiting between attempts beyond what a test is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shield.kit import ScriptedShield, shield


@pytest.fixture
def there() -> Iterator[ScriptedShield]:
    with shield() as server:
        yield server


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highflame_middleware.shield.attempts._FIRST_PAUSE", 0.01)
