"""Without its framework an adapter says what to install."""

from __future__ import annotations

from importlib import util

import pytest

import highflame_crewai
from highflame_middleware import MissingExtraError


@pytest.mark.skipif(util.find_spec("crewai") is not None, reason="CrewAI is installed here")
@pytest.mark.parametrize("name", ["guarded", "self_test", "CrewBlockedError"])
def test_crewai(name: str) -> None:
    with pytest.raises(MissingExtraError, match=r"found none: pip install 'highflame-middleware\[crewai\]'"):
        getattr(highflame_crewai, name)()
