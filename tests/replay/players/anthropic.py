"""Recorded Anthropic calls with the Anthropic SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import anthropic

from tests.replay.players import Observed, Player, plain
from tests.replay.records import Record

_METHODS: dict[str, Callable[[Any], tuple[Any, str]]] = {
    "/v1/messages": lambda client: (client.messages, "create"),
    "/v1/messages/count_tokens": lambda client: (client.messages, "count_tokens"),
    "/v1/complete": lambda client: (client.completions, "create"),
}
# What the SDK's methods want by name, and what stands in where a recording has it not.
_REQUIRED: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "m", "max_tokens": 1, "messages": []},
    "/v1/messages/count_tokens": {"model": "m", "messages": []},
    "/v1/complete": {"model": "m", "max_tokens_to_sample": 1, "prompt": ""},
}


def _takes(record: Record) -> bool:
    path = urlsplit(record.url).path
    if record.provider != "anthropic" or path not in _METHODS or not isinstance(record.body, dict):
        return False
    return path != "/v1/complete" or hasattr(anthropic.Anthropic(api_key="k"), "completions")


def _method(client: Any, record: Record, way: str = "") -> Callable[..., Any]:
    """The SDK's method for a record's call; the beta API's where the recording says so."""
    url = urlsplit(record.url)
    resource, name = _METHODS[url.path](client.beta if "beta=true" in url.query else client)
    method: Callable[..., Any] = getattr(getattr(resource, way) if way else resource, name)
    return method


@contextmanager
def _clients(url: str) -> Iterator[Any]:
    with anthropic.Anthropic(**_options(url)) as client:
        yield client


@asynccontextmanager
async def _aclients(url: str) -> AsyncIterator[Any]:
    async with anthropic.AsyncAnthropic(**_options(url)) as client:
        yield client


def _play(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    arguments = _arguments(record, headers)
    with _method(client, record, "with_streaming_response")(**arguments) as response:
        content = b"".join(response.iter_bytes())
    reply = _method(client, record)(**arguments)
    return Observed(content, [plain(item) for item in reply] if record.stream else plain(reply))


async def _aplay(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    arguments = _arguments(record, headers)
    async with _method(client, record, "with_streaming_response")(**arguments) as response:
        content = b"".join([chunk async for chunk in response.iter_bytes()])
    reply = await _method(client, record)(**arguments)
    return Observed(content, [plain(item) async for item in reply] if record.stream else plain(reply))


def _arguments(record: Record, headers: dict[str, str]) -> dict[str, Any]:
    body = dict(record.body)
    named = {name: body.pop(name, absent) for name, absent in _REQUIRED[urlsplit(record.url).path].items()}
    if record.stream:
        named["stream"] = True
        body.pop("stream", None)
    # With a time limit of its own, the SDK does not ask for long answers to be streamed.
    return {**named, "extra_body": body, "extra_headers": headers, "timeout": 60.0}


def _options(url: str) -> dict[str, Any]:
    return {"api_key": "k", "max_retries": 0, "base_url": url}


PLAYER = Player(sdk="anthropic", takes=_takes, clients=_clients, aclients=_aclients, play=_play, aplay=_aplay)
