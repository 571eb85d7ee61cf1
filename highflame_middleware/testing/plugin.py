"""Pytest fixtures, registered by the installed package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..instrumentation import Instrumentation
    from .spans import CapturedSpans

__all__ = ["highflame_instrument", "highflame_spans"]


@pytest.fixture
def highflame_instrument() -> Iterator[Callable[..., Instrumentation]]:
    """`instrument`, taken back when the test ends, whatever it did."""
    from ..instrumentation import instrument, uninstrument  # noqa: PLC0415 - every pytest run loads this plugin

    uninstrument()
    yield instrument
    uninstrument()


@pytest.fixture
def highflame_spans() -> Iterator[CapturedSpans]:
    """The spans that this library makes during the test."""
    from .spans import captured_spans  # noqa: PLC0415

    with captured_spans() as spans:
        yield spans
