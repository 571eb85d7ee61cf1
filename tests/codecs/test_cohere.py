"""Cohere's formats: every text is found where it stands, and nothing that is sent makes a codec raise."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any
from urllib.parse import urlsplit

import pytest

from highflame_middleware.codecs import codec_for_path, framing_for, load_codec
from highflame_middleware.codecs.parts import Codec, Params, Summary, Text, edits_of, rewrite
from tests.codecs.shapes import check_events, check_reads, check_texts, random_json, spoilt
from tests.replay.records import Record, folder, read_folder

CHAT, OLD = load_codec("cohere-chat"), load_codec("cohere-chat-v1")
GENERATE, EMBED, RERANK = load_codec("cohere-generate"), load_codec("cohere-embed"), load_codec("rerank")
ALL = (CHAT, OLD, GENERATE, EMBED, RERANK)

_TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "finds",
        "parameters": {"type": "object", "properties": {"q": {"type": "string", "description": "what"}}},
    },
}
CHAT_CALL: dict[str, Any] = {
    "model": "command",
    "messages": [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {
            "role": "assistant",
            "tool_plan": "I will look",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "document", "document": {"data": "found"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]},
    ],
    "documents": ["a document", {"id": "d", "data": {"title": "t", "type": "prose"}}],
    "tools": [_TOOL],
    "stream": True,
    "p": 0.5,
    "k": 7,
    "max_tokens": 9,
}
OLD_CALL: dict[str, Any] = {
    "message": "hi",
    "preamble": "be kind",
    "chat_history": [
        {"role": "USER", "message": "before"},
        {"role": "CHATBOT", "message": "yes", "tool_calls": [{"name": "find", "parameters": {"q": "x"}}]},
        {
            "role": "TOOL",
            "tool_results": [{"call": {"name": "find", "parameters": {}}, "outputs": [{"id": "found"}]}],
        },
    ],
    "documents": [{"id": "d", "title": "t", "role": "r"}],
    "tools": [{"name": "find", "description": "finds", "parameter_definitions": {"q": {"description": "what"}}}],
    "tool_results": [{"call": {"name": "find", "parameters": {"q": "y"}}, "outputs": [{"n": 1, "text": "out"}]}],
    "conversation_id": "conv",
}


def brief(text: Text) -> tuple[Any, ...]:
    return (text.value, text.stage.value, text.role, text.tool)


def test_every_text_of_a_chat_call_and_nothing_else() -> None:
    read = CHAT.read_call(CHAT_CALL)
    assert (read.model, read.stream) == ("command", True)
    assert [brief(text) for text in read.texts] == [
        ("be kind", "prompt", "system", None),
        ("hi", "prompt", "user", None),
        ("I will look", "prompt", "assistant", None),
        ('{"q": "x"}', "tool_call", "assistant", "find"),
        ("found", "tool_result", "tool", None),
        ("hm", "prompt", "assistant", None),
        ("a document", "prompt", "document", None),
        ("t", "prompt", "document", None),
        ("prose", "prompt", "document", None),
        ("finds", "prompt", "tool_definition", None),
        ("what", "prompt", "tool_definition", None),
    ]
    assert CHAT.read_params(CHAT_CALL) == Params(max_tokens=9, top_p=0.5, top_k=7)


def test_every_text_of_an_old_chat_call_and_nothing_else() -> None:
    read = OLD.read_call(OLD_CALL)
    assert [brief(text) for text in read.texts] == [
        ("hi", "prompt", "user", None),
        ("be kind", "prompt", "system", None),
        ("before", "prompt", "user", None),
        ("yes", "prompt", "assistant", None),
        ('{"q":"x"}', "tool_call", "assistant", "find"),
        ("{}", "tool_call", "assistant", "find"),
        ("found", "tool_result", "tool", "find"),
        ("t", "prompt", "document", None),
        ("r", "prompt", "document", None),
        ('{"q":"y"}', "tool_call", "assistant", "find"),
        ("out", "tool_result", "tool", "find"),
        ("finds", "prompt", "tool_definition", None),
        ("what", "prompt", "tool_definition", None),
    ]
    assert OLD.read_params(OLD_CALL).conversation_id == "conv"


def test_arguments_that_stand_in_the_body_are_put_back_as_json() -> None:
    (text,) = [text for text in OLD.read_call(OLD_CALL).texts if text.value == '{"q":"x"}']
    edited = rewrite(OLD_CALL, edits_of([(text, '{"q":"[redacted]"}')]))
    assert edited["chat_history"][1]["tool_calls"][0]["parameters"] == {"q": "[redacted]"}


def test_a_chat_reply() -> None:
    source = {"type": "tool", "id": "s", "tool_output": {"content": "cited"}}
    body = {
        "id": "r",
        "message": {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "well"}],
            "tool_plan": "plan",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "find", "arguments": ""}}],
            "citations": [{"start": 0, "end": 1, "text": "we", "sources": [source], "type": "TEXT_CONTENT"}],
            "new": {"id": "i", "said": "also"},
        },
        "logprobs": [{"token_ids": [1]}],
        "finish_reason": "TOOL_CALL",
        "usage": {
            "billed_units": {"input_tokens": 1},
            "tokens": {"input_tokens": 2, "output_tokens": 3},
            "cached_tokens": 4,
        },
    }
    read = CHAT.read_reply(body)
    assert [text.value for text in read.texts] == ["hm", "well", "plan", "", "we", "cited", "also"]
    assert read.texts[3].tool == "find"
    assert {text.shadows for text in read.texts} == {(("logprobs",),)}
    assert read.summary == Summary(
        id="r", finish_reasons=("TOOL_CALL",), input_tokens=2, output_tokens=3, cached_tokens=4
    )


def test_a_chat_stream() -> None:
    def call(**fields: Any) -> dict[str, Any]:
        return {"message": {"tool_calls": fields}}

    events: list[tuple[dict[str, Any], list[tuple[Any, str]]]] = [
        ({"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant", "content": []}}}, []),
        ({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I "}}}, [(("tool_plan", 0), "I ")]),
        (
            {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
            [],
        ),
        (
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "a"}}}},
            [(("content", 0, "text"), "a")],
        ),
        (
            {"type": "content-delta", "index": 1, "delta": {"message": {"content": {"thinking": "b"}}}},
            [(("content", 1, "thinking"), "b")],
        ),
        (
            {"type": "tool-call-start", "index": 2, "delta": call(id="c", function={"name": "f", "arguments": ""})},
            [(("tool_calls", 2, "function", "arguments"), "")],
        ),
        (
            {"type": "tool-call-delta", "index": 2, "delta": call(function={"arguments": '{"'})},
            [(("tool_calls", 2, "function", "arguments"), '{"')],
        ),
        (
            {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"text": "cited"}}}},
            [(None, "cited")],
        ),
        ({"type": "debug", "prompt": "unheard of"}, [(None, "unheard of")]),
    ]
    reader = CHAT.open_stream()
    for data, expected in events:
        read = reader.read(data, data["type"])
        check_texts(data, read.texts)
        assert [(text.channel, text.value) for text in read.texts] == expected
        assert {text.tool for text in read.texts if text.stage.value == "tool_call"} <= {"f"}
    assert reader.read({"type": "content-end", "index": 1}, None).closes == (("content", 1),)
    assert reader.read({"type": "tool-call-end", "index": 2}, None).closes == (("tool_calls", 2),)
    end = reader.read({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}, None)
    assert end.terminal
    assert end.summary == Summary(finish_reasons=("COMPLETE",))


def test_an_old_chat_stream_says_at_its_end_what_it_said_in_pieces() -> None:
    reader = OLD.open_stream()
    pieces = [
        reader.read({"event_type": "text-generation", "is_finished": False, "text": text}, None).texts
        for text in ("a", "b")
    ]
    assert [(text.channel, text.value) for texts in pieces for text in texts] == [
        (("text",), "a"),
        (("text",), "b"),
    ]
    named = {"event_type": "tool-calls-chunk", "tool_call_delta": {"name": "f", "index": 1}}
    assert reader.read(named, None).texts == ()
    (chunk,) = reader.read(
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 1, "parameters": '{"'}}, None
    ).texts
    assert brief(chunk) == ('{"', "tool_call", "assistant", "f")
    response = {
        "text": "ab",
        "response_id": "r",
        "chat_history": [{"role": "USER", "message": "mine"}, {"role": "CHATBOT", "message": "ab"}],
        "tool_calls": [{"name": "f", "parameters": {"q": "x"}}],
        "meta": {"billed_units": {"input_tokens": 1, "output_tokens": 2}},
        "finish_reason": "COMPLETE",
    }
    end = reader.read({"event_type": "stream-end", "is_finished": True, "response": response}, None)
    assert [(text.channel, text.value) for text in end.texts] == [(None, "ab"), (None, '{"q":"x"}'), (None, "ab")]
    assert end.terminal
    assert end.summary == Summary(id="r", finish_reasons=("COMPLETE",), input_tokens=1, output_tokens=2)


def test_generations() -> None:
    body = {"generations": [{"id": "1", "text": "a", "token_likelihoods": [{"token": "a"}]}], "prompt": "mine"}
    (text,) = GENERATE.read_reply(body).texts
    assert (text.value, text.shadows) == ("a", (("generations", 0, "token_likelihoods"),))
    assert [text.value for text in GENERATE.read_call({"prompt": "p", "model": "m"}).texts] == ["p"]
    read = GENERATE.open_stream().read({"is_finished": True, "response": body}, None)
    assert ([text.value for text in read.texts], read.terminal) == (["a"], True)


def test_texts_to_embed_and_to_rank() -> None:
    inputs = {
        "inputs": [{"content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}]}]
    }
    assert [text.value for text in EMBED.read_call(inputs).texts] == ["x"]
    assert [text.value for text in EMBED.read_call({"texts": ["a", "b"], "images": ["data:"]}).texts] == ["a", "b"]
    assert EMBED.read_reply({"id": "e", "embeddings": {"float": [[1]]}, "texts": ["a"]}).texts == ()
    ranked = {"query": "q", "documents": ["a", {"text": "b", "id": "i"}]}
    assert [text.value for text in RERANK.read_call(ranked).texts] == ["q", "a", "b"]
    assert RERANK.read_reply({"results": [{"index": 0, "document": {"text": "b"}}]}).texts == ()


@pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)
def test_what_is_in_no_known_shape_is_text(codec: Codec) -> None:
    assert [text.value for text in codec.read_reply({"answer": ["x"]}).texts] == ["x"]
    assert [text.value for text in codec.open_stream().read(["x"], None).texts] == ["x"]


@pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)
def test_no_shape_makes_it_raise(codec: Codec) -> None:
    rolled = random.Random(31)
    for body in (CHAT_CALL, OLD_CALL, {"message": CHAT_CALL["messages"][2]}, {"generations": [{"text": "x"}]}):
        for wrong in spoilt(body):
            check_reads(codec, wrong)
    events = [
        {
            "type": "tool-call-delta",
            "index": 0,
            "delta": {"message": {"tool_calls": {"function": {"arguments": "x"}}}},
        },
        {"event_type": "tool-calls-chunk", "text": "x", "tool_call_delta": {"name": "f", "parameters": {"a": "b"}}},
        {
            "event_type": "stream-end",
            "is_finished": True,
            "response": {"text": "x", "generations": [{"text": "y"}]},
        },
    ]
    for event in events:
        for wrong in spoilt(event):
            check_events(codec, [(None, wrong), (None, event)])
    for _ in range(300):
        check_reads(codec, random_json(rolled))
        check_events(codec, [(None, random_json(rolled))])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/chat", "cohere-chat"),
        ("/v1/chat", "cohere-chat-v1"),
        ("/v1/generate", "cohere-generate"),
        ("/v1/summarize", "cohere-generate"),
        ("/v1/embed", "cohere-embed"),
        ("/v2/embed", "cohere-embed"),
        ("/v2/rerank", "rerank"),
    ],
)
def test_paths_that_an_application_may_have_as_well(path: str, name: str) -> None:
    assert codec_for_path(path) is None
    assert codec_for_path(path, spoken="") is codec_for_path(path, spoken="cohere") is load_codec(name)


def test_recorded_exchanges_are_a_fixed_point() -> None:
    records = [
        record
        for record in (read_folder(folder()) if folder().is_dir() else ())
        if record.codec is not None and (record.provider == "cohere" or record.codec == "rerank")
    ]
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    texts = 0
    for record in records:
        codec = codec_for_path(urlsplit(record.url).path, spoken="")
        assert codec is not None
        fixed(record.body, codec.read_call(record.body).texts)
        if record.status == 200:
            texts += replies_are_fixed(codec, record)
    assert texts > 800


def replies_are_fixed(codec: Codec, record: Record) -> int:
    content = gzip.decompress(record.content) if record.gzipped else record.content
    framing = framing_for(dict(record.headers)["content-type"].partition(";")[0])
    if framing is None:
        body = json.loads(content)
        texts = codec.read_reply(body).texts
        fixed(body, texts)
        return len(texts)
    splitter, reader, count = framing.splitter(), codec.open_stream(), 0
    for raw in (*splitter.feed(content), splitter.finish()):
        event = framing.parse(raw)
        if event.is_json:
            read = reader.read(event.data, event.name)
            fixed(event.data, read.texts)
            count += len(read.texts)
    return count


def fixed(body: Any, texts: tuple[Text, ...]) -> None:
    check_texts(body, texts)
    assert (
        rewrite(body, edits_of([(text._replace(shadows=()), text.value) for text in texts if text.value])) == body
    )
