"""Streams made at random: the engine's word on them, and bytes that must make no screen raise."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from highflame_middleware import EmbeddedGuard, GuardRequest, screens
from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.sse import FRAMING
from highflame_middleware.drivers import perform
from highflame_middleware.errors import BlockedError, UnreadableError
from highflame_middleware.flow import run
from highflame_middleware.screens import EventScreen
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Mode
from tests.chats import (
    EVENTS,
    JSON,
    called,
    chunk,
    message,
    reply,
    spoken,
    stream,
    tool_call,
    whole,
    without_text,
)
from tests.exchanges import (
    chat_texts,
    cuts,
    decisions,
    exchange,
    screened,
    sse,
)
from tests.windows import WindowedGuard

# ------------------------------------------------------------------------------------------ the embedded engine

CARD = "4111 1111 1111 1111"
TOKEN = "ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2z4A"
SAYINGS: list[str] = [
    "Nothing to see here, move along please.",
    f"My card is {CARD}, thanks!",
    f"Use {TOKEN} and then {CARD}.",
    f"{CARD}",
    f"password: hunter2-and-more\nand {TOKEN}",
    "zero\u200b\u200bwidth and 4111 1111 is no card",
    "äöü " * 40 + CARD + " 😀" * 20,
    "AAAA" * 600 + f" {TOKEN}",
]


def pieces_of(text: str, rolled: random.Random) -> list[str]:
    places = sorted(rolled.choices(range(len(text) + 1), k=rolled.randrange(1, 12)))
    return [text[a:b] for a, b in itertools.pairwise((0, *places, len(text))) if a < b]


@pytest.mark.parametrize("number", range(len(SAYINGS)))
def test_a_stream_says_what_the_engine_makes_of_its_text(number: int) -> None:
    """However the model cuts its text into deltas, and the network the deltas into chunks."""
    text = SAYINGS[number]
    verdict = EmbeddedGuard().evaluate(GuardRequest.at(screens.Stage.RESPONSE, text, role="assistant"))
    expected = text if verdict.redacted_content is None else verdict.redacted_content
    rolled = random.Random(number)
    for _ in range(15):
        content = b"".join(stream(*spoken(*pieces_of(text, rolled)), chunk(finish="stop")))
        sizes: Sequence[int] = [rolled.choice((1, 3, 17, 90, 500)) for _ in range(30)]
        owner = exchange(EmbeddedGuard())
        out = screened(owner, cuts(content, sizes))
        assert out.error is None
        assert chat_texts(out.content) == {0: expected}
        assert without_text(out.content) == without_text(content)
        if expected == text:
            assert out.content == content
        (found,) = decisions(owner)
        assert found == ("response", verdict.decision.value, expected != text)


def test_the_engine_lets_a_stream_flow() -> None:
    """Each word leaves as soon as it is whole: with the blank behind it."""
    screen = EventScreen(exchange(EmbeddedGuard()), load_codec("openai-chat"), FRAMING)
    words = sse(*spoken(*("alpha ", "beta ", "gamma ") * 20))
    assert [run(screen.feed(word), perform) for word in words] == words


def test_the_engine_stops_a_destructive_command() -> None:
    content = stream(
        *called('{"cmd": "rm ', '-rf / --no-preserve-root"}', name="shell"), chunk(finish="tool_calls")
    )
    out = screened(exchange(EmbeddedGuard()), content)
    assert isinstance(out.stopped, BlockedError)
    assert b"rm " not in out.content


@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
def test_any_chunking_of_any_stream_says_the_same(guard: Any) -> None:
    """Random texts over a small alphabet, so that words begin, break off and overlap in every way."""
    rolled = random.Random(41)
    for _ in range(120):
        texts = [
            "".join(rolled.choices("SECRT .", weights=(4, 6, 4, 4, 4, 1, 1), k=rolled.randrange(60)))
            for _ in range(2)
        ]
        texts[0] += "SECRET" * rolled.randrange(2)
        data = [chunk(piece, index=index) for index, text in enumerate(texts) for piece in pieces_of(text, rolled)]
        if rolled.random() < 0.5:
            # In turn, but each choice's own in order.
            firsts = [item for item in data if item["choices"][0]["index"] == 0]
            seconds = [item for item in data if item["choices"][0]["index"] == 1]
            data = [item for pair in itertools.zip_longest(firsts, seconds) for item in pair if item is not None]
        content = b"".join(stream(*data))
        out = screened(
            exchange(guard(redact=["SECRET"])), cuts(content, [rolled.choice((1, 9, 60, 999)) for _ in range(9)])
        )
        expected = {index: text.replace("SECRET", "[redacted]") for index, text in enumerate(texts)}
        said = chat_texts(out.content)
        assert {index: said.get(index, "") for index in (0, 1)} == expected
        assert without_text(out.content) == without_text(content)


# ------------------------------------------------------------------------------------------------- never


def garbled(content: bytes, rolled: random.Random) -> bytes:
    """A body with some of its bytes changed, lost, doubled or put elsewhere."""
    out = bytearray(content)
    for _ in range(rolled.randrange(1, 6)):
        at, length = rolled.randrange(len(out) + 1), rolled.randrange(12)
        part = bytes(out[at : at + length])
        way = rolled.randrange(4)
        if way == 0:
            del out[at : at + length]
        elif way == 1:
            out[at:at] = bytes(rolled.choice(b'\r\n\n :{}[]",\xff\xf0\0a') for _ in range(length))
        elif way == 2:
            out[at:at] = part
        else:
            del out[at : at + length]
            place = rolled.randrange(len(out) + 1)
            out[place:place] = part
    return bytes(out)


def good_bodies(codec: str) -> list[tuple[str, bytes]]:
    if codec == "openai-responses":
        events, item = message("The SEC", "RET is")
        calls, call = tool_call("pay", '{"a": 1}', place=1)
        return [
            (EVENTS, b"".join([*events, *calls, whole(item, call)])),
            (JSON, json.dumps({"output": [item, call]}).encode()),
        ]
    chats = stream(*spoken("The SEC", "RET is"), *called('{"a": ', "1}"), chunk(finish="stop"))
    return [
        (EVENTS, b"".join(chats)),
        (JSON, reply("The SECRET", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])),
    ]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "codec", ["openai-chat", "openai-responses", "openai-completions", "openai-embeddings", "any-json"]
)
def test_no_bytes_make_a_screen_raise_or_lose_any(codec: str, mode: Mode) -> None:
    rolled = random.Random(f"{codec} {mode}")
    for kind, good in good_bodies(codec):
        for turn in range(60):
            content = garbled(good, rolled)
            chunks = cuts(content, [rolled.choice((1, 7, 60, 999)) for _ in range(9)])
            guard = (FakeGuard, WindowedGuard)[turn % 2](redact=["SECRET"])
            out = screened(exchange(guard, mode=mode, codec=codec), chunks, kind)
            if not mode.edits:
                assert out.pieces == [*chunks, b""]
            if out.stopped is None:
                if b"[redacted]" not in out.content:
                    assert out.content == content
            else:
                assert isinstance(out.stopped, UnreadableError)
                assert mode is Mode.ENFORCE
