"""Recorded calls of Google's APIs, Gemini's and Vertex's, with google-genai."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from google import genai
from google.auth.credentials import Credentials

from tests.replay.players import Observed, Player
from tests.replay.players import plain as dumped
from tests.replay.records import Record

# A recorded body is sent as it is: it takes the place of what the SDK's methods want to be given.
_CALLS: dict[str, Callable[[Any, str, Any], Any]] = {
    "generateContent": lambda c, model, how: c.models.generate_content(
        model=model, contents="", config={**how, "automatic_function_calling": {"disable": True}}
    ),
    "streamGenerateContent": lambda c, model, how: c.models.generate_content_stream(
        model=model, contents="", config={**how, "automatic_function_calling": {"disable": True}}
    ),
    "countTokens": lambda c, model, how: c.models.count_tokens(model=model, contents="", config=how),
    "batchEmbedContents": lambda c, model, how: c.models.embed_content(model=model, contents="", config=how),
    "embedContent": lambda c, model, how: c.models.embed_content(model=model, contents="", config=how),
    "predict": lambda c, model, how: c.models.embed_content(model=model, contents="", config=how),
    "cachedContents": lambda c, model, how: c.caches.create(model="m", config={**how, "contents": ""}),
}


class _Token(Credentials):
    def __init__(self) -> None:
        super().__init__()
        self.token = "t"

    def refresh(self, request: Any) -> None:
        raise AssertionError("nothing is fetched")


@dataclass(frozen=True)
class _Pair:
    """A client of the Gemini API's, and one of Vertex's."""

    gemini: Any
    vertex: Any

    def of(self, record: Record) -> Any:
        return self.vertex if record.provider == "vertex" else self.gemini


def _takes(record: Record) -> bool:
    known = record.provider in ("gemini", "vertex") and record.operation in _CALLS and isinstance(record.body, dict)
    # A stream that was not asked for as events is no call of this SDK's.
    return known and record.stream == (record.operation == "streamGenerateContent")


def _options(url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    http = {"base_url": url}
    cloud = {"vertexai": True, "project": "p", "location": "l", "credentials": _Token()}
    return {"api_key": "k", "vertexai": False, "http_options": http}, {**cloud, "http_options": http}


@contextmanager
def _clients(url: str) -> Iterator[_Pair]:
    pair = _Pair(*(genai.Client(**options) for options in _options(url)))
    try:
        yield pair
    finally:
        for client in (pair.gemini, pair.vertex):
            if hasattr(client, "close"):
                client.close()


@asynccontextmanager
async def _aclients(url: str) -> AsyncIterator[_Pair]:
    pair = _Pair(*(genai.Client(**options).aio for options in _options(url)))
    try:
        yield pair
    finally:
        for client in (pair.gemini, pair.vertex):
            if hasattr(client, "aclose"):
                await client.aclose()


def _play(pair: _Pair, record: Record, headers: dict[str, str]) -> Observed:
    client = pair.of(record)
    if not record.stream:
        raw = client._api_client.request(*_raw(record, headers))
        return Observed(_bytes([raw]), plain(_made(client, record, headers)))
    raws = list(client._api_client.request_streamed(*_raw(record, headers)))
    return Observed(_bytes(raws), [plain(item) for item in _made(client, record, headers)])


async def _aplay(pair: _Pair, record: Record, headers: dict[str, str]) -> Observed:
    client = pair.of(record)
    if not record.stream:
        raw = await client._api_client.async_request(*_raw(record, headers))
        return Observed(_bytes([raw]), plain(await _made(client, record, headers)))
    raws = [raw async for raw in await client._api_client.async_request_streamed(*_raw(record, headers))]
    return Observed(_bytes(raws), [plain(item) async for item in await _made(client, record, headers)])


def plain(value: Any) -> Any:
    """A parsed object as plain data; of its reply's headers, all but when it was sent."""
    data = dumped(value)
    http = data.get("sdk_http_response") if isinstance(data, dict) else None
    if http and http.get("headers"):
        http["headers"] = {name: sent for name, sent in http["headers"].items() if name.lower() != "date"}
    return data


def _raw(record: Record, headers: dict[str, str]) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """What the client below the SDK's methods is given: its replies are not parsed."""
    parts = urlsplit(record.url)
    path = parts.path.split("/", 2)[2] + (f"?{parts.query}" if parts.query else "")
    return "post", path, dict(record.body), {"headers": headers}


def _made(client: Any, record: Record, headers: dict[str, str]) -> Any:
    """The call as a user makes it."""
    model = ""
    with suppress(IndexError):
        model = urlsplit(record.url).path.rpartition("/models/")[2].rpartition(":")[0]
    options = {"headers": headers, "extra_body": dict(record.body)}
    return _CALLS[record.operation](client, model or "m", {"http_options": options})


def _bytes(replies: list[Any]) -> bytes:
    return b"\n".join(
        (reply.body or "").encode() if hasattr(reply, "body") else repr(reply).encode() for reply in replies
    )


PLAYER = Player(sdk="google-genai", takes=_takes, clients=_clients, aclients=_aclients, play=_play, aplay=_aplay)
