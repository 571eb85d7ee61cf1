"""any-json: replies in a shape of an application's own, where a text may stand under any key."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Path, Summary
from tests.codecs.shapes import check_events, check_reads, random_json

ANY = load_codec("any-json")

BODIES: dict[str, tuple[Any, dict[Path, str]]] = {
    "an answer": ({"answer": "x"}, {("answer",): "x"}),
    "under keys that mean something to openai": (
        {"data": {"detail": "a", "name": "b"}, "status": "c", "filename": "d", "format": ["e"], "image_url": "f"},
        {
            ("data", "detail"): "a",
            ("data", "name"): "b",
            ("status",): "c",
            ("filename",): "d",
            ("format", 0): "e",
            ("image_url",): "f",
        },
    ),
    "an error of FastAPI": (
        {"detail": [{"loc": ["body"], "msg": "x"}]},
        {("detail", 0, "loc", 0): "body", ("detail", 0, "msg"): "x"},
    ),
    "what only names things": (
        {"id": "1", "type": "t", "object": "o", "role": "r", "model": "m", "text": "x"},
        {("text",): "x"},
    ),
    "a string": ("x", {(): "x"}),
    "a list": (["x", "", {"y": "z"}], {(0,): "x", (2, "y"): "z"}),
    "nothing": ({"n": 1, "ok": True, "none": None}, {}),
}


@pytest.mark.parametrize("name", BODIES)
def test_every_text(name: str) -> None:
    body, expected = BODIES[name]
    reply, call = ANY.read_reply(body), ANY.read_call(body)
    assert {text.path: text.value for text in reply.texts} == expected
    assert {text.path: text.value for text in call.texts} == expected
    assert {(text.stage.value, text.role) for text in reply.texts} <= {("response", "assistant")}
    assert {(text.stage.value, text.role) for text in call.texts} <= {("prompt", "user")}
    assert (reply.summary, call.model, call.stream) == (Summary(), None, False)


def test_what_stands_in_one_place_is_one_text() -> None:
    reader = ANY.open_stream()
    events = [
        ("token", {"t": "Hel", "n": 1}),
        ("token", {"t": "lo", "n": 2}),
        ("end", {"t": "!"}),
        (None, "bare"),
        (None, "text"),
    ]
    said: dict[Any, str] = {}
    for name, data in events:
        for text in reader.read(data, name).texts:
            said[text.channel] = said.get(text.channel, "") + text.value
    assert said == {("token", "t"): "Hello", ("end", "t"): "!", ("",): "baretext"}


def test_a_refusal_says_no() -> None:
    assert ANY.refuse("Blocked: x")["error"]["message"] == "Blocked: x"


def test_no_shape_makes_it_raise() -> None:
    rolled = random.Random(31)
    for _ in range(500):
        check_reads(ANY, random_json(rolled))
        check_events(ANY, [("a", random_json(rolled)), (None, random_json(rolled))])
