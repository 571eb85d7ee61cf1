"""bedrock-invoke: which format a maker's body is in, and every text of those that are in no other's."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest

from highflame_middleware.codecs import codec_for_body, codec_for_path, framing_for, load_codec
from highflame_middleware.codecs.bedrock_invoke import format_of
from highflame_middleware.codecs.parts import Codec, Params, PathRead, Summary, Text, dump_json, edits_of, rewrite
from tests.codecs.shapes import check_events, check_reads, check_texts, random_json, spoilt
from tests.replay.records import folder, read_folder

INVOKE = load_codec("bedrock-invoke")
ARN = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc/invoke"
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
BLOCKS = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
NOVA = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
CLAUDE = {**CHAT, "anthropic_version": "bedrock-2023-05-31"}

FORMATS: dict[str, tuple[str, Any, str]] = {
    "claude": ("/model/anthropic.claude-3/invoke", CLAUDE, "anthropic-messages"),
    "claude in a profile": ("/model/us.anthropic.claude-3-7%3A0/invoke", CLAUDE, "anthropic-messages"),
    "claude in a profile's ARN": (
        "/model/arn%3Aaws%3Abedrock%3Aus%3A1%3Ainference-profile%2Fus.anthropic.claude/invoke",
        CLAUDE,
        "anthropic-messages",
    ),
    "claude without a version": ("/model/anthropic.claude-3/invoke", CHAT, "anthropic-messages"),
    "claude's old prompt": ("/model/anthropic.claude-v2/invoke", {"prompt": "Human: hi"}, "bedrock-invoke"),
    "claude behind an ARN": (ARN, CLAUDE, "anthropic-messages"),
    "nova": ("/model/amazon.nova-lite-v1:0/invoke-with-response-stream", NOVA, "bedrock-converse"),
    "nova behind an ARN": (ARN, NOVA, "bedrock-converse"),
    "nova with a schema": (ARN, {**CHAT, "schemaVersion": "messages-v1"}, "bedrock-converse"),
    "titan": ("/model/amazon.titan-text-express-v1/invoke", {"inputText": "hi"}, "bedrock-invoke"),
    "titan with what it does not know": (
        "/model/amazon.titan-text/invoke",
        {**CLAUDE, "inputText": "hi"},
        "bedrock-invoke",
    ),
    "llama": ("/model/meta.llama3/invoke", {"prompt": "hi"}, "bedrock-invoke"),
    "gpt-oss": ("/model/openai.gpt-oss-20b-1:0/invoke", BLOCKS, "openai-chat"),
    "qwen that says it is claude": ("/model/qwen.qwen3/invoke", CLAUDE, "openai-chat"),
    "mistral's chat": ("/model/mistral.mistral-large-2407/invoke", CHAT, "openai-chat"),
    "a chat behind an ARN": (ARN, BLOCKS, "openai-chat"),
    "cohere": ("/model/cohere.command-r-v1:0/invoke", {"message": "hi", "messages": []}, "bedrock-invoke"),
    "nothing": (ARN, None, "bedrock-invoke"),
    "messages that are none": (ARN, {"messages": "hi"}, "bedrock-invoke"),
    "a version that is none": (ARN, {**CHAT, "anthropic_version": ["bedrock-2023"]}, "openai-chat"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_which_format_a_body_is_in(name: str) -> None:
    path, body, expected = FORMATS[name]
    assert format_of(path, body) == expected
    found = codec_for_path(path)
    assert found is INVOKE
    codec = codec_for_body(found, path, body)
    assert codec.name == expected
    # Whichever it is, the path says the model and the stream.
    assert codec.read_path(path) == INVOKE.read_path(path) != PathRead()


def test_other_formats_are_what_they_are() -> None:
    codec = load_codec("openai-chat")
    assert codec_for_body(codec, "/chat/completions", CLAUDE) is codec


# Marked "§": what the guard has to see. Nothing else in the bodies is marked.
CALLS: dict[str, Any] = {
    "titan": {
        "inputText": "§ hi",
        "textGenerationConfig": {"maxTokenCount": 9, "topP": 0.5, "stopSequences": ["END"]},
    },
    "titan embeddings": {"inputText": "§ hi", "dimensions": 256, "normalize": True, "embeddingTypes": ["float"]},
    "llama": {"prompt": "§ hi", "max_gen_len": 9, "temperature": 0.5},
    "cohere": {
        "message": "§ hi",
        "preamble": "§ be kind",
        "chat_history": [{"role": "USER", "message": "§ before"}],
        "documents": [{"title": "§ a title", "snippet": "§ a document"}],
        "tools": [
            {"name": "find", "description": "§ finds", "parameter_definitions": {"q": {"description": "§ q"}}}
        ],
        "tool_results": [{"call": {"name": "find", "parameters": {"q": "§ x"}}, "outputs": [{"text": "§ found"}]}],
    },
    "cohere embeddings": {
        "texts": ["§ a", "§ b"],
        "input_type": "search_query",
        "truncate": "NONE",
        "images": ["data:"],
    },
    "nova embeddings": {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_RETRIEVAL",
            "text": {"value": "§ hi", "truncationMode": "NONE"},
            "image": {"source": {"bytes": "iVBO"}},
        },
    },
    "stability": {"text_prompts": [{"text": "§ a cat", "weight": 1}], "init_image": "iVBO", "seed": 7},
    "a shape never seen": {"ask": {"deep": ["§ hi"]}},
}


def marked(body: Any) -> list[str]:
    if isinstance(body, str):
        return [body] if "§" in body else []
    below = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return [found for value in below for found in marked(value)]


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body = CALLS[name]
    texts = INVOKE.read_call(body).texts
    check_texts(body, texts)
    # What is not marked is read where it may as well be prose.
    extra = {"float", "USER", "find"}
    assert sorted(text.value for text in texts if text.value not in extra) == sorted(marked(body))


def test_what_kind_of_text_it_is() -> None:
    kinds = {text.value: (text.stage.value, text.role) for text in INVOKE.read_call(CALLS["cohere"]).texts}
    assert kinds["§ hi"] == ("prompt", "user")
    assert kinds["§ be kind"] == ("prompt", "system")
    assert kinds["§ finds"] == ("prompt", "tool_definition")
    assert kinds["§ found"] == ("tool_result", "tool")


def test_params() -> None:
    assert INVOKE.read_params(CALLS["titan"]) == Params(max_tokens=9, top_p=0.5, stop_sequences=("END",))
    assert INVOKE.read_params({"max_tokens": 5, "k": 3, "p": 0.1, "seed": 7}) == Params(
        max_tokens=5, top_p=0.1, top_k=3, seed=7
    )
    assert INVOKE.read_params([]) == Params()


def test_what_a_call_is_to_telemetry() -> None:
    assert INVOKE.operation_of("POST", "/model/amazon.titan-embed-text-v2%3A0/invoke") == "embeddings"
    assert INVOKE.operation_of("POST", "/model/amazon.titan-text-express-v1/invoke") == "text_completion"


REPLIES: dict[str, tuple[Any, list[str], Summary]] = {
    "titan": (
        {"inputTextTokenCount": 3, "results": [{"tokenCount": 4, "outputText": "§", "completionReason": "FINISH"}]},
        ["§"],
        Summary(finish_reasons=("FINISH",), input_tokens=3, output_tokens=4),
    ),
    "llama": (
        {"generation": "§", "prompt_token_count": 3, "generation_token_count": 4, "stop_reason": "stop"},
        ["§"],
        Summary(finish_reasons=("stop",), input_tokens=3, output_tokens=4),
    ),
    "mistral": (
        {"outputs": [{"text": "§", "stop_reason": "stop"}]},
        ["§"],
        Summary(finish_reasons=("stop",)),
    ),
    "deepseek": ({"choices": [{"text": "§", "stop_reason": "length"}]}, ["§"], Summary(finish_reasons=("length",))),
    "claude v2": (
        {"type": "completion", "completion": "§", "stop_reason": "stop_sequence"},
        ["§"],
        Summary(finish_reasons=("stop_sequence",)),
    ),
    "cohere": (
        {"id": "g", "generations": [{"id": "h", "text": "§", "finish_reason": "COMPLETE"}], "prompt": "§ echo"},
        ["§", "§ echo"],
        Summary(id="g", finish_reasons=("COMPLETE",)),
    ),
    "ai21": (
        {
            "id": 1,
            "completions": [
                {
                    "data": {"text": "§", "tokens": [{"generatedToken": {"token": "spelt"}}]},
                    "finishReason": {"reason": "endoftext"},
                }
            ],
        },
        ["§"],
        Summary(finish_reasons=("endoftext",)),
    ),
    "embeddings": ({"embedding": [0.1, 0.2], "inputTextTokenCount": 3}, [], Summary(input_tokens=3)),
    "an error": ({"message": "§"}, ["§"], Summary()),
    "a string": ("§", ["§"], Summary()),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply(name: str) -> None:
    body, expected, summary = REPLIES[name]
    read = INVOKE.read_reply(body)
    check_texts(body, read.texts)
    assert [text.value for text in read.texts if text.value != "endoftext"] == expected
    assert read.summary == summary


def test_tokens_go_with_the_text_that_they_spell_out() -> None:
    (text, *_) = INVOKE.read_reply(REPLIES["ai21"][0]).texts
    edited = rewrite(REPLIES["ai21"][0], edits_of([(text, "#")]))
    assert edited["completions"][0]["data"] == {"text": "#", "tokens": None}


def test_a_tool_called_in_a_reply() -> None:
    body = {"text": "", "tool_calls": [{"name": "find", "parameters": {"q": "§", "id": "§"}}]}
    texts = [text for text in INVOKE.read_reply(body).texts if text.stage == "tool_call"]
    assert [(text.tool, json.loads(text.value), text.structured) for text in texts] == [
        ("find", {"q": "§", "id": "§"}, True)
    ]


STREAMS: dict[str, tuple[list[Any], dict[Any, str]]] = {
    "titan": (
        [
            {"outputText": "a", "index": 0, "completionReason": None},
            {"outputText": "b", "index": 0, "completionReason": "FINISH", "inputTextTokenCount": 3},
            {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}},
        ],
        {("chunk", "outputText"): "ab"},
    ),
    "mistral": (
        [{"outputs": [{"text": "a", "stop_reason": None}]}, {"outputs": [{"text": "b", "stop_reason": "stop"}]}],
        {("chunk", "outputs", 0, "text"): "ab"},
    ),
    "cohere": (
        [
            {"event_type": "text-generation", "text": "a", "is_finished": False},
            {"event_type": "text-generation", "text": "b", "is_finished": False},
            {"event_type": "stream-end", "is_finished": True, "response": {"text": "ab", "generation_id": "g"}},
        ],
        {("chunk", "text"): "ab", None: "ab"},
    ),
    "bare words": (["a", "b"], {("chunk",): "ab"}),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_texts_of_a_stream(name: str) -> None:
    events, expected = STREAMS[name]
    reader = INVOKE.open_stream()
    texts: dict[Any, str] = {}
    for data in events:
        read = reader.read(data, "chunk")
        check_texts(data, read.texts)
        for text in read.texts:
            texts[text.channel] = texts.get(text.channel, "") + text.value
    assert texts == expected


def test_bedrocks_count_ends_a_stream() -> None:
    read = INVOKE.open_stream().read(STREAMS["titan"][0][2], "chunk")
    assert read.terminal
    assert read.summary == Summary(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    "place",
    [
        ("completion",),
        ("generation",),
        ("results", 0, "outputText"),
        ("outputs", 0, "text"),
        ("choices", 0, "text"),
        ("generations", 0, "text"),
        ("completions", 0, "data", "text"),
    ],
)
def test_a_refusal_stands_where_every_maker_would_put_it(place: tuple[str | int, ...]) -> None:
    body: Any = INVOKE.refuse("no")
    for key in place:
        body = body[key]
    assert body == "no"


def test_no_shape_makes_it_raise() -> None:
    for body in (*CALLS.values(), *(reply for reply, _, _ in REPLIES.values())):
        for wrong in spoilt(body):
            check_reads(INVOKE, wrong)
            format_of("/model/x/invoke", wrong)
    for events, _ in STREAMS.values():
        for data in events:
            check_events(INVOKE, [("chunk", wrong) for wrong in spoilt(data)])


def test_noise_makes_it_raise_nothing() -> None:
    rolled = random.Random(5)
    for _ in range(1500):
        body = random_json(rolled)
        check_reads(INVOKE, body)
        check_events(INVOKE, [("chunk", random_json(rolled)) for _ in range(3)])
        format_of(ARN, body)


def test_recorded_exchanges_are_a_fixed_point_in_their_formats() -> None:
    if not folder().is_dir():
        pytest.skip(f"no recorded traffic at {folder()} (TRAFFIC_DIR)")
    seen: Counter[str] = Counter()
    for record in read_folder(folder()):
        if record.codec != "bedrock-invoke":
            continue
        path = urlsplit(record.url).path
        codec = codec_for_body(INVOKE, path, record.body)
        seen[codec.name] += 1
        texts = codec.read_call(record.body).texts
        assert texts, record.source
        check_texts(record.body, texts)
        again = rewrite(record.body, edits_of([(text, text.value) for text in texts if text.value]))
        assert dump_json(again) == dump_json(record.body)
        check_reply(codec, record.content, embeds="embed" in path or "application-inference" in path)
    assert {"anthropic-messages", "bedrock-converse", "bedrock-invoke"} <= seen.keys()
    assert sum(seen.values()) > 50


def check_reply(codec: Codec, content: bytes, *, embeds: bool) -> None:
    if content[:1] != b"\0":
        body = json.loads(content)
        texts = codec.read_reply(body).texts
        check_texts(body, texts)
        assert texts or embeds or "message" in body
        return
    framing = framing_for("application/vnd.amazon.eventstream")
    assert framing is not None
    reader = codec.open_stream()
    found: list[Text] = []
    ends = 0
    traced = b"guardrailAction" in content or codec is INVOKE
    for raw in framing.splitter().feed(content):
        event = framing.parse(raw)
        assert event.is_json
        read = reader.read(event.data, event.name)
        check_texts(event.data, read.texts)
        found += read.texts
        ends += read.terminal
    assert len(found) > 1
    assert ends or traced, "a guardrail's last words come after the model's"
