"""What a guard remembers from one text to the next: sessions, in memory or in Redis, and a vault of values."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .memory import MemorySessions
from .session import EMPTY, Session, SessionFault, Sessions, merged
from .vault import Vault

if TYPE_CHECKING:
    from .redis import RedisSessions

__all__ = [
    "EMPTY",
    "MemorySessions",
    "RedisSessions",
    "Session",
    "SessionFault",
    "Sessions",
    "Vault",
    "merged",
]


def __getattr__(name: str) -> Any:
    if name != "RedisSessions":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".redis", __name__).RedisSessions
