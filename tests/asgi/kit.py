"""What the tests of the middleware share: an application that keeps what it is given, and a way through to it."""

from __future__ import annotations

from typing import Any

from highflame_middleware import (
    CallContext,
    HighflameMiddleware,
    current_context,
)
from highflame_middleware.testing import FakeGuard
from tests.gateway_kit import (
    Sent,
    ask,
)


class Echo:
    """An application that keeps what it was given: scopes, bodies, the messages they came in."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.contexts: list[CallContext] = []
        self.after: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.contexts.append(current_context())
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.after.append(message)
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"ok"})
        self.after.append(await receive())

    @property
    def length(self) -> list[bytes]:
        """The last request's content lengths."""
        return [value for name, value in self.scopes[-1]["headers"] if name.lower() == b"content-length"]


def through(app: Any, body: Any = None, *, guard: Any = None, **options: Any) -> Sent:
    """What a caller gets of an app behind the middleware."""
    names = ("path", "method", "headers", "asgi", "pieces", "json_body", "backend", "scope_type")
    scope = {name: options.pop(name) for name in names if name in options}
    guard = FakeGuard(deny=["SECRET"], redact=["card"]) if guard is None else guard
    return ask(HighflameMiddleware(app, guard=guard, **options), body, **scope)
