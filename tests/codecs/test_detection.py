"""Which format a call or a reply is in; and every recorded exchange read, written back, and read again."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest

from highflame_middleware.codecs import CODECS, codec_for_path, codec_for_reply, codec_for_shape, load_codec
from highflame_middleware.codecs.parts import Codec, Text, dump_json, edits_of, rewrite
from highflame_middleware.codecs.sse import Splitter, parse_event, render_event
from tests.codecs.shapes import check_texts
from tests.replay.records import Record, folder, read_folder

PATHS: dict[str, str | None] = {
    "/v1/chat/completions": "openai-chat",
    "/chat/completions": "openai-chat",
    "/chat/completions/": "openai-chat",
    "/chat/completions?a=/responses": "openai-chat",
    "/openai/deployments/gpt/chat/completions?api-version=1": "openai-chat",
    "/v1beta/openai/chat/completions": "openai-chat",
    "/chat/completions/chatcmpl-1": "openai-chat",
    "/chat/completions/chatcmpl-1/messages": "openai-chat",
    "/v1/responses": "openai-responses",
    "/responses/resp_1": "openai-responses",
    "/responses/resp_1/cancel": "openai-responses",
    "/responses/resp_1/input_items": "openai-responses",
    "/responses/compact": "openai-responses",
    "/v1/completions": "openai-completions",
    "/openai/deployments/gpt/completions": "openai-completions",
    "/v1/embeddings": "openai-embeddings",
    "/v1/chat": None,
    "/v1/models": None,
    "/v1/files/responses.json": None,
    "/v1/chat/completions/a/b/c": None,
    "/v1/mycompletions": None,
    "/v1/audio/speech": None,
    "/": None,
    "": None,
}


@pytest.mark.parametrize("path", PATHS)
def test_by_path(path: str) -> None:
    found = codec_for_path(path)
    assert (found.name if found else None) == PATHS[path]


SHAPES: dict[str, tuple[Any, str | None]] = {
    "messages": ({"messages": [{"role": "user", "content": "x"}]}, "openai-chat"),
    "messages without a role": ({"messages": [{"text": "x"}]}, None),
    "no messages": ({"messages": []}, None),
    "messages in words": ({"messages": "x"}, None),
    "an input and a model": ({"input": "x", "model": "m"}, "openai-responses"),
    "an input alone": ({"input": "x"}, None),
    "a prompt": ({"prompt": "x"}, "openai-completions"),
    "prompts": ({"prompt": ["x"]}, "openai-completions"),
    "a prompt's id": ({"prompt": {"id": "x"}}, None),
    "something else": ({"question": "x"}, None),
    "a list": ([{"role": "user"}], None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("name", SHAPES)
def test_by_the_shape_of_a_call(name: str) -> None:
    body, expected = SHAPES[name]
    found = codec_for_shape(body)
    assert (found.name if found else None) == expected


REPLIES: dict[str, tuple[Any, str | None]] = {
    "a completion": ({"object": "chat.completion"}, "openai-chat"),
    "a chunk": ({"object": "chat.completion.chunk", "choices": []}, "openai-chat"),
    "a response": ({"object": "response"}, "openai-responses"),
    "a stream's event": ({"type": "response.output_text.delta"}, "openai-responses"),
    "an old completion": ({"object": "text_completion"}, "openai-completions"),
    "choices with messages": ({"choices": [{"message": {}}]}, "openai-chat"),
    "choices with texts": ({"choices": [{"text": "x"}]}, "openai-completions"),
    "a list": ({"object": "list", "data": []}, None),
    "an answer": ({"answer": "x"}, None),
    "kinds of wrong types": ({"object": ["chat.completion"], "type": {}, "choices": "x"}, None),
    "a string": ("x", None),
}


@pytest.mark.parametrize("name", REPLIES)
def test_by_what_a_reply_says_it_is(name: str) -> None:
    body, expected = REPLIES[name]
    found = codec_for_reply(body)
    assert (found.name if found else None) == expected


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_loads_under_its_name(name: str) -> None:
    codec = load_codec(name)
    assert codec.name == name
    assert load_codec(name) is codec
    json.dumps(codec.refuse("no"))


# ------------------------------------------------------------------------------------------------- recordings


@cache
def recordings() -> tuple[Record, ...]:
    """The recorded exchanges of OpenAI and Azure in a format that there is a codec for."""
    if not folder().is_dir():
        return ()
    return tuple(
        record for record in read_folder(folder()) if record.provider in ("openai", "azure-openai") and record.codec
    )


def content_of(record: Record) -> bytes:
    gzipped = record.gzipped and ("content-encoding", "gzip") in record.headers
    return gzip.decompress(record.content) if gzipped else record.content


def fixed(codec: Codec, read: Any, body: Any) -> None:
    """Reading, writing back and reading again changes nothing, with every text and with another in its place."""
    texts = read(body)
    check_texts(body, texts)
    again = json.loads(dump_json(rewrite(body, {text.path: text.value for text in texts if text.value})))
    assert again == body
    assert read(again) == texts
    said = [text for text in texts if text.value]
    edited = json.loads(dump_json(rewrite(body, edits_of([(text, f"<{text.value}>") for text in said]))))
    assert [text.value for text in read(edited) if text.value] == [f"<{text.value}>" for text in said]


@pytest.mark.parametrize("codec", ["openai-chat", "openai-responses", "openai-completions", "openai-embeddings"])
def test_recorded_exchanges_are_a_fixed_point(codec: str) -> None:
    records = [record for record in recordings() if record.codec == codec]
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    found = load_codec(codec)
    texts = 0
    for record in records:
        assert codec_for_path(urlsplit(record.url).path) is found
        fixed(found, lambda body: found.read_call(body).texts, record.body)
        content = content_of(record)
        if record.stream and record.status == 200:
            texts += stream_is_fixed(found, content)
        elif content[:1] == b"{":
            fixed(found, lambda body: found.read_reply(body).texts, json.loads(content))
            texts += len(found.read_reply(json.loads(content)).texts)
    assert texts or codec == "openai-embeddings"


def stream_is_fixed(codec: Codec, content: bytes) -> int:
    """Each event written back as it was read is the same data; how many texts there were."""
    splitter = Splitter()
    events = [*splitter.feed(content), splitter.finish()]
    assert b"".join(events) == content
    reader, count = codec.open_stream(), 0
    for raw in events:
        event = parse_event(raw)
        if not event.is_json:
            assert event.text is None or event.done
            continue
        texts = reader.read(event.data, event.name).texts
        check_texts(event.data, texts)
        count += len(texts)
        written = render_event(event, rewrite(event.data, {text.path: text.value for text in texts if text.value}))
        again = parse_event(written)
        assert (again.data, again.name) == (event.data, event.name)
    return count


def test_what_recorded_streams_say_again_is_known_by_what_it_was() -> None:
    """A text is judged once: where an event repeats what came in deltas, it is of the same stage and tool."""
    records = [record for record in recordings() if record.stream and record.codec == "openai-responses"]
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    repeated = 0
    for record in records:
        reader = load_codec("openai-responses").open_stream()
        pieces: dict[Any, list[Text]] = {}
        for raw in Splitter().feed(content_of(record)):
            event = parse_event(raw)
            for text in reader.read(event.data, event.name).texts if event.is_json else ():
                if text.channel is not None:
                    pieces.setdefault(text.channel, []).append(text)
                    continue
                streamed = {
                    (one[0].stage, one[0].tool)
                    for one in pieces.values()
                    if text.value == "".join(piece.value for piece in one)
                }
                assert not streamed or (text.stage, text.tool) in streamed
                repeated += bool(streamed)
    assert repeated > 100
