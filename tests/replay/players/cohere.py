"""Recorded Cohere calls with the Cohere SDK, both of its APIs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import cohere

from tests.replay.players import Observed, Player, plain
from tests.replay.records import Record

_METHODS: dict[tuple[str, bool], Callable[[Any], Any]] = {
    ("/v1/chat", False): lambda client: client.chat,
    ("/v1/chat", True): lambda client: client.chat_stream,
    ("/v1/generate", False): lambda client: client.generate,
    ("/v1/rerank", False): lambda client: client.rerank,
    ("/v2/chat", False): lambda client: client.v2.chat,
    ("/v2/chat", True): lambda client: client.v2.chat_stream,
    ("/v2/embed", False): lambda client: client.v2.embed,
    ("/v2/rerank", False): lambda client: client.v2.rerank,
}
# What the SDK's methods want by name; the recording's body is laid over it.
_REQUIRED: dict[str, dict[str, Any]] = {
    "/v1/chat": {"message": "m"},
    "/v1/generate": {"prompt": "p"},
    "/v1/rerank": {"query": "q", "documents": []},
    "/v2/chat": {"model": "m", "messages": []},
    "/v2/embed": {"model": "m", "input_type": "search_query"},
    "/v2/rerank": {"model": "m", "query": "q", "documents": []},
}


def _way(record: Record) -> tuple[str, bool]:
    return urlsplit(record.url).path, record.body.get("stream") is True


def _takes(record: Record) -> bool:
    known = record.provider == "cohere" and isinstance(record.body, dict) and _way(record) in _METHODS
    return known and hasattr(cohere.Client, "v2")


@contextmanager
def _clients(url: str) -> Iterator[Any]:
    with cohere.Client(api_key="k", base_url=url) as client:
        yield client


@asynccontextmanager
async def _aclients(url: str) -> AsyncIterator[Any]:
    async with cohere.AsyncClient(api_key="k", base_url=url) as client:
        yield client


def _play(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    reply = _METHODS[_way(record)](client)(**_arguments(record, headers))
    return Observed(parsed=[plain(item) for item in reply] if _way(record)[1] else plain(reply))


async def _aplay(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    reply = _METHODS[_way(record)](client)(**_arguments(record, headers))
    if _way(record)[1]:
        return Observed(parsed=[plain(item) async for item in reply])
    return Observed(parsed=plain(await reply))


def _arguments(record: Record, headers: dict[str, str]) -> dict[str, Any]:
    options = {"additional_body_parameters": record.body, "additional_headers": headers, "max_retries": 0}
    return {**_REQUIRED[_way(record)[0]], "request_options": options}


PLAYER = Player(sdk="cohere", takes=_takes, clients=_clients, aclients=_aclients, play=_play, aplay=_aplay)
