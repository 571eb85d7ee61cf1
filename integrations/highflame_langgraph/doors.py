"""What judges for a door: the same for all that are given the same settings, so that no text is judged by each."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from highflame_middleware import Settings
from highflame_middleware.checkpoint import Checkpoint

__all__ = ["checkpoint_of"]

_KEPT = 32
_known: OrderedDict[int, tuple[Settings, Checkpoint]] = OrderedDict()
_lock = Lock()


def checkpoint_of(settings: Settings | None, options: dict[str, Any]) -> Checkpoint:
    """The checkpoint of some settings: one for each object; settings that are only equal have a guard each."""
    if settings is None or options:
        return Checkpoint(settings, name="langgraph", **options)
    with _lock:
        kept = _known.get(id(settings))
        if kept is None or kept[0] is not settings:
            kept = settings, Checkpoint(settings, name="langgraph")
            _known[id(settings)] = kept
        _known.move_to_end(id(settings))
        while len(_known) > _KEPT:
            _known.popitem(last=False)
        return kept[1]
