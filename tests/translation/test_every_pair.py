"""From every format to every other: what is carried, what is dropped and said to be, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import product
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
from highflame_middleware.translation.conversation import Delta, Ended, TextDelta
from highflame_middleware.translation.translator import Translator
from tests.translation.conversations import CONVERSATIONS, REPLIES
from tests.translation.formats import FORMATS, Format
from tests.translation.hearing import Heard, collect, deltas_of, hear_call, hear_reply

PAIRS = [
    pytest.param(source, target, id=f"{source.name} to {target.name}")
    for source, target in product(FORMATS, FORMATS)
]
each_pair = pytest.mark.parametrize(("source", "target"), PAIRS)
each_format = pytest.mark.parametrize("source", [pytest.param(row, id=row.name) for row in FORMATS])


def through_wire(body: Any) -> Any:
    """A body as the other side reads it: it must be JSON."""
    return json.loads(json.dumps(body, allow_nan=False))


def call_through(row: Format, case: str, heard: Heard) -> Heard:
    kept = {key: value for key, value in heard.items() if key not in row.lacks}
    return row.hears_call(case, kept)


def test_every_translator_has_a_row() -> None:
    assert {row.name for row in FORMATS} == set(TRANSLATORS)


@each_pair
@pytest.mark.parametrize("case", CONVERSATIONS)
def test_a_call(source: Format, target: Format, case: str) -> None:
    first, second = load_translator(source.name), load_translator(target.name)
    conversation = CONVERSATIONS[case]
    if case in source.refuses:
        with pytest.raises(UntranslatableError):
            first.write_call(conversation)
        return
    spoken = first.write_call(conversation)
    assert set(spoken.dropped) >= _given(conversation, source)
    body = through_wire(spoken.body)
    if case in target.refuses:
        with pytest.raises(UntranslatableError):
            translate_call(body, spoken.path, source.name, target.name)
        return
    again = translate_call(body, spoken.path, source.name, target.name)
    assert set(again.dropped) >= _given(first.read_call(body, spoken.path), target)
    heard = hear_call(second.read_call(through_wire(again.body), again.path))
    assert heard == call_through(target, case, call_through(source, case, hear_call(conversation)))


def _given(conversation: Any, row: Format) -> set[str]:
    """The parameters of a call that a format must say it drops."""
    return {name for name in row.lacks if getattr(conversation, name) not in (None, (), False)}


@each_pair
def test_thoughts_go_to_none_but_who_thought_them(source: Format, target: Format) -> None:
    body = source.thinking
    written = translate_call(body, source.path, source.name, target.name)
    if source is target:
        assert written.body == body
        assert not written.dropped
        return
    read = load_translator(target.name).read_call(through_wire(written.body), written.path)
    assert hear_call(read)["turns"] == [
        ["user", "text", "Hi"],
        ["assistant", "text", "Hello."],
        ["user", "text", "Bye"],
    ]
    assert any("reasoning" in name for name in written.dropped)


@each_pair
@pytest.mark.parametrize("case", REPLIES)
def test_a_reply(source: Format, target: Format, case: str) -> None:
    first, second = load_translator(source.name), load_translator(target.name)
    if case in source.refuses_replies:
        with pytest.raises(UntranslatableError):
            first.write_reply(REPLIES[case])
        return
    body = through_wire(first.write_reply(REPLIES[case]))
    if case in target.refuses_replies:
        with pytest.raises(UntranslatableError):
            translate_reply(body, source.name, target.name, model="m-1")
        return
    translated = translate_reply(body, source.name, target.name, model="m-1")
    heard = hear_reply(second.read_reply(through_wire(translated)))
    assert heard == expected_reply(source, target, case)


def expected_reply(source: Format, target: Format, case: str) -> Heard:
    heard = source.hears_reply(case, hear_reply(REPLIES[case]))
    if heard["id"] is None:
        heard = {**heard, "id": target.unnamed, "model": "m-1"}
    return target.hears_reply(case, heard)


@each_pair
@pytest.mark.parametrize("case", REPLIES)
def test_a_stream(source: Format, target: Format, case: str) -> None:
    """A reply that comes in pieces says what it says when it comes whole."""
    if case in source.refuses_replies | target.refuses_replies:
        pytest.skip("refused, as the whole reply is")
    first, second = load_translator(source.name), load_translator(target.name)
    content = written(first, deltas_of(REPLIES[case]))
    for size in (len(content), 7):
        translation = open_translation(source, target)
        chunks = [content[start : start + size] for start in range(0, len(content), size)]
        translated = b"".join(map(translation.feed, chunks)) + translation.finish()
        assert hear_reply(collect(read(second, translated))) == expected_reply(source, target, case)


@each_pair
def test_a_stream_that_breaks_off(source: Format, target: Format) -> None:
    """What came is passed on, and then that it broke off."""
    first, second = load_translator(source.name), load_translator(target.name)
    content = written(first, [*deltas_of(REPLIES["a text"])[:2], Ended(error="overloaded")])
    translation = open_translation(source, target)
    deltas = read(second, translation.feed(content) + translation.finish())
    assert "Hel" in "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert isinstance(deltas[-1], Ended)
    assert deltas[-1].error
    assert not any(isinstance(delta, Ended) for delta in deltas[:-1])
    # The same where it ends in silence.
    cut = written(first, deltas_of(REPLIES["a text"])[:2])
    translation = open_translation(source, target)
    deltas = read(second, translation.feed(cut) + translation.finish())
    assert isinstance(deltas[-1], Ended)
    assert deltas[-1].error


@each_format
def test_read_write_read_is_a_fixed_point(source: Format) -> None:
    translator = load_translator(source.name)
    for case, conversation in CONVERSATIONS.items():
        if case not in source.refuses:
            spoken = translator.write_call(conversation)
            read = translator.read_call(through_wire(spoken.body), spoken.path)
            again = translator.write_call(read)
            assert (again.body, again.path, again.dropped) == (spoken.body, spoken.path, ()), case
            assert translator.read_call(through_wire(again.body), again.path) == read, case
    for case, reply in REPLIES.items():
        if case not in source.refuses_replies:
            body = translator.write_reply(reply)
            assert translator.write_reply(translator.read_reply(through_wire(body))) == body, case
            deltas = read_all(translator, deltas_of(reply))
            assert read_all(translator, deltas) == deltas, case


def open_translation(source: Format, target: Format) -> StreamTranslation:
    framing = framing_for(load_translator(source.name).content_type)
    assert framing is not None
    return StreamTranslation(source.name, target.name, framing=framing, model="m-1")


def written(translator: Translator, deltas: Iterable[Delta]) -> bytes:
    """A stream's bytes, as a provider sends them."""
    framing = framing_for(translator.content_type)
    assert framing is not None
    writer = translator.write_stream("m-1")
    out = b""
    broken = False
    for delta in deltas:
        *events, last = [*writer.write(delta), None]
        broken = isinstance(delta, Ended) and delta.error is not None
        if broken:
            *events, last = events
        out += b"".join(framing.write(*event) for event in events if event is not None)
        out += framing.write_error(*last) if last is not None else b""
        ended = isinstance(delta, Ended)
    if translator.done is not None and ended and not broken:
        out += f"data: {translator.done}\n\n".encode()
    return out


def read(translator: Translator, content: bytes) -> list[Delta]:
    framing = framing_for(translator.content_type)
    assert framing is not None
    splitter, reader = framing.splitter(), translator.read_stream()
    events = [framing.parse(raw) for raw in splitter.feed(content)]
    assert not splitter.finish()
    deltas = [delta for event in events if event.is_json for delta in reader.read(event.data, event.name)]
    return [*deltas, *reader.finish()]


def read_all(translator: Translator, deltas: Iterable[Delta]) -> list[Delta]:
    return read(translator, written(translator, deltas))


@each_pair
def test_bytes_that_are_no_event_end_a_stream(source: Format, target: Format) -> None:
    """What came before them in the same chunk is still said."""
    first, second = load_translator(source.name), load_translator(target.name)
    content = written(first, deltas_of(REPLIES["a text"])[:2])
    broken = b"\xff" * 400 if first.content_type != "text/event-stream" else b"data: \xff\n\n"
    translation = open_translation(source, target)
    deltas = read(second, translation.feed(content + broken) + translation.finish())
    assert "Hel" in "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert isinstance(deltas[-1], Ended)
    assert deltas[-1].error
