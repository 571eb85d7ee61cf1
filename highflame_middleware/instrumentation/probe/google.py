"""Proving google-genai's seam: real clients on a transport that answers without sending."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from .library import library_of, silent_client
from .witness import Cases, UntriedError, Witness

__all__ = ["CASES"]

_REPLY = (
    b'{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"unguarded"}]},"finishReason":"STOP"}],'
    b'"modelVersion":"probe"}'
)
_ASKED: Mapping[str, Any] = MappingProxyType({"model": "probe", "contents": "a prompt"})


def _answer(body: bytes, path: str) -> tuple[str, bytes]:  # noqa: ARG001
    if path.endswith(":streamGenerateContent"):
        return "text/event-stream", b"data: " + _REPLY + b"\n\n"
    return "application/json", _REPLY


def _client(witness: Witness, *, asynchronous: bool) -> Any:
    genai = import_module("google.genai")
    if "client_args" not in import_module("google.genai.types").HttpOptions.model_fields:
        raise UntriedError
    # A client reads the system's certificates for each library that it might use, unless it is given a context;
    # this one trusts nobody, and nothing is sent.
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    arguments: dict[str, dict[str, Any]] = {
        "client_args": {"verify": trust, "trust_env": False},
        "async_client_args": {"verify": trust, "ssl": trust, "trust_env": False},
    }
    # The library that this version builds its own clients on; aiohttp is left out where a transport is given.
    bare = genai.Client(api_key="probe", http_options=arguments)
    own = getattr(bare._api_client, "_httpx_client", None)  # noqa: SLF001
    library = library_of(type(own)) if own is not None else import_module("httpx")
    made = silent_client(library, witness, _answer, asynchronous=asynchronous)
    arguments["async_client_args" if asynchronous else "client_args"]["transport"] = made._transport  # noqa: SLF001 - no other way in
    return genai.Client(api_key="probe", http_options=arguments)


def _blocking(witness: Witness) -> str:
    client = _client(witness, asynchronous=False)
    return str(client.models.generate_content(**_ASKED).text)


def _streamed(witness: Witness) -> str:
    client = _client(witness, asynchronous=False)
    return "".join(piece.text or "" for piece in client.models.generate_content_stream(**_ASKED))


async def _awaited(witness: Witness) -> str:
    client = _client(witness, asynchronous=True)
    return str((await client.aio.models.generate_content(**_ASKED)).text)


async def _streamed_awaited(witness: Witness) -> str:
    client = _client(witness, asynchronous=True)
    pieces = await client.aio.models.generate_content_stream(**_ASKED)
    return "".join([piece.text or "" async for piece in pieces])


CASES: Mapping[str, Cases] = MappingProxyType(
    {
        "google-genai": {
            "blocking": _blocking,
            "blocking stream": _streamed,
            "async": lambda witness: asyncio.run(_awaited(witness)),
            "async stream": lambda witness: asyncio.run(_streamed_awaited(witness)),
        }
    }
)
