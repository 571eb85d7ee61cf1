"""What a message says was decided about it, in its response metadata, which no provider is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage

__all__ = ["MARK", "marked_calls"]

MARK = "highflame"


def marked_calls(message: BaseMessage) -> Mapping[str, Mapping[str, Any]]:
    """What a message says was decided about its tool calls, by their ids. It can only make things stricter."""
    mark = message.response_metadata.get(MARK)
    calls = mark.get("calls") if isinstance(mark, dict) else None
    if not isinstance(calls, dict):
        return {}
    return {str(call): said for call, said in calls.items() if isinstance(said, dict)}
