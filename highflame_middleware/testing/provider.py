"""A provider that answers from scripts, in-process or on a port of its own, and remembers what it was asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..asgi_types import Receive, Scope, Send
from ..config import Settings
from ..extras import require
from ..gateway import Gateway
from ..gateway.messages import AsyncReply, Reply, Request
from .server import serve_on_thread

__all__ = ["ScriptedProvider"]


class ScriptedProvider:
    """An OpenAI-compatible API that answers from scripts (see docs/gateway.md for what one may say).

    ``requests`` holds, in order, the decoded JSON body of each request it got. No settings file or environment has
    a say in what it does.
    """

    def __init__(self, scripts: Sequence[Mapping[str, Any]]) -> None:
        self._gateway = _Recording(scripts)

    @property
    def requests(self) -> list[Any]:
        """The decoded JSON bodies of the requests so far; the bytes of a body that is no JSON, None for none."""
        return [_decoded(request.body) for request in self._gateway.seen]

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers of the requests so far, names in lower case."""
        return [dict(request.headers) for request in self._gateway.seen]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI app."""
        await self._gateway(scope, receive, send)

    def transport(self, module: ModuleType) -> Any:
        """A transport to it for ``httpx`` or ``httpx2``."""
        return self._gateway.transport(module)

    def openai(self, **options: Any) -> Any:
        """A blocking ``openai.OpenAI`` client of it, with no socket."""
        openai = require("openai", extra="openai", needed="openai>=1.40")
        client = _http_module(openai.DefaultHttpxClient)
        http = client.Client(transport=self.transport(client), trust_env=False)
        return openai.OpenAI(
            **{"api_key": "test", "base_url": _URL, "http_client": http, "max_retries": 0, **options}
        )

    def async_openai(self, **options: Any) -> Any:
        """An asynchronous ``openai.AsyncOpenAI`` client of it, with no socket."""
        openai = require("openai", extra="openai", needed="openai>=1.40")
        client = _http_module(openai.DefaultAsyncHttpxClient)
        http = client.AsyncClient(transport=self.transport(client), trust_env=False)
        return openai.AsyncOpenAI(
            **{"api_key": "test", "base_url": _URL, "http_client": http, "max_retries": 0, **options}
        )

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve it on a free port of 127.0.0.1 for a ``with`` block; gives its base URL, ``/v1`` included."""
        with serve_on_thread(self) as url:
            yield f"{url}/v1"


_URL = "http://scripted.invalid/v1"


class _Recording(Gateway):
    """A gateway with one scripted provider, which notes every request."""

    def __init__(self, scripts: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(settings=Settings(providers={"scripted": {"scripts": list(scripts)}}, guard=None))
        self.seen: list[Request] = []

    def handle(self, request: Request) -> Reply:
        self.seen.append(request)
        return super().handle(request)

    async def ahandle(self, request: Request) -> AsyncReply:
        self.seen.append(request)
        return await super().ahandle(request)

    def forward(self, request: Request) -> Reply:
        self.seen.append(request)
        return super().forward(request)

    async def aforward(self, request: Request) -> AsyncReply:
        self.seen.append(request)
        return await super().aforward(request)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body


def _http_module(client: type) -> ModuleType:
    """Whichever of httpx and httpx2 an SDK builds its clients on."""
    names = (base.__module__.partition(".")[0] for base in client.__mro__)
    return sys.modules[next(name for name in names if name in ("httpx", "httpx2"))]
