"""bedrock-converse: every text is found where it stands, nothing else is, and no shape makes it raise."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, framing_for, load_codec
from highflame_middleware.codecs.parts import Params, Path, PathRead, Summary, Text, dump_json, edits_of, rewrite
from highflame_middleware.drivers import perform
from highflame_middleware.flow import run
from highflame_middleware.screens import screen_for
from highflame_middleware.testing import FakeGuard
from tests.codecs.messages import message
from tests.codecs.shapes import check_events, check_reads, check_texts, nested, random_json, spoilt
from tests.exchanges import exchange
from tests.replay.records import Record, folder, read_folder

CONVERSE = load_codec("bedrock-converse")
EVENTS = "application/vnd.amazon.eventstream"

# Marked "§": what the guard has to see. Nothing else in the body is marked.
CALL: dict[str, Any] = {
    "system": [
        {"text": "§ be kind"},
        {"guardContent": {"text": {"text": "§ be checked", "qualifiers": ["grounding_source"]}}},
        {"cachePoint": {"type": "default", "ttl": "5m"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": "§ hello"},
                {"image": {"format": "png", "source": {"bytes": "aVZCT1I="}}},
                {
                    "document": {
                        "format": "pdf",
                        "name": "§ a name",
                        "source": {"bytes": "SlZC"},
                        "context": "§ why",
                    }
                },
                {"document": {"format": "txt", "name": "§ b", "source": {"text": "§ a document"}}},
                {"document": {"format": "txt", "name": "§ c", "source": {"content": [{"text": "§ a chunk"}]}}},
                {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/k", "bucketOwner": "1"}}}},
                {"guardContent": {"text": {"text": "§ guard this", "qualifiers": ["query"]}}},
                {"searchResult": {"source": "§ from", "title": "§ title", "content": [{"text": "§ found"}]}},
                {"cachePoint": {"type": "default"}},
                {"newKind": {"prose": {"deep": ["§ a shape never seen"]}}},
                "§ a bare block",
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "§ hm", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "cmVk"}},
                {"toolUse": {"toolUseId": "t1", "name": "find", "input": {"q": "§ x", "name": "§ id"}}},
                {"toolUse": {"toolUseId": "t2", "name": "stop", "input": {}}},
                {"citationsContent": {"content": [{"text": "§ said"}], "citations": [{"title": "§ book"}]}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "toolResult": {
                        "toolUseId": "t1",
                        "status": "success",
                        "content": [
                            {"text": "§ a result"},
                            {"json": {"rows": ["§ a row"], "type": "§ t"}},
                            {"image": {"format": "png", "source": {"bytes": "aVZ="}}},
                            {"document": {"format": "txt", "name": "§ d", "source": {"text": "§ inside"}}},
                        ],
                    }
                }
            ],
        },
        "§ a bare message",
    ],
    "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
    "toolConfig": {
        "tools": [
            {
                "toolSpec": {
                    "name": "find",
                    "description": "§ finds things",
                    "inputSchema": {"json": {"properties": {"q": {"type": "string", "description": "§ what"}}}},
                }
            },
            {"cachePoint": {"type": "default"}},
        ],
        "toolChoice": {"tool": {"name": "find"}},
    },
    "outputConfig": {
        "textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"schema": '{"title":"§ s"}', "name": "n", "description": "§ out"}},
        }
    },
    "promptVariables": {"name": {"text": "§ a variable"}},
    "additionalModelRequestFields": {"thinking": {"type": "enabled"}, "preamble": "§ a field of the model's"},
    "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
    "requestMetadata": {"team": "core"},
    "serviceTier": {"type": "flex"},
}


def marked(body: Any, path: Path = ()) -> list[Path]:
    """The places of all texts with the mark in them; arguments and JSON results are one text each."""
    if isinstance(body, str):
        return [path] if "§" in body else []
    if path[-2:] == ("toolUse", "input") or (path[-1:] == ("json",) and path[-3:-2] == ("content",)):
        return [path]
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [found for key, below in items for found in marked(below, (*path, key))]


def brief(text: Text) -> tuple[Any, ...]:
    return (text.stage.value, text.role, text.tool, text.is_json)


def paths(texts: tuple[Text, ...]) -> list[str]:
    return sorted(str(text.path) for text in texts)


def test_every_text_of_a_call_and_nothing_else() -> None:
    read = CONVERSE.read_call(CALL)
    assert paths(read.texts) == sorted(map(str, marked(CALL)))
    check_texts(CALL, read.texts)
    assert {text.stage.value for text in read.texts} == {"prompt", "tool_call", "tool_result"}


C: Path = ("messages", 1, "content")
R: Path = ("messages", 2, "content", 0, "toolResult", "content")
STANDS: dict[str, tuple[Path, tuple[Any, ...]]] = {
    "system": (("system", 0, "text"), ("prompt", "system", None, False)),
    "user": (("messages", 0, "content", 0, "text"), ("prompt", "user", None, False)),
    "reasoning": ((*C, 0, "reasoningContent", "reasoningText", "text"), ("prompt", "assistant", None, False)),
    "arguments": ((*C, 2, "toolUse", "input"), ("tool_call", "assistant", "find", True)),
    "a call with nothing": ((*C, 3, "toolUse", "input"), ("tool_call", "assistant", "stop", True)),
    "a result": ((*R, 0, "text"), ("tool_result", "tool", None, False)),
    "a result as JSON": ((*R, 1, "json"), ("tool_result", "tool", None, True)),
    "a description": (
        ("toolConfig", "tools", 0, "toolSpec", "description"),
        ("prompt", "tool_definition", None, False),
    ),
}


@pytest.mark.parametrize("name", STANDS)
def test_where_a_text_of_a_call_stands(name: str) -> None:
    path, expected = STANDS[name]
    (text,) = [text for text in CONVERSE.read_call(CALL).texts if text.path == path]
    assert brief(text) == expected


def test_arguments_are_edited_as_one_object() -> None:
    (text,) = [text for text in CONVERSE.read_call(CALL).texts if text.tool == "find"]
    assert json.loads(text.value) == {"q": "§ x", "name": "§ id"}
    edited = rewrite(CALL, edits_of([(text, text.value.replace("§", "#"))]))
    assert edited["messages"][1]["content"][2]["toolUse"]["input"] == {"q": "# x", "name": "# id"}
    assert edited["messages"][1]["content"][2]["toolUse"]["toolUseId"] == "t1"


def test_a_call_without_any_input_is_a_call_all_the_same() -> None:
    body = {"messages": [{"role": "assistant", "content": [{"toolUse": {"name": "f"}}]}]}
    (text,) = CONVERSE.read_call(body).texts
    assert (text.value, text.tool, text.stage) == ("", "f", "tool_call")


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, nested(20_000, "§ deep")], ids=["bytes", "set", "deep"])
def test_arguments_that_are_no_json_are_read_string_by_string(value: Any) -> None:
    body = {"messages": [{"content": [{"toolUse": {"name": "f", "input": {"a": value, "b": "§ b"}}}]}]}
    texts = CONVERSE.read_call(body).texts
    assert "§ b" in [text.value for text in texts]
    assert not any(text.structured for text in texts)


def test_what_is_counted_is_read_like_what_is_sent() -> None:
    counted = {"input": {"converse": {"messages": CALL["messages"], "system": CALL["system"]}}}
    texts = CONVERSE.read_call(counted).texts
    assert paths(texts) == sorted(map(str, marked(counted)))
    invoked = {"input": {"invokeModel": {"body": {"messages": [{"role": "user", "content": "§"}]}}}}
    assert [text.value for text in CONVERSE.read_call(invoked).texts] == ["user", "§"]
    assert CONVERSE.read_call({"input": {"invokeModel": {"body": "eyJhIjoxfQ=="}}}).texts == ()


def test_params() -> None:
    assert CONVERSE.read_params(CALL) == Params(
        max_tokens=9, temperature=0.5, top_p=0.9, stop_sequences=("END",), output_type="json", service_tier="flex"
    )
    assert CONVERSE.read_params({"inferenceConfig": []}) == Params()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/model/amazon.nova-lite-v1%3A0/converse", PathRead("amazon.nova-lite-v1:0", stream=False)),
        ("/model/amazon.nova-lite-v1:0/converse-stream", PathRead("amazon.nova-lite-v1:0", stream=True)),
        (
            "/v1/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.meta/converse?a=b",
            PathRead("arn:aws:bedrock:us-east-1:1:inference-profile/us.meta", stream=False),
        ),
        ("/model/x/count-tokens", PathRead("x", stream=False)),
        ("/somewhere/else", PathRead()),
    ],
)
def test_what_a_path_says(path: str, expected: PathRead) -> None:
    assert CONVERSE.read_path(path) == expected
    if expected.model is not None:
        assert codec_for_path(path) is CONVERSE


# ------------------------------------------------------------------------------------------------- replies

REPLY: dict[str, Any] = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "§ hm", "signature": "c2ln"}}},
                {"text": "§ hello"},
                {"toolUse": {"toolUseId": "t", "name": "find", "input": {"q": "§ x"}, "type": "server_tool_use"}},
                {
                    "citationsContent": {
                        "content": [{"text": "§ said"}],
                        "citations": [
                            {
                                "title": "§ book",
                                "sourceContent": [{"text": "§ in it"}],
                                "location": {"documentChar": {"documentIndex": 0, "start": 1}},
                            }
                        ],
                    }
                },
                {"image": {"format": "png", "source": {"bytes": "aVZ="}, "error": {"message": "§ no picture"}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7, "cacheReadInputTokens": 10},
    "metrics": {"latencyMs": 5},
    "additionalModelResponseFields": {"note": "§ beside"},
    "trace": {
        "guardrail": {
            "modelOutput": ["§ what it had said"],
            "inputAssessment": {
                "g": {
                    "wordPolicy": {"customWords": [{"match": "§ word", "action": "BLOCKED"}]},
                    "contentPolicy": {"filters": [{"type": "HATE", "confidence": "LOW", "action": "NONE"}]},
                    "invocationMetrics": {"usage": {"topicPolicyUnits": 1}},
                }
            },
            "actionReason": "§ because",
        },
        "promptRouter": {"invokedModelId": "arn:aws:bedrock"},
    },
    "performanceConfig": {"latency": "standard"},
    "serviceTier": {"type": "default"},
}


def test_every_text_of_a_reply_and_nothing_else() -> None:
    read = CONVERSE.read_reply(REPLY)
    assert paths(read.texts) == sorted(map(str, marked(REPLY)))
    check_texts(REPLY, read.texts)
    assert {text.stage.value for text in read.texts} == {"response", "tool_call"}
    assert read.summary == Summary(
        finish_reasons=("tool_use",), input_tokens=13, output_tokens=4, cached_tokens=10, service_tier="default"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": "§ an error"}, ["§ an error"]),
        ({"inputTokens": 5}, []),
        ({"output": "§ words"}, ["§ words"]),
        ({"output": {"message": "§ words", "other": {"text": "§ more"}}}, ["§ words", "§ more"]),
        ("§ a string", ["§ a string"]),
        (None, []),
    ],
)
def test_replies_of_other_shapes(body: Any, expected: list[str]) -> None:
    assert [text.value for text in CONVERSE.read_reply(body).texts] == expected


def test_a_refusal_is_a_reply() -> None:
    reply = CONVERSE.refuse("blocked")
    assert [text.value for text in CONVERSE.read_reply(reply).texts] == ["blocked"]
    assert reply["stopReason"] == "guardrail_intervened"


# ------------------------------------------------------------------------------------------------- streams

STREAM: list[tuple[str, Any]] = [
    ("messageStart", {"role": "assistant", "p": "abcd"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "h"}}, "p": "ab"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "m"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "c2ln"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "he"}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "llo"}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"citation": {"title": "book", "source": "§"}}}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "find"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"q":'}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '"x"}'}}}),
    ("contentBlockStop", {"contentBlockIndex": 2}),
    ("messageStop", {"stopReason": "tool_use", "additionalModelResponseFields": {"note": "beside"}}),
    (
        "metadata",
        {
            "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
            "metrics": {"latencyMs": 4},
            "trace": {"guardrail": {"modelOutput": ["what it had said"]}},
        },
    ),
]


def gathered(
    events: list[tuple[str | None, Any]],
) -> tuple[dict[Any, tuple[str, str, str | None]], Summary, list[int]]:
    """Every channel's text, what the stream says of itself, and which events end it."""
    reader = CONVERSE.open_stream()
    texts: dict[Any, tuple[str, str, str | None]] = {}
    summary, ends = Summary(), []
    for index, (name, data) in enumerate(events):
        read = reader.read(data, name)
        check_texts(data, read.texts)
        for text in read.texts:
            before = texts.get(text.channel, ("", "", None))[1]
            texts[text.channel] = (text.stage.value, before + text.value, text.tool)
        summary = summary.updated(read.summary) if read.summary else summary
        ends += [index] if read.terminal else []
    return texts, summary, ends


@pytest.mark.parametrize("shape", ["converse", "nova"])
def test_the_texts_of_a_stream(shape: str) -> None:
    events: list[tuple[str | None, Any]] = list(STREAM)
    if shape == "nova":
        events = [("chunk", {name: data}) for name, data in STREAM]
    texts, summary, ends = gathered(events)
    said = sorted((stage, text, tool or "") for stage, text, tool in texts.values())
    assert said == sorted(
        [
            ("response", "hm", ""),
            ("response", "hello", ""),
            ("response", "book", ""),
            ("response", "§", ""),
            ("tool_call", '{"q":"x"}', "find"),
            ("response", "beside", ""),
            ("response", "what it had said", ""),
        ]
    )
    assert summary == Summary(finish_reasons=("tool_use",), input_tokens=1, output_tokens=2)
    assert ends == [14], "what it cost is said last"


def test_a_block_that_ends_closes_its_channels() -> None:
    reader = CONVERSE.open_stream()
    closed = [reader.read(data, name).closes for name, data in STREAM]
    assert [closes for closes in closed if closes] == [((0,),), ((1,),), ((2,),), ((),)], (
        "the last closes all that is open"
    )


def test_an_unknown_event_is_read() -> None:
    texts, _, _ = gathered(
        [("newEvent", {"say": "a", "p": "padding"}), ("newEvent", {"say": "b"}), (None, "words")]
    )
    assert [text for _, text, _ in texts.values()] == ["ab", "words"]


def test_an_error_is_an_exception_of_the_stream() -> None:
    assert CONVERSE.fail("no", "c") == ("validationException", {"message": "no"})


# ------------------------------------------------------------------------------------------- under a screen


def screened(events: list[tuple[str, Any]], guard: FakeGuard, size: int) -> bytes:
    content = b"".join(message(name, data) for name, data in events)
    screen = screen_for(exchange(guard=guard), status=200, content_type=EVENTS, codec=CONVERSE)
    assert screen is not None
    out = b"".join(run(screen.feed(content[at : at + size]), perform) for at in range(0, len(content), size))
    out += run(screen.finish(), perform)
    if screen.stopped is not None:
        out += screen.refusal(screen.stopped)
    return out


def read_back(content: bytes) -> list[tuple[str | None, Any]]:
    framing = framing_for(EVENTS)
    assert framing is not None
    return [(event.name, event.data) for event in map(framing.parse, framing.splitter().feed(content))]


SECRET: list[tuple[str, Any]] = [
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}, "p": "abc"})
    for piece in ("The S", "E", "CRET is ", "out.")
]
SECRET += [("contentBlockStop", {"contentBlockIndex": 0}), ("messageStop", {"stopReason": "end_turn"})]
TOOL: list[tuple[str, Any]] = [
    ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "find"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"q":"SEC'}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": 'RET"}'}}}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
]


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_a_secret_is_redacted_across_events(size: int) -> None:
    texts, _, _ = gathered(read_back(screened(SECRET + TOOL, FakeGuard(redact=["SECRET"]), size)))
    assert [text for _, text, _ in texts.values()] == ["The [redacted] is out.", '{"q":"[redacted]"}']


def test_what_is_not_edited_passes_byte_for_byte() -> None:
    content = b"".join(message(name, data) for name, data in STREAM)
    assert screened(STREAM, FakeGuard(redact=["SECRET"]), 50) == content


def test_a_denied_tool_is_never_called() -> None:
    out = read_back(screened(TOOL, FakeGuard(deny=["SECRET"]), 10))
    assert [name for name, _ in out] == ["validationException"]


def test_a_tool_called_with_nothing_is_asked_about() -> None:
    guard = FakeGuard()
    events = [TOOL[0], TOOL[-1]]
    assert screened(events, guard, 10) == b"".join(message(name, data) for name, data in events)
    assert [(request.stage, request.tool.name) for request in guard.requests if request.tool] == [
        ("tool_call", "find")
    ]


# ------------------------------------------------------------------------------------------------- hostile


def test_no_shape_makes_it_raise() -> None:
    for body in (CALL, REPLY):
        for wrong in spoilt(body):
            check_reads(CONVERSE, wrong)


def test_no_stream_makes_it_raise() -> None:
    for name, data in STREAM:
        for wrong in spoilt(data):
            check_events(CONVERSE, [(name, wrong), ("chunk", {name: wrong})])


def test_noise_makes_it_raise_nothing() -> None:
    rolled = random.Random(3)
    names = [name for name, _ in STREAM] + ["chunk", None, "x"]
    for _ in range(1500):
        body = random_json(rolled)
        check_reads(CONVERSE, body)
        check_events(CONVERSE, [(rolled.choice(names), random_json(rolled)) for _ in range(3)])
    deep = nested(5_000, "§")
    assert CONVERSE.read_call({"messages": deep}).texts
    assert CONVERSE.read_reply({"output": {"message": {"content": deep}}}).texts
    assert CONVERSE.open_stream().read({"delta": deep}, "contentBlockDelta").texts


# ------------------------------------------------------------------------------------------------ recorded


def recorded() -> list[Record]:
    if not folder().is_dir():
        pytest.skip(f"no recorded traffic at {folder()} (TRAFFIC_DIR)")
    return [record for record in read_folder(folder()) if record.codec == "bedrock-converse"]


def test_recorded_exchanges_are_a_fixed_point() -> None:
    records = recorded()
    assert len(records) > 200
    for record in records:
        texts = CONVERSE.read_call(record.body).texts
        check_texts(record.body, texts)
        again = rewrite(record.body, edits_of([(text, text.value) for text in texts if text.value]))
        assert dump_json(again) == dump_json(record.body)
        assert texts or "invokeModel" in record.body["input"], record.source
        if record.status == 200 and record.content[:1] == b"{":
            reply = json.loads(record.content)
            said = CONVERSE.read_reply(reply)
            check_texts(reply, said.texts)
            assert "inputTokens" in reply or said.summary.output_tokens is not None


def test_recorded_streams_say_what_they_count() -> None:
    streams = [record for record in recorded() if record.content[:1] == b"\0"]
    assert len(streams) > 15
    for record in streams:
        events = read_back(record.content)
        texts, summary, ends = gathered(events)
        assert len(ends) == 1, record.source
        assert (summary.output_tokens or 0) > 0
        whole = [
            data["delta"]["text"]
            for _, data in events
            if isinstance(data, dict) and "text" in data.get("delta", {})
        ]
        assert "".join(whole) == "".join(
            text for key, (_, text, _) in texts.items() if key and key[1:] == ("text",)
        )
