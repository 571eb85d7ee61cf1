"""Request bodies: read up to a bound, and given to the application as if nobody had read them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from highflame_middleware.asgi.body import Body, looks_like_json, read_body, replay


def request(body: bytes | None, more: bool = False) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "http.request", "more_body": more}
    return message if body is None else {**message, "body": body}


LEFT = {"type": "http.disconnect"}


class Receiver:
    """A server's ``receive``; counts what was taken."""

    def __init__(self, messages: Iterable[Any]) -> None:
        self._messages = iter(messages)
        self.taken = 0

    async def __call__(self) -> Any:
        self.taken += 1
        return next(self._messages)


def read(messages: Iterable[Any], limit: int = 100, **options: Any) -> tuple[Body, Receiver]:
    receiver = Receiver(messages)

    async def run() -> Body:
        return await read_body(receiver, limit, **options)

    return anyio.run(run), receiver


def whole(messages: Iterable[Any]) -> tuple[bytes, list[Any]]:
    """The body that an application would make of messages, and what it hears after it."""
    body, rest, ended = b"", [], False
    for message in messages:
        if message["type"] == "http.request" and not ended:
            body += message.get("body", b"")
            ended = not message.get("more_body", False)
        else:
            rest.append(message)
    return body, rest


@pytest.mark.parametrize(
    ("messages", "content", "too_large", "taken"),
    [
        ([request(b"abc")], b"abc", False, 1),
        ([request(b"")], b"", False, 1),
        ([request(None)], b"", False, 1),
        ([request(b"a", True), request(None, True), request(b"b")], b"ab", False, 3),
        ([request(b"x" * 100)], b"x" * 100, False, 1),
        ([request(b"x" * 101)], None, True, 1),
        ([request(b"x" * 60, True), request(b"x" * 60, True), request(b"x")], None, True, 2),
        ([LEFT], None, False, 1),
        ([request(b"a", True), LEFT], None, False, 2),
    ],
)
def test_how_far_a_body_is_read(messages: list[Any], content: bytes | None, too_large: bool, taken: int) -> None:
    body, receiver = read(messages)
    assert (body.content, body.too_large, receiver.taken) == (content, too_large, taken)


@pytest.mark.parametrize(
    "messages",
    [
        [request(b"abc"), LEFT],
        [request(b"a", True), request(b"b", True), request(b""), LEFT],
        [request(b"x" * 60, True), request(b"y" * 60, True), request(b"z"), LEFT],
        [request(b"a", True), LEFT],
        [LEFT],
    ],
)
def test_the_application_gets_all_of_it(messages: list[Any]) -> None:
    """Read by us or not, and the disconnect too."""

    async def run() -> list[Any]:
        receiver = Receiver([*messages, None])
        body = await read_body(receiver, 100)
        receive = replay(body.messages, receiver)
        return [message async for message in _until_none(receive)]

    assert whole(anyio.run(run)) == whole(messages)


async def _until_none(receive: Any) -> Any:
    while (message := await receive()) is not None:
        yield message


def test_pieces_of_one_byte_cost_no_more_than_the_body() -> None:
    """What came in a million messages is kept as one."""
    count = 200_000
    messages = ({"type": "http.request", "body": b"x", "more_body": True} for _ in range(count))
    tracemalloc.start()
    try:
        body, _ = read(messages, count - 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body.too_large
    assert len(body.messages) == 1
    assert peak < 10 * count


def test_a_hundred_megabytes_are_not_kept() -> None:
    piece = b"x" * 1_000_000
    body, receiver = read((request(piece, True) for _ in range(100)), 5_000_000)
    assert (body.too_large, receiver.taken) == (True, 6)
    assert sum(len(message["body"]) for message in body.messages) == 6_000_000


@pytest.mark.parametrize(
    ("content", "may_be"),
    [
        (b'{"a": 1}', True),
        (b" \r\n\t{", True),
        (b"", True),
        (b" " * 100, True),
        (b"\xef\xbb\xbf{", True),
        ("{}".encode("utf-16"), True),
        ("{}".encode("utf-16-be"), True),
        ("{}".encode("utf-32"), True),
        (b"a=b", False),
        (b"[1]", True),
        (b"'[1]'", False),
        (b"--boundary", False),
        (b"\x89PNG", False),
        (b" " * 60 + b"x", False),
    ],
)
def test_what_may_be_json(content: bytes, may_be: bool) -> None:
    assert looks_like_json(content) is may_be


@pytest.mark.parametrize(
    ("messages", "content", "taken"),
    [
        ([request(b"a=b", True), request(b"c")], None, 1),
        ([request(b" ", True), request(b"x", True), request(b"")], None, 2),
        ([request(b" ", True), request(b"{}")], b" {}", 2),
    ],
)
def test_what_is_no_json_is_read_no_further(messages: list[Any], content: Any, taken: int) -> None:
    body, receiver = read(messages, only_json=True)
    assert (body.content, body.too_large, receiver.taken) == (content, False, taken)
