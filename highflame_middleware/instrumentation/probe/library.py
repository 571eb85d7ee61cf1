"""An HTTP library's clients that answer without sending, for SDKs that take their client from the caller."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .witness import Witness

__all__ = ["Answer", "library_of", "silent_client"]

# What is answered to a request's body and path: the content type, and the content.
Answer = Callable[[bytes, str], tuple[str, bytes]]


def library_of(client: type) -> ModuleType:
    """Whichever of the two HTTP libraries a client class comes from."""
    names = (cls.__module__.partition(".")[0] for cls in client.__mro__)
    return sys.modules[next(name for name in names if name in ("httpx", "httpx2"))]


def silent_client(library: ModuleType, witness: Witness, answer: Answer, *, asynchronous: bool) -> Any:
    """A client of the library whose every request is noted and answered here."""

    def reply(request: Any) -> Any:
        witness.hosts.append(request.url.host)
        kind, content = answer(request.content, request.url.path)
        return library.Response(200, headers={"content-type": kind}, content=content)

    async def reply_later(request: Any) -> Any:
        return reply(request)

    kind = library.AsyncClient if asynchronous else library.Client
    return kind(transport=library.MockTransport(reply_later if asynchronous else reply), trust_env=False)
