"""Shield and a gateway behind one port."""

from __future__ import annotations

from ..asgi_types import App, Receive, Scope, Send
from .app import ShieldApp

__all__ = ["Front"]


class Front:
    """An ASGI app that gives Shield's paths to Shield and all others to a gateway."""

    def __init__(self, shield: ShieldApp, gateway: App) -> None:
        self._shield, self._gateway = shield, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; Shield has nothing to start or end."""
        ours = scope["type"] == "http" and self._shield.serves(scope)
        await (self._shield if ours else self._gateway)(scope, receive, send)  # type: ignore[arg-type] # ASGI either way
