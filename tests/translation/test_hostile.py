"""JSON of every wrong shape: whoever reads it raises nothing but `UntranslatableError`, and no one's text in it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import framing_for
from highflame_middleware.translation import (
    TRANSLATORS,
    StreamTranslation,
    UntranslatableError,
    load_translator,
    translate_call,
    translate_reply,
)
from tests.codecs.shapes import nested, random_json, spoilt
from tests.translation.conversations import CONVERSATIONS, REPLIES
from tests.translation.formats import FORMATS
from tests.translation.hearing import deltas_of
from tests.translation.test_every_pair import written

# Deeper than Python's stack.
DEEP = nested(3000, "text")
CALLS = ("a tool called", "tools called at once", "a picture", "a document", "an answer to a schema", "sampled")
by_name = pytest.mark.parametrize("name", TRANSLATORS)


def others(name: str) -> list[str]:
    return [other for other in TRANSLATORS if other != name]


def some(rolled: random.Random, body: Any, count: int) -> list[Any]:
    """Some of a body's spoilt ones."""
    bodies = list(spoilt(body))
    return rolled.sample(bodies, min(len(bodies), count))


def attempt_call(body: Any, name: str, path: str) -> None:
    """Read a call and write it in its own format and in one other."""
    for target in (name, others(name)[0]):
        try:
            translate_call(body, path, name, target)
        except UntranslatableError as error:
            check_message(error)


def attempt_reply(body: Any, name: str) -> None:
    for target in (name, others(name)[0]):
        try:
            translate_reply(body, name, target)
        except UntranslatableError as error:
            check_message(error)


def check_message(error: UntranslatableError) -> None:
    assert len(str(error)) < 200
    assert "Bern" not in str(error)


@by_name
def test_calls(name: str) -> None:
    rolled = random.Random(7)
    translator = load_translator(name)
    row = next(row for row in FORMATS if row.name == name)
    for case in CALLS:
        if case in row.refuses:
            continue
        spoken = translator.write_call(CONVERSATIONS[case])
        for body in some(rolled, spoken.body, 700):
            attempt_call(body, name, spoken.path)
    for _ in range(500):
        attempt_call(random_json(rolled), name, row.path)
    for key in ("messages", "contents", "input", "system", "tools", "response_format", "toolConfig"):
        attempt_call({**spoken.body, key: DEEP}, name, spoken.path)
        attempt_call({**spoken.body, key: [DEEP]}, name, spoken.path)


@by_name
def test_replies(name: str) -> None:
    rolled = random.Random(7)
    translator = load_translator(name)
    for case in ("a tool called", "thought", "into the cache"):
        body = translator.write_reply(REPLIES[case])
        for wrong in some(rolled, body, 700):
            attempt_reply(wrong, name)
        for key in body:
            attempt_reply({**body, key: DEEP}, name)
            attempt_reply({**body, key: [DEEP]}, name)
    for _ in range(500):
        attempt_reply(random_json(rolled), name)


@by_name
def test_events(name: str) -> None:
    rolled = random.Random(7)
    translator = load_translator(name)
    writer = translator.write_stream("m")
    events = [event for delta in deltas_of(REPLIES["a tool called"]) for event in writer.write(delta)]
    for kind, data in events:
        for wrong in [*some(rolled, data, 60), DEEP, {**data, "choices": [DEEP]}]:
            reader = translator.read_stream()
            try:
                for before, good in events[:2]:
                    reader.read(good, before)
                deltas = [*reader.read(wrong, kind), *reader.finish()]
                for target in (name, others(name)[0]):
                    again = load_translator(target).write_stream("m")
                    for delta in deltas:
                        again.write(delta)
            except UntranslatableError as error:
                check_message(error)


@by_name
def test_bytes(name: str) -> None:
    """Spoilt bytes end the stream with an error or say less; nothing comes after the end."""
    rolled = random.Random(7)
    translator = load_translator(name)
    framing = framing_for(translator.content_type)
    assert framing is not None
    content = written(translator, deltas_of(REPLIES["a tool called"]))
    for _ in range(200):
        spoiled = bytearray(content)
        for _ in range(rolled.randrange(1, 6)):
            spoiled[rolled.randrange(len(spoiled))] = rolled.randrange(256)
        translation = StreamTranslation(name, others(name)[0], framing=framing)
        out = translation.feed(bytes(spoiled[: len(spoiled) // 2]))
        out += translation.feed(bytes(spoiled[len(spoiled) // 2 :]))
        out += translation.finish()
        assert out
        assert translation.feed(content) == translation.finish() == b""
