"""An application's life as its server tells it: what is ours to close is closed once the application has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..asgi_types import App, Message, Receive, Send

__all__ = ["outlived"]

_ENDED = frozenset({"lifespan.shutdown.complete", "lifespan.shutdown.failed"})


async def outlived(
    app: App, scope: Any, receive: Receive, send: Send, close: Callable[[], Awaitable[None]]
) -> None:
    """Run an application's lifespan, and ``close`` after its end; that may come twice, and never fails."""
    application: Any = app

    async def sending(message: Message) -> None:
        if message["type"] in _ENDED:
            # Not later: once it has been told, a server may stop its loop.
            await close()
        await send(message)

    try:
        await application(scope, receive, sending)
    finally:
        # An application that broke off has told nothing.
        await close()
