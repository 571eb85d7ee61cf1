"""JSON text sequences: cut without loss, as soon as a value is whole, at a cost in proportion to their length."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware.codecs import framing_for

FRAMING = framing_for("application/json-seq")
assert FRAMING is not None
VALUES: list[Any] = [{"a": [1, "\x1d"]}, "text", 7, None, [], {"b": {"c": "\u00e9\n"}}]


def written(indent: int | None) -> list[bytes]:
    return [b"\x1e" + json.dumps(value, indent=indent).encode() + b"\n" for value in VALUES]


def cut(pieces: list[bytes]) -> list[bytes]:
    splitter = FRAMING.splitter()
    records = [record for piece in pieces for record in splitter.feed(piece)]
    rest = splitter.finish()
    assert splitter.pending == 0
    return [*records, rest] if rest else records


@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_values_are_cut_wherever_the_chunks_were(size: int, indent: int | None) -> None:
    whole = b"".join(written(indent))
    records = cut([whole[start : start + size] for start in range(0, len(whole), size)])
    assert records == written(indent)
    assert [FRAMING.parse(record).data for record in records] == VALUES


def test_a_value_on_one_line_does_not_wait_for_the_next() -> None:
    splitter = FRAMING.splitter()
    assert [splitter.feed(record) for record in written(None)] == [[record] for record in written(None)]


def test_what_is_no_value_is_text_and_loses_nothing() -> None:
    odd = [b"no separator\n", b"\x1e{half\n", b"\x1e\n", b"\x1e\x1e{}\n", b"\x1e1"]
    whole = b"".join(odd)
    records = cut([whole])
    assert b"".join(records) == whole
    events = [FRAMING.parse(record) for record in records]
    assert [event.text for event in events if event.text is not None and not event.is_json] == [
        "no separator\n",
        "{half\n",
    ]


def test_a_value_is_written_again_between_its_marks() -> None:
    event = FRAMING.parse(b'\x1e{ "a" : 1 }\n')
    assert FRAMING.render(event, {"a": 2}) == b'\x1e{"a":2}\n'
    assert FRAMING.write_error(None, {"error": 1}) == b'\x1e{"error":1}\n'
    assert FRAMING.render(FRAMING.parse(b"\x1eplain"), "other") == b"\x1eother"


def test_a_value_over_many_lines_is_not_read_again_with_each() -> None:
    """How often a value is tried grows with the logarithm of its length."""
    tried: list[int] = []
    splitter = FRAMING.splitter()
    splitter.feed(b"\x1e[\n")
    for number in range(4096):
        splitter.feed(b"%d,\n" % number)
        tried.append(splitter._tried)  # type: ignore[attr-defined]
    assert len(set(tried)) <= 16
    assert splitter.feed(b"0]\n\x1e1\n") != []
