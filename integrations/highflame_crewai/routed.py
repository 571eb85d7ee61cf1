"""Which models have a gateway before them: those that `highflame_llm` has made, and copies of them."""

from __future__ import annotations

from typing import Any

__all__ = ["INSIDE", "is_routed", "remember"]

# Reserved by RFC 2606: should such a request ever leave the process, it goes nowhere.
INSIDE = "http://highflame-gateway.invalid/v1"
# Where these models are told that their provider is: what CrewAI's copies of a model keep.
_bases = {INSIDE}


def remember(base: str) -> None:
    """Models that have this base address have a gateway before them."""
    _bases.add(base)


def is_routed(llm: Any) -> bool:
    """Whether a model has a gateway before it."""
    intercepted = getattr(getattr(llm, "interceptor", None), "is_highflame", False)
    return bool(intercepted or getattr(llm, "base_url", "") in _bases)
