"""Proving the seams of botocore and aiobotocore: real clients, whose sessions answer without sending."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ...codecs.aws_events import FRAMING
from .witness import Cases, Witness

__all__ = ["CASES"]

_ASKED: Mapping[str, Any] = MappingProxyType({"modelId": "probe", "body": b'{"inputText":"a prompt"}'})
_REPLY = b'{"outputText":"unguarded"}'
_EVENT = FRAMING.write("chunk", {"outputText": "unguarded"})
_MADE_WITH: Mapping[str, str] = MappingProxyType(
    {
        "region_name": "us-east-1",
        "endpoint_url": "https://bedrock-runtime.us-east-1.amazonaws.com",
        "aws_access_key_id": "probe",
        "aws_secret_access_key": "probe",
    }
)


def _content(request: Any, witness: Witness) -> bytes:
    parts = urlsplit(request.url)
    witness.hosts.append(parts.hostname or "")
    return _EVENT if parts.path.endswith("-stream") else _REPLY


class _Raw(io.BytesIO):
    """As much of urllib3's response as is read."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


class _Session:
    """In place of a blocking client's own."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def send(self, request: Any) -> Any:
        response = import_module("botocore.awsrequest").AWSResponse
        return response(request.url, 200, {}, _Raw(_content(request, self._witness)))

    def close(self) -> None:
        pass


class _AsyncRaw:
    """As much of aiohttp's response and its reader as is read."""

    closed = True
    raw_headers = ()

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.content: Any = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._content

    def close(self) -> None:
        pass


class _AsyncSession:
    """In place of an asynchronous client's own."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    async def send(self, request: Any) -> Any:
        response = import_module("aiobotocore.awsrequest").AioAWSResponse
        return response(request.url, 200, {}, _AsyncRaw(_content(request, self._witness)))


def _client(witness: Witness) -> Any:
    client = import_module("botocore.session").Session().create_client("bedrock-runtime", **_MADE_WITH)
    client._endpoint.http_session = _Session(witness)  # noqa: SLF001 - there is no other way in
    return client


def _text(content: bytes) -> str:
    return str(json.loads(content)["outputText"])


def _blocking(witness: Witness) -> str:
    return _text(_client(witness).invoke_model(**_ASKED)["body"].read())


def _streamed(witness: Witness) -> str:
    events = _client(witness).invoke_model_with_response_stream(**_ASKED)["body"]
    return "".join(_text(event["chunk"]["bytes"]) for event in events)


async def _awaited(witness: Witness, *, streamed: bool) -> str:
    session = import_module("aiobotocore.session").get_session()
    async with session.create_client("bedrock-runtime", **_MADE_WITH) as client:
        endpoint = client._endpoint  # noqa: SLF001
        own, endpoint.http_session = endpoint.http_session, _AsyncSession(witness)
        try:
            if not streamed:
                reply = await client.invoke_model(**_ASKED)
                return _text(await reply["body"].read())
            reply = await client.invoke_model_with_response_stream(**_ASKED)
            return "".join([_text(event["chunk"]["bytes"]) async for event in reply["body"]])
        finally:
            endpoint.http_session = own


CASES: Mapping[str, Cases] = MappingProxyType(
    {
        "botocore": {"blocking": _blocking, "blocking stream": _streamed},
        "aiobotocore": {
            "async": lambda witness: asyncio.run(_awaited(witness, streamed=False)),
            "async stream": lambda witness: asyncio.run(_awaited(witness, streamed=True)),
        },
    }
)
