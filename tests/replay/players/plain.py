"""Every recorded call in a known format, whoever's, made with nothing but an HTTP library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from tests.replay.players import Observed, Player
from tests.replay.records import Record

__all__ = ["player_of"]


def player_of(module: ModuleType) -> Player:
    """The player of httpx or httpx2."""

    @contextmanager
    def clients(url: str) -> Iterator[Any]:
        with module.Client(base_url=url, trust_env=False) as client:
            yield client

    @asynccontextmanager
    async def aclients(url: str) -> AsyncIterator[Any]:
        async with module.AsyncClient(base_url=url, trust_env=False) as client:
            yield client

    return Player(sdk=module.__name__, takes=_takes, clients=clients, aclients=aclients, play=_play, aplay=_aplay)


def _takes(record: Record) -> bool:
    return record.codec is not None


def _play(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    call = _call(record, headers)
    with client.stream("POST", **call) as response:
        content = b"".join(response.iter_bytes())
        seen = _seen(response)
    whole = client.post(**call)
    return Observed(content, [seen, _seen(whole), whole.content])


async def _aplay(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    call = _call(record, headers)
    async with client.stream("POST", **call) as response:
        content = b"".join([chunk async for chunk in response.aiter_bytes()])
        seen = _seen(response)
    whole = await client.post(**call)
    return Observed(content, [seen, _seen(whole), whole.content])


def _call(record: Record, headers: dict[str, str]) -> dict[str, Any]:
    url = urlsplit(record.url)
    return {
        "url": f"{url.path}?{url.query}" if url.query else url.path,
        "content": json.dumps(record.body).encode(),
        "headers": {"content-type": "application/json", "authorization": "Bearer k", **headers},
    }


def _seen(response: Any) -> Any:
    return response.status_code, response.headers.get("content-type")
