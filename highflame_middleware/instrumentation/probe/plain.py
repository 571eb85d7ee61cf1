"""Proving the seams of mistralai and cohere, which take an HTTP client from their caller."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from .library import library_of, silent_client
from .witness import Cases, Witness

__all__ = ["CASES"]

_MESSAGES: Any = [{"role": "user", "content": "a prompt"}]
_CHAT = (
    b'{"id":"p","object":"chat.completion","created":1,"model":"probe","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"unguarded"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
_COHERE = b'{"text":"unguarded","generation_id":"p","finish_reason":"COMPLETE"}'


def _mistral(witness: Witness, *, asynchronous: bool) -> Any:
    made = import_module("mistralai.client") if _is_split() else import_module("mistralai")
    base = import_module("mistralai.client.sdk" if _is_split() else "mistralai.sdk")
    library = library_of(base.httpx.Client)
    client = silent_client(library, witness, lambda *_: ("application/json", _CHAT), asynchronous=asynchronous)
    return made.Mistral(api_key="probe", **{"async_client" if asynchronous else "client": client})


def _is_split() -> bool:
    """Whether this is the version whose client stands in a package of its own."""
    return not hasattr(import_module("mistralai"), "Mistral")


def _ask_mistral(witness: Witness) -> str:
    reply = _mistral(witness, asynchronous=False).chat.complete(model="probe", messages=_MESSAGES)
    return str(reply.choices[0].message.content)


async def _ask_mistral_later(witness: Witness) -> str:
    reply = await _mistral(witness, asynchronous=True).chat.complete_async(model="probe", messages=_MESSAGES)
    return str(reply.choices[0].message.content)


def _cohere(witness: Witness, *, asynchronous: bool) -> Any:
    cohere = import_module("cohere")
    library = library_of(import_module("cohere.core.http_client").httpx.Client)
    client = silent_client(library, witness, lambda *_: ("application/json", _COHERE), asynchronous=asynchronous)
    return (cohere.AsyncClient if asynchronous else cohere.Client)(api_key="probe", httpx_client=client)


def _ask_cohere(witness: Witness) -> str:
    return str(_cohere(witness, asynchronous=False).chat(message="a prompt").text)


async def _ask_cohere_later(witness: Witness) -> str:
    return str((await _cohere(witness, asynchronous=True).chat(message="a prompt")).text)


CASES: Mapping[str, Cases] = MappingProxyType(
    {
        "cohere": {
            "blocking": _ask_cohere,
            "async": lambda witness: asyncio.run(_ask_cohere_later(witness)),
        },
        "mistralai": {
            "blocking": _ask_mistral,
            "async": lambda witness: asyncio.run(_ask_mistral_later(witness)),
        },
    }
)
