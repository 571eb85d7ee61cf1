"""Server-sent events: cut without loss wherever the chunks were cut, read by the rules, written back untouched."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from highflame_middleware.codecs.sse import Splitter, parse_event, render_event

# Streams in every way of ending a line, and how many events with data they hold.
STREAMS: dict[str, tuple[bytes, int]] = {
    "LF": (b'data: {"a":1}\n\ndata: {"a":2}\n\ndata: [DONE]\n\n', 3),
    "CRLF": (b'data: {"a":1}\r\n\r\ndata: {"a":2}\r\n\r\n', 2),
    "CR": (b'data: {"a":1}\r\rdata: {"a":2}\r\r', 2),
    "mixed": (b"data: 1\r\n\ndata: 2\n\rdata: 3\r\r\ndata: 4\n\r\n", 4),
    "mixed lines": (b"event: x\r\ndata: 1\n\nevent: y\ndata: 2\r\r\n", 2),
    "comments": (b": hello\n\ndata: 1\n: between\ndata: 2\n\n: ping\n\n", 1),
    "many empty lines": (b"\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n", 2),
    "empty lines of every kind": (b"\r\n\r\r\n\ndata: 1\r\n\r\n\r\n\rdata: 2\n\n\r\n", 2),
    "BOM": (b'\xef\xbb\xbfdata: {"a":1}\n\ndata: 2\n\n', 2),
    "several lines of data": (b'data: {\ndata:  "a": 1\ndata: }\n\ndata: 2\n\n', 2),
    "fields of every kind": (b"id: 7\nevent: delta\nretry: 100\ndata: 1\n\ndata: 2\n\n", 2),
    "no last empty line": (b"data: 1\n\ndata: 2", 2),
    "no last line end": (b"data: 1\n\ndata: 2\n", 2),
    "nothing at the end but CR": (b"data: 1\r\n\r\ndata: 2\r\n\r", 2),
    "UTF-8": ('data: "äöü😀"\n\ndata: "\u2028\u0085"\n\n'.encode(), 2),
    "line ends of other worlds": ("data: a\u0085b\x0bc\x0cd\u2028e\x1cf\n\ndata: 2\n\n".encode(), 2),
    "not UTF-8": (b"data: \xff\xfe\n\ndata: 2\n\n", 2),
    "empty": (b"", 0),
    "only line ends": (b"\n\r\n\r", 0),
}


def split(chunks: list[bytes]) -> list[bytes]:
    splitter = Splitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    rest = splitter.finish()
    assert splitter.pending == 0
    return [*events, rest] if rest else events


def data_of(events: list[bytes]) -> list[bytes]:
    """The data of each event, whatever stray line ends stand around it."""
    out = []
    for event in events:
        lines = re.split(rb"\r\n|\n|\r", event.removeprefix(b"\xef\xbb\xbf"))
        if found := [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]:
            out.append(b"\n".join(found))
    return out


@pytest.mark.parametrize("name", STREAMS)
def test_splitting_loses_nothing_wherever_it_is_cut(name: str) -> None:
    content, count = STREAMS[name]
    whole = split([content])
    assert b"".join(whole) == content
    expected = data_of(whole)
    assert len(expected) == count
    ways = [[content[at : at + 1] for at in range(len(content))]]
    ways += [[content[:at], content[at:]] for at in range(len(content) + 1)]
    rolled = random.Random(3)
    for _ in range(50):
        places = sorted(rolled.choices(range(len(content) + 1), k=5))
        ways.append([content[a:b] for a, b in zip([0, *places], [*places, len(content)], strict=True)])
    for chunks in ways:
        events = split(chunks)
        assert b"".join(events) == content
        assert data_of(events) == expected


def test_events_come_as_soon_as_they_are_whole() -> None:
    splitter = Splitter()
    fed = [splitter.feed(chunk) for chunk in (b"data: 1", b"\n", b"\ndata", b": 2\n\ndata: 3\n\n", b"data: 4")]
    assert fed == [[], [], [b"data: 1\n\n"], [b"data: 2\n\n", b"data: 3\n\n"], []]
    assert splitter.pending == 7
    assert splitter.finish() == b"data: 4"


def test_a_long_event_fed_byte_by_byte_costs_no_more_than_its_length() -> None:
    """Quadratic work would take minutes here."""
    splitter = Splitter()
    content = b"data: " + b"x" * 100_000
    for at in range(len(content)):
        assert splitter.feed(content[at : at + 1]) == []
    assert splitter.feed(b"\n\n") == [content + b"\n\n"]


READ: dict[str, tuple[bytes, dict[str, Any]]] = {
    "an object": (b'data: {"a": 1}\n\n', {"data": {"a": 1}, "is_json": True, "text": '{"a": 1}'}),
    "an array": (b"data: [1, 2]\n\n", {"data": [1, 2], "is_json": True}),
    "without a space": (b'data:{"a": 1}\n\n', {"data": {"a": 1}}),
    "one space only is the field's": (b"data:  x\n\n", {"text": " x", "is_json": False}),
    "a name": (b"event: delta\ndata: {}\n\n", {"name": "delta", "data": {}}),
    "a name without a space": (b"event:delta\ndata: x\n\n", {"name": "delta"}),
    "the last name counts": (b"event: a\nevent: b\ndata: x\n\n", {"name": "b"}),
    "lines of data": (b'data: {\ndata: "a": 1}\n\n', {"data": {"a": 1}, "text": '{\n"a": 1}'}),
    "an empty line of data": (b"data: a\ndata:\ndata\ndata: b\n\n", {"text": "a\n\n\nb"}),
    "a string is bare text": (b'data: "x"\n\n', {"text": '"x"', "data": None, "is_json": False}),
    "a number is bare text": (b"data: 5\n\n", {"text": "5", "data": None, "is_json": False}),
    "broken JSON is bare text": (b'data: {"a": \n\n', {"text": '{"a": ', "data": None, "is_json": False}),
    "the end": (b"data: [DONE]\n\n", {"done": True, "is_json": False}),
    "the end, without a space": (b"data:[DONE]\n\n", {"done": True}),
    "no data": (b": ping\nid: 3\n\n", {"text": None, "data": None, "done": False, "foreign": False}),
    "nothing": (b"\r\n\r\n", {"text": None, "done": False, "foreign": False}),
    "a byte order mark": (b"\xef\xbb\xbfdata: {}\n\n", {"data": {}}),
    "CRLF": (b"event: a\r\ndata: x\r\n\r\n", {"name": "a", "text": "x"}),
    "CR": (b"event: a\rdata: x\r\r", {"name": "a", "text": "x"}),
    "no line end": (b"data: x", {"text": "x"}),
    "other line ends are text": ("data: a\u2028b\u0085c\x0bd\n\n".encode(), {"text": "a\u2028b\u0085c\x0bd"}),
    "capitals are another field": (b"Data: x\n\n", {"text": "Data: x\n\n", "foreign": True}),
    "too deep": (b"data: " + b"[" * 100_000 + b"\n\n", {"is_json": False}),
    "a number too long": (b'data: {"a": ' + b"1" * 10_000 + b"}\n\n", {"is_json": False}),
    "JSON instead of events": (b'{"choices": []}', {"text": '{"choices": []}', "is_json": False, "foreign": True}),
    "HTML instead of events": (b"<html>\n\n", {"text": "<html>\n\n", "foreign": True}),
    "the beginning of a field": (b"dat", {"text": None, "foreign": False}),
    "a field of another's": (b"x-note: hello\ndata: x\n\n", {"text": "x", "foreign": False}),
}


@pytest.mark.parametrize("name", READ)
def test_an_event_is_read(name: str) -> None:
    raw, expected = READ[name]
    event = parse_event(raw)
    assert {key: getattr(event, key) for key in expected} == expected
    assert event.raw == raw


@pytest.mark.parametrize(
    "raw", [b"data: \xff\n\n", b"event: \xff\ndata: x\n\n", b"data: \xed\xa0\x80\n\n", b"<\xff>"]
)
def test_an_event_that_is_not_utf_8(raw: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        parse_event(raw)


RENDERED: dict[str, tuple[bytes, Any, bytes]] = {
    "LF": (b'data: {"a": 1}\n\n', {"a": 2}, b'data: {"a":2}\n\n'),
    "CRLF": (b'event: x\r\ndata: {"a": 1}\r\n\r\n', {"a": 2}, b'event: x\r\ndata: {"a":2}\r\n\r\n'),
    "CR": (b'data: {"a": 1}\r\r', {"a": 2}, b'data: {"a":2}\r\r'),
    "mixed": (b'id: 7\r\ndata: {"a": 1}\n\r\n', {"a": 2}, b'id: 7\r\ndata: {"a":2}\n\r\n'),
    "every other line stays": (
        b': hi\nid: 7\nevent: x\nretry: 5\ndata: {"a": 1}\n: bye\nx-own: 1\n\n',
        {"a": 2},
        b': hi\nid: 7\nevent: x\nretry: 5\ndata: {"a":2}\n: bye\nx-own: 1\n\n',
    ),
    "lines of data become one": (b'data: {\nid: 7\ndata: "a": 1}\n\n', {"a": 2}, b'data: {"a":2}\nid: 7\n\n'),
    "a byte order mark": (b'\xef\xbb\xbfdata: {"a": 1}\n\n', {"a": 2}, b'\xef\xbb\xbfdata: {"a":2}\n\n'),
    "stray line ends before it": (b'\n\r\ndata: {"a": 1}\n\n', {"a": 2}, b'\n\r\ndata: {"a":2}\n\n'),
    "no line end": (b'data: {"a": 1}', {"a": 2}, b'data: {"a":2}'),
    "one line end": (b'data: {"a": 1}\n', {"a": 2}, b'data: {"a":2}\n'),
    "bare text": (b"data: secret\n\n", "#", b"data: #\n\n"),
    "bare text of several lines": (b"data: a\ndata: b\n\n", "c\nd", b"data: c\ndata: d\n\n"),
    "bare text with line ends of a guard's": (
        b"data: a\r\n\r\n",
        "c\rd\r\ne",
        b"data: c\r\ndata: d\r\ndata: e\r\n\r\n",
    ),
    "bare text without line end": (b"data: a", "c\nd", b"data: c\ndata: d"),
    "bare text made empty": (b"data: a\n\n", "", b"data: \n\n"),
    "bare text that is not UTF-8": (b"data: a\n\n", "x\ud800", b"data: x?\n\n"),
    "no event": (b"<p>x</p>\r\n\r\n", "<p>#</p>\r\n\r\n", b"<p>#</p>\r\n\r\n"),
    "a lone surrogate": (
        b'data: {"a": "\\ud800"}\n\n',
        {"a": "\ud800", "b": "\u00e4"},
        b'data: {"a":"\\ud800","b":"\\u00e4"}\n\n',
    ),
    "beyond ASCII": (b'data: {"a": 1}\n\n', {"a": "ä😀"}, 'data: {"a":"ä😀"}\n\n'.encode()),
    "line ends in JSON": (b'data: {"a": 1}\n\n', {"a": "x\r\ny"}, b'data: {"a":"x\\r\\ny"}\n\n'),
}


@pytest.mark.parametrize("name", RENDERED)
def test_an_event_is_written_with_other_data(name: str) -> None:
    raw, data, expected = RENDERED[name]
    assert render_event(parse_event(raw), data) == expected


def test_what_is_written_is_read_as_what_was_meant() -> None:
    """Whatever the lines around it: the new data is there, once, and nothing of the old."""

    def others(raw: bytes) -> list[bytes]:
        lines = re.split(rb"\r\n|\n|\r", raw.removeprefix(b"\xef\xbb\xbf"))
        return [line for line in lines if line and not line.startswith(b"data")]

    rolled = random.Random(5)
    fields = [b"id: 7", b"event: x", b"retry: 3", b": note", b"data", b"data: more SECRET", b"x-own: 1"]
    for _ in range(500):
        end = rolled.choice([b"\n", b"\r\n", b"\r"])
        lines = [rolled.choice(fields) for _ in range(rolled.randrange(4))]
        lines.insert(rolled.randrange(len(lines) + 1), b'data: {"old":"SECRET"}')
        raw = rolled.choice([b"", b"\xef\xbb\xbf"]) + end.join(lines) + end * rolled.randrange(3)
        event = parse_event(raw)
        new = {"new": "text"} if event.is_json else "text"
        written = render_event(event, new)
        again = parse_event(written)
        assert b"SECRET" not in written
        assert (again.data if event.is_json else again.text) == new
        assert again.name == event.name
        assert others(written) == others(raw)
