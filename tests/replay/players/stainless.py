"""Recorded calls with an SDK that is built like OpenAI's: the same methods, whoever's it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.replay.players import Observed, Player, plain
from tests.replay.records import Record

__all__ = ["RESOURCES", "player_of"]

RESOURCES: Mapping[str, Callable[[Any], Any]] = {
    "chat/completions": lambda client: client.chat.completions,
    "completions": lambda client: client.completions,
}
# What the SDKs' methods want by name, and what stands in where a recording has it not.
_REQUIRED: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "m", "messages": []},
    "completions": {"model": "m", "prompt": ""},
}


def player_of(sdk: str, cls: type[Any], acls: type[Any], *, path: str = "") -> Player:
    """The player of an SDK whose calls were recorded under its own name; ``path`` ends its base URL."""

    def takes(record: Record) -> bool:
        return record.provider == sdk and record.operation in RESOURCES and isinstance(record.body, dict)

    @contextmanager
    def clients(url: str) -> Iterator[Any]:
        with cls(api_key="k", max_retries=0, base_url=f"{url}{path}") as client:
            yield client

    @asynccontextmanager
    async def aclients(url: str) -> AsyncIterator[Any]:
        async with acls(api_key="k", max_retries=0, base_url=f"{url}{path}") as client:
            yield client

    return Player(sdk=sdk, takes=takes, clients=clients, aclients=aclients, play=_play, aplay=_aplay)


def _play(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    resource, arguments = RESOURCES[record.operation](client), _arguments(record, headers)
    with resource.with_streaming_response.create(**arguments) as response:
        content = b"".join(response.iter_bytes())
    reply = resource.create(**arguments)
    return Observed(content, [plain(item) for item in reply] if record.stream else plain(reply))


async def _aplay(client: Any, record: Record, headers: dict[str, str]) -> Observed:
    resource, arguments = RESOURCES[record.operation](client), _arguments(record, headers)
    async with resource.with_streaming_response.create(**arguments) as response:
        content = b"".join([chunk async for chunk in response.iter_bytes()])
    reply = await resource.create(**arguments)
    return Observed(content, [plain(item) async for item in reply] if record.stream else plain(reply))


def _arguments(record: Record, headers: dict[str, str]) -> dict[str, Any]:
    body = dict(record.body)
    named = {name: body.pop(name, absent) for name, absent in _REQUIRED[record.operation].items()}
    if record.stream:
        named["stream"] = True
        body.pop("stream", None)
    return {**named, "extra_body": body, "extra_headers": headers}
