"""Recorded Mistral calls with the Mistral SDK."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.instrumentation.kits.mistralai import Mistral
from tests.replay.players import Observed, Player, plain
from tests.replay.records import Record

_OPERATIONS = frozenset({"chat/completions", "embeddings"})


def _takes(record: Record) -> bool:
    return record.provider == "mistral" and record.operation in _OPERATIONS and isinstance(record.body, dict)


@contextmanager
def _clients(url: str) -> Iterator[Any]:
    with Mistral(api_key="k", server_url=url) as client:
        yield client


@asynccontextmanager
async def _aclients(url: str) -> AsyncIterator[Any]:
    async with Mistral(api_key="k", server_url=url) as client:
        yield client


def _play(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    method = _method(client, record, "")
    reply = method(**_arguments(method, record), http_headers=headers)
    return Observed(parsed=[plain(item) for item in reply] if record.stream else plain(reply))


async def _aplay(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    method = _method(client, record, "_async")
    reply = await method(**_arguments(method, record), http_headers=headers)
    return Observed(parsed=[plain(item) async for item in reply] if record.stream else plain(reply))


def _method(client: Any, record: Record, suffix: str) -> Any:
    if record.operation == "embeddings":
        return getattr(client.embeddings, f"create{suffix}")
    return getattr(client.chat, f"{'stream' if record.stream else 'complete'}{suffix}")


def _arguments(method: Any, record: Record) -> dict[str, Any]:
    """What of the body the method takes; other clients recorded fields that this one does not have."""
    known = inspect.signature(method).parameters
    body = {"inputs": record.body.get("input"), **record.body} if "inputs" in known else record.body
    return {name: value for name, value in body.items() if name in known and name != "stream"}


PLAYER = Player(sdk="mistralai", takes=_takes, clients=_clients, aclients=_aclients, play=_play, aplay=_aplay)
