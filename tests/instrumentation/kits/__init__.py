"""One kit for each SDK: how its clients are made, the ways of calling it, and a server that answers it.

A kit is a module of this package with a `Kit` named ``KIT``; the seam table
(`test_seam_table.py`) runs every case of every kit whose SDK is installed.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module, util
from typing import Any

from tests.servers import Respond, Server

__all__ = ["KITS", "PIECES", "PROMPT", "SPOKEN", "Case", "Kit", "held", "installed_kits"]

# By the kit's module: what must be importable for it.
KITS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "bedrock": "boto3",
    "google": "google.genai",
    "google_vertex": "google.genai",
    "openai": "openai",
    "together": "together",
    "plain_httpx2": "httpx2",
    "plain_httpx": "httpx",
    "mistralai": "mistralai",
    "groq": "groq",
    "cohere": "cohere",
}

PROMPT = "Tell me the SECRET."
SPOKEN = "The SECRET is out."
PIECES = ["The SEC", "RET is", " out."]


@dataclass(frozen=True)
class Case:
    """``call`` starts the call; ``text`` reads what the caller got, where the reply holds text to guard.

    ``needs`` is the attribute path of a client that must be there, ``prompted``
    whether the call has a text that the guard can deny, ``kinds`` which of
    "sync" and "async" have this way of calling.
    """

    call: Callable[[Any], Any]
    text: Callable[[Any], str] | None = None
    needs: str = ""
    prompted: bool = True
    kinds: tuple[str, ...] = ("sync", "async")


@dataclass(frozen=True)
class Kit:
    """``make(kind, url, **options)`` makes a "sync" or "async" client; ``speaking(pieces)`` a server to answer it.

    ``retrying`` are the options of a client that would try again.
    ``finish`` and ``afinish`` read what a call returned to its end, where the
    SDK's streams need more than being iterated over. ``closing`` says that
    the installed version closes what lies under a stream that is closed.
    """

    sdk: str
    make: Callable[..., Any]
    cases: Mapping[str, Case]
    speaking: Callable[[list[str] | None], Respond]
    retrying: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[Any], Any] = field(default=lambda value: finish(value))
    afinish: Callable[[Any], Any] = field(default=lambda value: afinish(value))
    closing: bool = True

    def possible(self, case: Case) -> bool:
        """Whether the installed version has this way of calling."""
        target: Any = self.make("sync", "http://127.0.0.1:9") if case.needs else None
        for name in filter(None, case.needs.split(".")):
            target = getattr(target, name, None)
            if target is None:
                return False
        return True

    def perform(self, kind: str, server: Server | Any, case: Case, **options: Any) -> Any:
        """Make a case's call with a client of its kind, new or given, read it to its end, and close the client."""
        made = isinstance(server, Server)
        if kind == "sync":
            client = self.make(kind, server.url, **options) if made else server
            with held(client) as entered:
                return self.finish(case.call(entered))

        async def call() -> Any:
            client = self.make(kind, server.url, **options) if made else server
            if not hasattr(client, "__aexit__"):
                return await self.afinish(case.call(client))
            async with client as entered:
                return await self.afinish(case.call(entered))

        return asyncio.run(call())


def held(client: Any) -> Any:
    """A client as a context manager, whether it need be closed or not."""
    return client if hasattr(client, "__exit__") else nullcontext(client)


def installed_kits() -> list[Kit]:
    """The kits whose SDK can be imported here."""
    return [import_module(f"{__name__}.{name}").KIT for name, module in KITS.items() if _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def finish(value: Any) -> Any:
    """Read a blocking call's result to its end."""
    if isinstance(value, AbstractContextManager) and not hasattr(value, "response"):
        with value as entered:
            return list(entered)
    return list(value) if type(value).__name__.endswith("Stream") or inspect.isgenerator(value) else value


async def afinish(value: Any) -> Any:
    """Read an asynchronous call's result to its end."""
    if inspect.isawaitable(value):
        value = await value
    if isinstance(value, AbstractAsyncContextManager) and not hasattr(value, "response"):
        async with value as entered:
            return [item async for item in entered]
    if type(value).__name__.endswith("Stream") or inspect.isasyncgen(value):
        return [item async for item in value]
    return value
