"""One player for each SDK: how a recorded call is made again with it.

A player is a module of this package with a `Player` named ``PLAYER``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from importlib import import_module, util
from typing import Any

from tests.replay.records import Record

__all__ = ["PLAYERS", "Observed", "Player", "installed_players", "plain"]

# By the player's module: what must be importable for it.
PLAYERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "bedrock": "aiobotocore",
    "google": "google.genai",
    "openai": "openai",
    "together": "together",
    "plain_httpx2": "httpx2",
    "plain_httpx": "httpx",
    "mistralai": "mistralai",
    "groq": "groq",
    "cohere": "cohere",
}


@dataclass
class Observed:
    """What a caller got: the decoded bytes, the parsed objects, or the error; and what the provider was sent."""

    content: bytes = b""
    parsed: Any = None
    error: tuple[str, Any, Any] | None = None
    sent: Any = None


@dataclass(frozen=True)
class Player:
    """Makes recorded calls with an SDK whose base URL is a replaying server.

    ``takes`` says whether a record is one of its SDK's calls. ``clients`` and
    ``aclients`` open what ``play`` and ``aplay`` get as their first argument;
    these two make the record's call with some headers more, read all of the
    reply, and give what the caller got; what they raise is compared as well.
    """

    sdk: str
    takes: Callable[[Record], bool]
    clients: Callable[[str], AbstractContextManager[Any]]
    aclients: Callable[[str], AbstractAsyncContextManager[Any]]
    play: Callable[[Any, Record, dict[str, str]], Observed]
    aplay: Callable[[Any, Record, dict[str, str]], Awaitable[Observed]]


def installed_players() -> list[Player]:
    """The players whose SDK can be imported here."""
    return [import_module(f"{__name__}.{name}").PLAYER for name, module in PLAYERS.items() if _is_there(module)]


def plain(value: Any) -> Any:
    """A parsed object as plain data, to be compared."""
    return value.model_dump(warnings=False) if hasattr(value, "model_dump") else value


def _is_there(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
