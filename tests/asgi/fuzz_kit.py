"""What the fuzzed tests share: an application that keeps what it is given, a way through to it, and strategies.

HIGHFLAME_FUZZ=5000 runs so many examples of each, other ones each time; `make fuzz` looks for them by coverage
(benchmarks/fuzz_asgi.py).
"""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from highflame_middleware import HighflameMiddleware
from highflame_middleware.testing import FakeGuard
from tests.gateway_kit import scope_of

_EXAMPLES = os.environ.get("HIGHFLAME_FUZZ")
fuzzed = settings(
    max_examples=int(_EXAMPLES or 150),
    derandomize=_EXAMPLES is None,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# What the guards mark: a word that the fake one denies or redacts, and a key that the embedded one knows.
WORD = "SECRET"
KEY = "AKIAIOSFODNN7QXAMPLE"
GUARDS: dict[str, Any] = {
    "deny": (FakeGuard(deny=[WORD]), WORD),
    "redact": (FakeGuard(redact=[WORD], replacement="*"), WORD),
    "embedded": ("embedded", KEY),
}
QUIET = FakeGuard()
# Answers by us: what is stopped, what cannot be read, what is too large.
REFUSED = {400, 401, 403, 413, 425, 502, 503}


class App:
    """Keeps each body, answers with some messages."""

    def __init__(self, *reply: Any) -> None:
        self.bodies: list[bytes] = []
        self.lengths: list[list[bytes]] = []
        self.heard: list[Any] = []
        self.reply = reply or (start(b"text/plain"), body_of(b"ok"))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            for message in self.reply:
                await send(message)
            while (message := await receive())["type"] == "websocket.receive":
                self.heard.append(message)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        self.lengths.append([value for name, value in scope["headers"] if name.lower() == b"content-length"])
        for message in self.reply:
            await send(message)


def start(kind: bytes, *headers: tuple[bytes, bytes]) -> Any:
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *headers]}


def body_of(content: bytes, *, more: bool = False) -> Any:
    return {"type": "http.response.body", "body": content, "more_body": more}


class Exchange:
    """One request through the middleware, and everything that its caller got."""

    def __init__(self, app: Any, incoming: list[Any], *, guard: Any = QUIET, scope: Any, **options: Any) -> None:
        self.sent: list[Any] = []
        waiting = list(incoming)

        async def receive() -> Any:
            if not waiting:
                if scope["type"] == "websocket":
                    return {"type": "websocket.disconnect", "code": 1000}
                await asyncio.sleep(30)
            return waiting.pop(0)

        async def send(message: Any) -> None:
            self.sent.append(message)

        asyncio.run(HighflameMiddleware(app, guard=guard, **options)(scope, receive, send))

    @property
    def status(self) -> int | None:
        starts = [message["status"] for message in self.sent if message["type"] == "http.response.start"]
        assert len(starts) <= 1, "a reply begins once"
        return starts[0] if starts else None

    @property
    def body(self) -> bytes:
        found = (message for message in self.sent if message["type"] == "http.response.body")
        return b"".join(message.get("body", b"") for message in found)


@st.composite
def cut(draw: st.DrawFn, content: bytes) -> list[bytes]:
    """The content in pieces."""
    places = draw(st.lists(st.integers(0, len(content)), max_size=4))
    edges = [0, *sorted(places), len(content)]
    return [content[begin:end] for begin, end in pairwise(edges)]


@st.composite
def requests_of(draw: st.DrawFn, content: bytes) -> list[Any]:
    """The messages of a request's body: pieces, empty ones, fields left out."""
    pieces = draw(cut(content))
    messages = []
    for index, piece in enumerate(pieces):
        message: Any = {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        if not piece and draw(st.booleans()):
            del message["body"]
        if not message["more_body"] and draw(st.booleans()):
            del message["more_body"]
        messages.append(message)
    return messages


def http(path: str, kind: bytes | None, content: bytes, *more: tuple[bytes, bytes], method: str = "POST") -> Any:
    headers = [(b"content-type", kind)] if kind is not None else []
    headers += [(b"content-length", str(len(content)).encode()), *more]
    return {**scope_of(path=path, method=method, json_body=False), "headers": headers}


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)

# What JSON is made of, with the word where prompts are.
PIECES = st.sampled_from(
    [
        *(
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"prompt"',
            '"messages"',
            '"content"',
            '"role"',
            '"user"',
            '"SECRET"',
            '"x"',
        ),
        *(
            '"pro\\u006dpt"',
            '{"role":"user","content":"SECRET"}',
            '"prompt":"SECRET"',
            '"prompt":["SECRET"]',
            "null",
            "1",
        ),
        *(
            '"messages":[',
            '{"prompt":"a"',
            "]}",
            " ",
            "\n",
            '"input":"SECRET"',
            '"model":"m"',
            "\ufeff",
            "NaN",
            '"text"',
        ),
    ]
)


def chat(text: str) -> Any:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}
