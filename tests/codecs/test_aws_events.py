"""The AWS event stream: cut anywhere, read, and written back so that botocore's own reader reads it."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest

from highflame_middleware.codecs import framing_for
from highflame_middleware.codecs.framing import Event, Framing
from tests.codecs.messages import header, message, wrapped
from tests.replay.records import folder, read_folder

found = framing_for("application/vnd.amazon.eventstream")
assert found is not None
FRAMING: Framing = found

DELTA = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hällo"}, "p": "abcd"})
CHUNK = message("chunk", wrapped({"type": "x", "text": "hello"}, p="abcdef"))
TEXTS = message("chunk", {"bytes": base64.b64encode(b"plain words").decode()})
CITED = message(
    "chunk", {"bytes": base64.b64encode(b"plain words").decode(), "attribution": {"citations": [{"t": "said"}]}}
)
EMPTY = message("initial-response", None)
STREAM = DELTA + CHUNK + EMPTY + TEXTS


def cut(*chunks: bytes) -> list[bytes]:
    splitter = FRAMING.splitter()
    out = [raw for chunk in chunks for raw in splitter.feed(chunk)]
    assert splitter.pending == 0
    assert splitter.finish() == b""
    return out


def spoilt(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 0x40]) + raw[at + 1 :]


def test_messages_are_cut_wherever_the_chunks_were() -> None:
    whole = [DELTA, CHUNK, EMPTY, TEXTS]
    assert cut(STREAM) == whole
    assert cut(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == whole
    for at in range(len(STREAM) + 1):
        assert cut(STREAM[:at], STREAM[at:]) == whole


def test_an_unfinished_message_is_held_and_told() -> None:
    splitter = FRAMING.splitter()
    assert splitter.feed(DELTA + CHUNK[:-1]) == [DELTA]
    assert splitter.pending == len(CHUNK) - 1
    rest = splitter.finish()
    assert rest == CHUNK[:-1]
    assert splitter.pending == 0
    with pytest.raises(ValueError, match="cut short"):
        FRAMING.parse(rest)


@pytest.mark.parametrize("at", range(len(DELTA)))
def test_a_message_with_one_wrong_bit_is_told(at: int) -> None:
    with pytest.raises(ValueError):
        for raw in FRAMING.splitter().feed(spoilt(DELTA, at)):
            FRAMING.parse(raw)
    with pytest.raises(ValueError):
        FRAMING.parse(spoilt(DELTA, at))


def test_what_comes_before_a_wrong_message_is_not_lost() -> None:
    splitter = FRAMING.splitter()
    bad = spoilt(CHUNK, 2)
    assert splitter.feed(DELTA + bad) == [DELTA]
    with pytest.raises(ValueError, match="prelude"):
        splitter.feed(b"more")
    assert splitter.finish() == bad + b"more", "and nothing of the rest is"


@pytest.mark.parametrize(
    ("length", "headers"),
    [(0, 0), (15, 0), (2**32 - 1, 0), (24 * 2**20 + 17, 0), (16, 1), (200_000, 150_000), (100, 2**32 - 1)],
)
def test_lengths_that_cannot_be_are_not_waited_for(length: int, headers: int) -> None:
    prelude = struct.pack("!II", length, headers)
    with pytest.raises(ValueError, match="lengths"):
        FRAMING.splitter().feed(prelude + struct.pack("!I", crc32(prelude)))


def read(raw: bytes) -> tuple[Any, ...]:
    event = FRAMING.parse(raw)
    assert event.raw == raw
    return event.name, event.is_json, event.data, event.text


def test_what_a_message_says() -> None:
    delta = {"contentBlockIndex": 0, "delta": {"text": "hällo"}, "p": "abcd"}
    assert read(DELTA)[:3] == ("contentBlockDelta", True, delta)
    assert read(CHUNK)[:3] == ("chunk", True, {"type": "x", "text": "hello"})
    assert read(TEXTS) == ("chunk", False, None, "plain words")
    cited = {"bytes": "plain words", "attribution": {"citations": [{"t": "said"}]}}
    assert read(CITED)[:3] == ("chunk", True, cited)
    assert read(EMPTY) == ("initial-response", False, None, None)
    done = FRAMING.parse(message("chunk", {"bytes": base64.b64encode(b"[DONE]").decode()}))
    assert done.done


def test_an_exception_is_named_by_its_type() -> None:
    raw = message(None, {"message": "no"}, extra=header(":exception-type", "throttlingException"))
    assert read(raw)[:3] == ("throttlingException", True, {"message": "no"})


ODD: dict[str, tuple[Any, tuple[bool, Any, str]]] = {
    "no JSON": (b"words", (False, None, "words")),
    "broken JSON": (b'{"a": ', (False, None, '{"a": ')),
    "too deep": (b"[" * 100_000, (False, None, "[" * 100_000)),
    "bytes that are no text": ({"bytes": 5}, (True, {"bytes": 5}, '{"bytes":5}')),
    "a list": ([1], (True, [1], "[1]")),
}


@pytest.mark.parametrize("name", ODD)
def test_payloads_of_other_shapes(name: str) -> None:
    payload, expected = ODD[name]
    assert read(message("chunk", payload))[1:] == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xfe",
        {"bytes": base64.b64encode(b"\xff").decode()},
        {"bytes": "A"},
        {"bytes": "ä"},
    ],
)
def test_what_is_no_text_is_told(payload: Any) -> None:
    with pytest.raises(ValueError):
        FRAMING.parse(message("chunk", payload))


def test_headers_of_every_type_are_passed_over() -> None:
    blobs = b"".join(
        bytes([1]) + str(kind).encode() + bytes([kind]) + b"\0" * size
        for kind, size in ((0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16))
    )
    blobs += b"\x016\x06\0\x03abc"
    raw = message("chunk", {"a": 1}, extra=blobs)
    assert read(raw)[:3] == ("chunk", True, {"a": 1})
    assert FRAMING.render(FRAMING.parse(raw), {"a": 1}) == raw


@pytest.mark.parametrize(
    "extra",
    [
        header(":event-type", "twice"),
        b"\x05ab",
        b"\x01a",
        b"\x01a\x07\0",
        b"\x01a\x07\0\x09b",
        b"\x01a\x0a",
        b"\x01a\x05\0",
        b"\x01\xff\x07\0\x01a",
        b"\x01a\x07\0\x01\xff",
    ],
)
def test_headers_that_cannot_be_read_are_told(extra: bytes) -> None:
    with pytest.raises(ValueError):
        FRAMING.parse(message("chunk", {"a": 1}, extra=extra))


def test_an_event_is_written_back_with_other_data_only() -> None:
    event = FRAMING.parse(DELTA)
    data = {"contentBlockIndex": 0, "delta": {"text": "#"}, "p": "abcd"}
    assert FRAMING.render(event, data) == message("contentBlockDelta", data)
    # The padding beside what is wrapped stays.
    event = FRAMING.parse(CHUNK)
    assert FRAMING.render(event, {"text": "#"}) == message("chunk", wrapped({"text": "#"}, p="abcdef"))
    again = FRAMING.render(FRAMING.parse(TEXTS), "#")
    assert again == message("chunk", {"bytes": base64.b64encode(b"#").decode()})
    edited = {"bytes": "#", "attribution": {"citations": [{"t": "##"}]}}
    assert FRAMING.parse(FRAMING.render(FRAMING.parse(CITED), edited)).data == edited
    assert FRAMING.parse(FRAMING.render(FRAMING.parse(message("x", b"words")), "other words")).text == "other words"


def test_noise_is_told_and_never_anything_else() -> None:
    rolled = random.Random(7)
    for _ in range(3000):
        noise = bytearray(STREAM if rolled.random() < 0.5 else rolled.randbytes(rolled.randrange(200)))
        for _ in range(rolled.randrange(4)):
            if noise:
                noise[rolled.randrange(len(noise))] = rolled.randrange(256)
        splitter = FRAMING.splitter()
        seen = []
        try:
            for raw in splitter.feed(bytes(noise)):
                seen.append(raw)
                FRAMING.parse(raw)
        except ValueError:
            continue
        assert b"".join([*seen, splitter.finish()]) == noise


# --------------------------------------------------------------------------------------- as botocore reads it


def parsed(raw: bytes, shape: str, service: str = "bedrock-runtime") -> Iterator[Any]:
    """The events of a stream as botocore gives them to its callers."""
    pytest.importorskip("botocore")
    from botocore.eventstream import EventStream
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.parsers import EventStreamJSONParser

    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield raw

    model = ServiceModel(Loader().load_service_model(service, "service-2"))
    return iter(EventStream(Raw(), model.shape_for(shape), EventStreamJSONParser(), "Op"))


def test_botocore_reads_what_is_written() -> None:
    event = FRAMING.parse(DELTA)
    (seen,) = parsed(FRAMING.render(event, {**event.data, "delta": {"text": "edited"}}), "ConverseStreamOutput")
    assert seen == {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "edited"}}}


@pytest.mark.parametrize(
    ("shape", "service"),
    [
        ("ConverseStreamOutput", "bedrock-runtime"),
        ("ResponseStream", "bedrock-runtime"),
        ("ResponseStream", "bedrock-agent-runtime"),
        ("RetrieveAndGenerateStreamResponseOutput", "bedrock-agent-runtime"),
    ],
)
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("validationException", {"message": "blocked"}),
        ("error", {"type": "error", "error": {"type": "api_error", "message": "blocked"}}),
        (None, {"error": {"message": "blocked", "code": "c"}}),
        ("error", {"message": "blocked"}),
    ],
)
def test_an_error_is_one_that_botocore_raises(name: str | None, data: Any, shape: str, service: str) -> None:
    from botocore.exceptions import EventStreamError

    with pytest.raises(EventStreamError, match="blocked") as caught:
        list(parsed(FRAMING.write_error(name, data), shape, service))
    assert caught.value.response["Error"]["Code"] == "validationException"


def test_a_new_event_is_one_that_botocore_reads() -> None:
    delta = {"contentBlockIndex": 0, "delta": {"text": "new"}}
    (seen,) = parsed(FRAMING.write("contentBlockDelta", delta), "ConverseStreamOutput")
    assert seen == {"contentBlockDelta": delta}
    for name, said in (("chunk", {"outputText": "new"}), (None, {"a": 1}), ("x", {"type": "x", "text": "new"})):
        (seen,) = parsed(FRAMING.write(name, said), "ResponseStream")
        assert json.loads(seen["chunk"]["bytes"]) == said


@pytest.mark.parametrize("data", [None, "no", {"error": "no"}, {"error": {"message": 5}}, []])
def test_an_error_of_any_shape_can_be_written(data: Any) -> None:
    assert FRAMING.parse(FRAMING.write_error(None, data)).name == "validationException"


def test_anthropics_reader_reads_what_is_written() -> None:
    decoding = pytest.importorskip("anthropic.lib.bedrock._stream_decoder")
    said = {"type": "content_block_delta", "delta": {"text": "edited"}}
    raw = FRAMING.render(FRAMING.parse(CHUNK), said)
    error = FRAMING.write_error("error", {"type": "error", "error": {"message": "blocked"}})
    first, *rest = decoding.AWSEventStreamDecoder().iter_bytes(iter([raw]))
    assert json.loads(first.data) == said
    assert rest == []
    try:
        (second,) = decoding.AWSEventStreamDecoder().iter_bytes(iter([error]))
    except ValueError as told:
        assert "blocked" in str(told)
    else:
        assert second.event == "error"
        assert "blocked" in second.data


def test_recorded_streams_are_read_and_written_back_byte_for_byte() -> None:
    path = folder()
    if not path.is_dir():
        pytest.skip(f"no recorded traffic at {path} (TRAFFIC_DIR)")
    seen = 0
    for record in read_folder(path):
        if record.provider != "bedrock" or not any("eventstream" in value for _, value in record.headers):
            continue
        events: list[Event] = [FRAMING.parse(raw) for raw in cut(record.content)]
        assert b"".join(event.raw for event in events) == record.content
        for event in events:
            again = FRAMING.parse(FRAMING.render(event, event.data if event.is_json else event.text))
            assert (again.name, again.data, again.text is None) == (event.name, event.data, event.text is None)
            seen += 1
    assert seen > 100
