"""Recorded OpenAI and Azure calls, and those of providers that speak OpenAI's formats, with the OpenAI SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import openai

from tests.replay.players import Observed, Player, plain
from tests.replay.players.openai_resources import made
from tests.replay.records import Record

# Providers whose own SDK makes these calls, or none does.
_PROVIDERS = frozenset(
    {"openai", "azure-openai", "cerebras", "deepseek", "huggingface", "ollama", "openrouter", "portkey", "voyage"}
)
_RESOURCES: dict[str, Callable[[Any], Any]] = {
    "chat/completions": lambda client: client.chat.completions,
    "completions": lambda client: client.completions,
    "embeddings": lambda client: client.embeddings,
    "responses": lambda client: client.responses,
}
# What the SDK's methods want by name, and what stands in where a recording has it not.
_REQUIRED: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "m", "messages": []},
    "completions": {"model": "m", "prompt": ""},
    "embeddings": {"model": "m", "input": ""},
    "responses": {"model": "m", "input": ""},
}


@dataclass(frozen=True)
class _Pair:
    """A client of OpenAI's, and one of Azure's."""

    plain: Any
    azure: Any

    def of(self, record: Record) -> Any:
        """The resource that a record's call is made with."""
        return _RESOURCES[_operation(record)](self.azure if record.provider == "azure-openai" else self.plain)


def _operation(record: Record) -> str:
    """Some providers put a part of their base URL into what the recording calls the operation."""
    return next((name for name in _RESOURCES if record.operation.endswith(name)), "")


def _takes(record: Record) -> bool:
    if record.provider == "openai" and made(record) is not None:
        return True
    known = _operation(record) if record.provider in _PROVIDERS and isinstance(record.body, dict) else ""
    return bool(known) and (known != "responses" or hasattr(openai.OpenAI, "responses"))


@contextmanager
def _clients(url: str) -> Iterator[_Pair]:
    with openai.OpenAI(**_options(url)) as plain_client, openai.AzureOpenAI(**_azure_options(url)) as azure:
        yield _Pair(plain_client, azure)


@asynccontextmanager
async def _aclients(url: str) -> AsyncIterator[_Pair]:
    plain_client, azure = openai.AsyncOpenAI(**_options(url)), openai.AsyncAzureOpenAI(**_azure_options(url))
    async with plain_client, azure:
        yield _Pair(plain_client, azure)


def _play(pair: _Pair, record: Record, headers: dict[str, str]) -> Observed:
    if record.provider == "openai" and (other := made(record)) is not None:
        other.arguments["extra_headers"] = headers
        if not record.stream:
            raw = other.of(pair.plain, "with_raw_response")
            return Observed(raw.content, _parsed(raw))
        with other.of(pair.plain, "with_streaming_response") as response:
            content = b"".join(response.iter_bytes())
        with other.of(pair.plain) as events:
            return Observed(content, [plain(item) for item in events])
    resource, arguments = pair.of(record), _arguments(record, headers)
    if not record.stream:
        raw = resource.with_raw_response.create(**arguments)
        return Observed(raw.content, plain(raw.parse()))
    with resource.with_streaming_response.create(**arguments) as response:
        content = b"".join(response.iter_bytes())
    # Old versions leave a stream that breaks to the collector, which may come while httpcore holds a lock.
    with resource.create(**arguments) as events:
        return Observed(content, [plain(item) for item in events])


async def _aplay(pair: _Pair, record: Record, headers: dict[str, str]) -> Observed:
    if record.provider == "openai" and (other := made(record)) is not None:
        other.arguments["extra_headers"] = headers
        if not record.stream:
            raw = await other.of(pair.plain, "with_raw_response")
            return Observed(raw.content, _parsed(raw))
        async with other.of(pair.plain, "with_streaming_response") as response:
            content = b"".join([chunk async for chunk in response.iter_bytes()])
        async with await other.of(pair.plain) as events:
            return Observed(content, [plain(item) async for item in events])
    resource, arguments = pair.of(record), _arguments(record, headers)
    if not record.stream:
        raw = await resource.with_raw_response.create(**arguments)
        return Observed(raw.content, plain(raw.parse()))
    async with resource.with_streaming_response.create(**arguments) as response:
        content = b"".join([chunk async for chunk in response.iter_bytes()])
    async with await resource.create(**arguments) as events:
        return Observed(content, [plain(item) async for item in events])


def _parsed(raw: Any) -> Any:
    """The object that a reply is parsed into; of one that is bytes, those."""
    parsed = raw.parse()
    return raw.content if hasattr(parsed, "iter_bytes") else plain(parsed)


def _arguments(record: Record, headers: dict[str, str]) -> dict[str, Any]:
    body = dict(record.body)
    named = {name: body.pop(name, absent) for name, absent in _REQUIRED[_operation(record)].items()}
    if record.stream:
        named["stream"] = True
        body.pop("stream", None)
    return {**named, "extra_body": body, "extra_headers": headers}


def _options(url: str) -> dict[str, Any]:
    return {"api_key": "k", "max_retries": 0, "base_url": f"{url}/v1"}


def _azure_options(url: str) -> dict[str, Any]:
    return {"api_key": "k", "max_retries": 0, "azure_endpoint": url, "api_version": "2024-06-01"}


PLAYER = Player(sdk="openai", takes=_takes, clients=_clients, aclients=_aclients, play=_play, aplay=_aplay)
