"""gemini, gemini-embeddings: every text is found where it stands, nothing else is, no shape makes them raise."""

from __future__ import annotations

import gzip
import json
import random
from functools import cache
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.google import both
from highflame_middleware.codecs.parts import Codec, Params, PathRead, Summary, Text, dump_json, edits_of, rewrite
from highflame_middleware.codecs.sse import Splitter, parse_event, render_event
from tests.codecs.shapes import at, check_events, check_reads, check_texts, random_json, spoilt
from tests.replay.records import Record, folder, read_folder

GEMINI, EMBEDDINGS = load_codec("gemini"), load_codec("gemini-embeddings")

PATHS: dict[str, str | None] = {
    "/v1beta/models/gemini-2.0-flash:generateContent": "gemini",
    "/v1beta/models/gemini-2.0-flash%3AgenerateContent": "gemini",
    "/v1beta/models/m:streamGenerateContent?alt=sse": "gemini",
    "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent": "gemini",
    "/v1/projects/p/locations/l/endpoints/7:generateContent": "gemini",
    "/v1beta/tunedModels/t:generateContent": "gemini",
    "/v1beta/models/m:countTokens": "gemini",
    "/v1beta/models/m:batchGenerateContent": "gemini",
    "/v1beta/batches/b": "gemini",
    "/v1beta/cachedContents": "gemini",
    "/v1beta/cachedContents/c": "gemini",
    "/v1beta/models/imagen-4:predict": "gemini",
    "/v1beta/models/veo-3:predictLongRunning": "gemini",
    "/v1beta/models/e:embedContent": "gemini-embeddings",
    "/v1beta/models/e:batchEmbedContents": "gemini-embeddings",
    "/v1/projects/p/locations/l/publishers/google/models/gemini-embedding-001:predict": "gemini-embeddings",
    "/v1/projects/p/locations/l/publishers/google/models/textembedding-gecko@003:predict": "gemini-embeddings",
    "/v1beta/models": None,
    "/v1beta/models/m": None,
    "/upload/v1beta/files": None,
    "/v1/batches/b": None,
    "/v1beta/openai/chat/completions": "openai-chat",
}


@pytest.mark.parametrize("path", PATHS)
def test_by_path(path: str) -> None:
    found = codec_for_path(path)
    assert (found.name if found else None) == PATHS[path]


MODELS: dict[str, PathRead] = {
    "/v1beta/models/gemini-2.0-flash:generateContent": PathRead("gemini-2.0-flash"),
    "/v1beta/models/a%20b%3AstreamGenerateContent?alt=sse": PathRead("a b", stream=True),
    "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent": PathRead("m", stream=True),
    "/v1beta/tunedModels/t:generateContent": PathRead("tunedModels/t"),
    "/v1/projects/p/locations/l/endpoints/7:generateContent": PathRead("endpoints/7"),
    "/v1beta/cachedContents": PathRead(),
    "/v1beta/models/m:generateContent?x=:streamGenerateContent": PathRead("m"),
    "": PathRead(),
}


@pytest.mark.parametrize("path", MODELS)
def test_the_model_and_the_stream_by_path(path: str) -> None:
    assert GEMINI.read_path(path) == MODELS[path]


OPERATIONS: dict[str, str | None] = {
    "/v1beta/models/m:generateContent": "generate_content",
    "/v1beta/models/m:streamGenerateContent": "generate_content",
    "/v1beta/models/m:batchGenerateContent": "generate_content",
    "/v1beta/models/imagen:predict": "generate_content",
    "/v1beta/models/m:countTokens": None,
    "/v1beta/cachedContents": None,
}


@pytest.mark.parametrize("path", OPERATIONS)
def test_what_a_call_is_to_telemetry(path: str) -> None:
    assert GEMINI.operation_of("POST", path) == OPERATIONS[path]
    assert EMBEDDINGS.operation_of("POST", path) == "embeddings"


# Marked "§": what the guard has to see. Nothing else in the body is marked.
CALL: dict[str, Any] = {
    "systemInstruction": {"role": "user", "parts": [{"text": "§ be kind"}]},
    "contents": [
        {"role": "user", "parts": [{"text": "§ hello"}, {"inlineData": {"mimeType": "image/png", "data": "AA"}}]},
        {"role": "model", "parts": [{"text": "§ thinking", "thought": True, "thoughtSignature": "c2ln"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"id": "1", "name": "find", "args": {"q": "§ x", "n": [1, {"deep": "§"}]}}},
                {"functionCall": {"name": "stop", "args": {}}},
                {"functionCall": {"name": "now"}},
                {"executableCode": {"language": "PYTHON", "code": "§ print(1)", "id": "c"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "§ 1", "id": "c"}},
                {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["§ q"]}, "id": "t"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "find", "response": {"result": "§ a\n§ b"}, "id": "1"}},
                {"functionResponse": {"name": "find", "response": {"rows": [{"a": "§"}, {"a": "§ 2"}], "n": 2}}},
                {
                    "functionResponse": {
                        "name": "find",
                        "response": {},
                        "parts": [{"inlineData": {"mimeType": "a/b", "data": "AA"}}, {"newKind": "§ said"}],
                    }
                },
                {"fileData": {"fileUri": "gs://b/o", "mimeType": "audio/wav"}},
                {"newKind": {"prose": ["§ a shape never seen"]}},
            ],
        },
        {"parts": {"text": "§ not in a list"}},
        "§ a bare content",
    ],
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": "find",
                    "description": "§ finds things",
                    "parameters": {
                        "type": "OBJECT",
                        "properties": {"q": {"type": "STRING", "description": "§ what"}},
                    },
                    "response": {"description": "§ what it found"},
                }
            ]
        },
        {"googleSearch": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["find"]}},
    "generationConfig": {
        "temperature": 0.5,
        "stopSequences": ["END"],
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "description": "§ the answer"},
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "labels": {"team": "core"},
    "cachedContent": "cachedContents/c",
    "newField": {"instruction": "§ a field never seen"},
}


def snake(value: Any) -> Any:
    """A body in the API's other spelling."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if isinstance(value, dict):
        return {min(both(key), key=lambda name: name == key): snake(item) for key, item in value.items()}
    return value


def marked(texts: tuple[Text, ...]) -> int:
    return sum(text.value.count("§") for text in texts)


@pytest.mark.parametrize("body", [CALL, snake(CALL)], ids=["camelCase", "snake_case"])
def test_every_text_of_a_call_and_nothing_else(body: Any) -> None:
    texts = GEMINI.read_call(body).texts
    check_texts(body, texts)
    assert marked(texts) == json.dumps(body, ensure_ascii=False).count("§"), "each once"
    unmarked = [(text.stage.value, text.value, text.tool) for text in texts if "§" not in text.value]
    assert unmarked == [("tool_call", "{}", "stop"), ("tool_call", "", "now")]


@pytest.mark.parametrize("body", [CALL, snake(CALL)], ids=["camelCase", "snake_case"])
def test_what_each_text_is(body: Any) -> None:
    found = [
        (text.stage.value, text.role, text.tool, text.structured, text.value)
        for text in GEMINI.read_call(body).texts
        if "§" in text.value
    ]
    rows = '{"rows":[{"a":"§"},{"a":"§ 2"}],"n":2}'
    expected = [
        ("prompt", "system", None, False, "§ be kind"),
        ("prompt", "user", None, False, "§ hello"),
        ("prompt", "assistant", None, False, "§ thinking"),
        ("tool_call", "assistant", "find", True, '{"q":"§ x","n":[1,{"deep":"§"}]}'),
        ("tool_call", "assistant", "code_execution", False, "§ print(1)"),
        ("tool_result", "tool", "code_execution", False, "§ 1"),
        ("tool_call", "assistant", "GOOGLE_SEARCH_WEB", True, '{"queries":["§ q"]}'),
        ("tool_result", "tool", "find", False, "§ a\n§ b"),
        ("tool_result", "tool", "find", True, rows),
        ("tool_result", "tool", "find", False, "§ said"),
        ("prompt", "user", None, False, "§ a shape never seen"),
        ("prompt", "user", None, False, "§ not in a list"),
        ("prompt", "user", None, False, "§ a bare content"),
        ("prompt", "tool_definition", None, False, "§ finds things"),
        ("prompt", "tool_definition", None, False, "§ what"),
        ("prompt", "tool_definition", None, False, "§ what it found"),
        ("prompt", "tool_definition", None, False, "§ the answer"),
        ("prompt", "user", None, False, "§ a field never seen"),
    ]
    assert sorted(map(str, found)) == sorted(map(str, expected))


OTHERS: dict[str, tuple[Codec, Any, list[str]]] = {
    "a count": (
        GEMINI,
        {"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "a"}]}]}},
        ["a"],
    ),
    "a cache": (
        GEMINI,
        {"model": "models/m", "displayName": "d", "ttl": "9s", "contents": [{"parts": [{"text": "a"}]}]},
        ["a"],
    ),
    "a batch": (
        GEMINI,
        {
            "batch": {
                "displayName": "d",
                "inputConfig": {
                    "requests": {
                        "requests": [
                            {"request": {"contents": [{"parts": [{"text": "a"}]}]}},
                            {"request": {"systemInstruction": {"parts": [{"text": "b"}]}}},
                        ]
                    }
                },
            }
        },
        ["a", "b"],
    ),
    "an image": (
        GEMINI,
        {"instances": [{"prompt": "a", "image": {"bytesBase64Encoded": "AA"}}], "parameters": {"sampleCount": 1}},
        ["a"],
    ),
    "one embedding": (
        EMBEDDINGS,
        {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_DOCUMENT", "title": "b"},
        ["a", "b"],
    ),
    "embeddings": (EMBEDDINGS, {"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}}]}, ["a"]),
    "predicted embeddings": (
        EMBEDDINGS,
        {"instances": [{"content": "a", "task_type": "X"}], "parameters": {}},
        ["a"],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_texts_of_other_calls(name: str) -> None:
    codec, body, expected = OTHERS[name]
    assert [text.value for text in codec.read_call(body).texts] == expected


def test_an_edited_tool_call_is_an_object_again() -> None:
    texts = [text for text in GEMINI.read_call(CALL).texts if text.structured]
    edited = rewrite(CALL, edits_of([(text, text.value.replace("§", "#")) for text in texts]))
    assert edited["contents"][2]["parts"][0]["functionCall"]["args"] == {"q": "# x", "n": [1, {"deep": "#"}]}
    assert edited["contents"][3]["parts"][1]["functionResponse"]["response"]["rows"][1] == {"a": "# 2"}


def test_parameters() -> None:
    asked = {
        "temperature": 1,
        "topP": 0.5,
        "topK": 40.0,
        "maxOutputTokens": 7,
        "candidateCount": 2,
        "seed": 3,
        "stopSequences": ["x"],
        "frequencyPenalty": 0.25,
        "presencePenalty": 0.125,
        "responseModalities": ["TEXT"],
    }
    expected = Params(
        max_tokens=7,
        temperature=1.0,
        top_p=0.5,
        top_k=40,
        frequency_penalty=0.25,
        presence_penalty=0.125,
        seed=3,
        choice_count=2,
        stop_sequences=("x",),
        output_type="text",
    )
    for body in ({"generationConfig": asked}, snake({"generationConfig": asked})):
        assert GEMINI.read_params(body) == expected
    assert GEMINI.read_params(CALL).output_type == "json"
    assert GEMINI.read_params({"generationConfig": {"responseModalities": ["IMAGE"]}}).output_type == "image"
    assert EMBEDDINGS.read_params({"requests": [{"outputDimensionality": 8}]}).dimensions == 8
    assert EMBEDDINGS.read_params({"parameters": {"outputDimensionality": 8}}).dimensions == 8


USAGE = {
    "promptTokenCount": 10,
    "toolUsePromptTokenCount": 2,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 4,
    "cachedContentTokenCount": 6,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
}
REPLY: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "§ thought", "thought": True},
                    {"text": "§ said", "thoughtSignature": "AA"},
                    {"functionCall": {"name": "find", "args": {"q": "§"}}},
                ],
            },
            "finishReason": "STOP",
            "finishMessage": "§ done",
            "citationMetadata": {"citationSources": [{"uri": "https://§", "startIndex": 1}]},
            "groundingMetadata": {
                "webSearchQueries": ["§ query"],
                "searchEntryPoint": {"renderedContent": "<b>§</b>", "sdkBlob": ""},
                "groundingChunks": [{"web": {"uri": "https://§", "title": "§"}}],
                "groundingSupports": [{"segment": {"text": "§ said", "endIndex": 3}}],
            },
            "logprobsResult": {"chosenCandidates": [{"token": "said", "logProbability": -1}]},
            "safetyRatings": [{"category": "X", "probability": "LOW"}],
        },
        {"content": {"parts": [{"text": "§ second"}]}, "index": 1},
    ],
    "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "§ why"},
    "usageMetadata": USAGE,
    "modelVersion": "m-1",
    "responseId": "r",
}


def test_every_text_of_a_reply() -> None:
    read = GEMINI.read_reply(REPLY)
    check_texts(REPLY, read.texts)
    assert marked(read.texts) == json.dumps(REPLY, ensure_ascii=False).count("§")
    assert all("§" in text.value for text in read.texts)
    first = [text for text in read.texts if text.path[:2] == ("candidates", 0)]
    assert {text.shadows for text in first} == {(("candidates", 0, "logprobsResult"),)}
    assert all(not text.shadows for text in read.texts if text not in first)
    assert read.summary == Summary(
        id="r",
        model="m-1",
        finish_reasons=("STOP",),
        input_tokens=12,
        output_tokens=9,
        cached_tokens=6,
        reasoning_tokens=4,
    )


def test_a_stream_that_came_as_a_list() -> None:
    read = GEMINI.read_reply([REPLY, {"candidates": [{"content": {"parts": [{"text": "§ more"}]}}]}])
    assert read.texts[-1].path == (1, "candidates", 0, "content", "parts", 0, "text")
    assert read.summary.input_tokens == 12


def test_embeddings_hold_no_text() -> None:
    vertex = {"predictions": [{"embeddings": {"statistics": {"token_count": 4}, "values": [0.5]}}] * 2}
    assert EMBEDDINGS.read_reply(vertex).summary == Summary(input_tokens=8)
    gemini = {"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 3}}
    assert EMBEDDINGS.read_reply(gemini).summary == Summary(input_tokens=3)
    assert EMBEDDINGS.read_reply(gemini).texts == ()


# ---------------------------------------------------------------------------------------------------- streams


def event(*parts: Any, **fields: Any) -> dict[str, Any]:
    said = [{"text": part} if isinstance(part, str) else part for part in parts]
    return {"candidates": [{"content": {"parts": said}, **fields}]}


def channels(*events: Any) -> list[list[Any]]:
    reader = GEMINI.open_stream()
    return [[text.channel for text in reader.read(data, None).texts] for data in events]


def test_pieces_of_one_text_have_one_channel() -> None:
    thought = {"text": "x", "thought": True}
    first, second, third = channels(event(thought), event(thought, "a"), event("b", index=1))
    assert first[0] == second[0]
    assert len({first[0], second[1], third[0]}) == 3


def test_a_text_ends_with_the_stream_and_not_with_a_reason() -> None:
    """Some models give one in every event."""
    assert GEMINI.open_stream().read(event("a", finishReason="STOP"), None).closes == ()


def test_what_stands_whole_in_an_event_is_no_piece() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    data = event(call, {"executableCode": {"code": "c"}}, groundingMetadata={"webSearchQueries": ["q"]})
    assert channels(data) == [[None, None, None]]


def test_arguments_that_are_written_in_pieces() -> None:
    def partial(text: str, name: str | None = None, *, more: bool) -> dict[str, Any]:
        named = {"name": name} if name else {}
        given = [{"jsonPath": "$.city", "stringValue": text, "willContinue": True}]
        return event({"functionCall": {**named, "partialArgs": given, "willContinue": more}})

    reader = GEMINI.open_stream()
    events = [partial("New ", "find", more=True), partial("York", more=True), event({"functionCall": {}})]
    reads = [reader.read(data, None) for data in events]
    (first,), (second,) = reads[0].texts, reads[1].texts
    assert (first.value + second.value, second.stage, second.tool) == ("New York", "tool_call", "find")
    assert first.channel == second.channel is not None
    assert [read.closes for read in reads] == [(), (), (first.channel[:3],)]
    (other,) = reader.read(partial("Rome", "find", more=False), None).texts
    assert other.channel != first.channel, "another call"


def test_an_error_in_a_stream_is_read_whole() -> None:
    read = GEMINI.open_stream().read({"error": {"code": 500, "message": "broke"}}, None)
    assert [text.value for text in read.texts] == ["broke"]


# --------------------------------------------------------------------------------------------------- no and never


def test_a_refusal_is_a_stopped_candidate() -> None:
    read = GEMINI.read_reply(GEMINI.refuse("Blocked: x"))
    assert [text.value for text in read.texts] == ["Blocked: x"]
    assert read.summary.finish_reasons == ("SAFETY",)
    name, data = GEMINI.fail("x", "c")
    assert (name, data["error"]["message"]) == (None, "x")


def test_no_shape_makes_it_raise() -> None:
    small = {
        "systemInstruction": {"parts": [{"text": "a"}]},
        "contents": [
            {"role": "model", "parts": [CALL["contents"][2]["parts"][0], CALL["contents"][3]["parts"][1]]}
        ],
        "tools": [{"functionDeclarations": [{"description": "d"}]}],
        "generationConfig": {"stopSequences": ["a"], "responseModalities": ["TEXT"]},
    }
    for codec, body in ((GEMINI, small), (GEMINI, REPLY), (EMBEDDINGS, OTHERS["embeddings"][1])):
        for wrong in spoilt(body):
            check_reads(codec, wrong)
    predicted = {"predictions": [{"embeddings": {"statistics": {"token_count": 4}}}]}
    for wrong in spoilt(predicted):
        check_reads(EMBEDDINGS, wrong)


def test_no_event_makes_it_raise() -> None:
    partial = {
        "functionCall": {
            "name": "f",
            "partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}],
            "willContinue": True,
        }
    }
    good = event("a", partial, {"functionCall": {"name": "g", "args": {"a": "b"}}}, finishReason="STOP", index=0)
    for data in spoilt({**good, "usageMetadata": {"promptTokenCount": 1}}):
        check_events(GEMINI, [(None, good), (None, data), (None, good)])


def test_no_random_body_makes_it_raise() -> None:
    rolled = random.Random(17)
    for _ in range(1000):
        for codec in (GEMINI, EMBEDDINGS):
            body = random_json(rolled)
            check_reads(codec, body)
            check_events(codec, [(None, {"candidates": [{"content": {"parts": [body]}}]}) for _ in range(2)])


def test_nothing_is_too_deep() -> None:
    for key in ("args", "response", "parts", "contents"):
        deep: Any = "x"
        for level in range(20_000):
            deep = [deep] if level % 2 else {key: deep}
        body = {
            "contents": [
                {
                    "parts": [
                        {"functionCall": {"name": "f", "args": deep}},
                        {"functionResponse": {"response": deep}},
                        deep,
                    ]
                }
            ]
        }
        assert len(GEMINI.read_call(body).texts) >= 2


# --------------------------------------------------------------------------------------------------- recordings


@cache
def recordings() -> tuple[Record, ...]:
    if not folder().is_dir():
        return ()
    return tuple(record for record in read_folder(folder()) if (record.codec or "").startswith("gemini"))


def fixed(read: Any, body: Any) -> int:
    texts = read(body)
    check_texts(body, texts)
    said = [text for text in texts if text.value]
    again = json.loads(
        dump_json(rewrite(body, edits_of([(text._replace(shadows=()), text.value) for text in said])))
    )
    assert again == body
    assert read(again) == texts
    other = [
        (text, dump_json([json.loads(text.value)]).decode() if text.structured else f"<{text.value}>")
        for text in said
    ]
    edited = json.loads(dump_json(rewrite(body, edits_of(other))))
    for text, value in other:
        found = at(edited, text.path)
        assert (dump_json(found).decode() if text.structured else found) == value
    return len(texts)


@pytest.mark.parametrize("name", ["gemini", "gemini-embeddings"])
def test_recorded_exchanges_are_a_fixed_point(name: str) -> None:
    records = [record for record in recordings() if record.codec == name]
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    codec = load_codec(name)
    texts = 0
    for record in records:
        texts += fixed(lambda body: codec.read_call(body).texts, record.body)
        content = gzip.decompress(record.content) if record.content[:2] == b"\x1f\x8b" else record.content
        if record.stream:
            texts += stream_is_fixed(codec, content)
        elif content:
            texts += fixed(lambda body: codec.read_reply(body).texts, json.loads(content))
    assert texts > (1000 if name == "gemini" else 15)


def stream_is_fixed(codec: Codec, content: bytes) -> int:
    splitter = Splitter()
    events = [*splitter.feed(content), splitter.finish()]
    reader, count = codec.open_stream(), 0
    for raw in events:
        event = parse_event(raw)
        if not event.is_json:
            assert event.text is None
            continue
        texts = reader.read(event.data, event.name).texts
        check_texts(event.data, texts)
        count += len(texts)
        written = [(text._replace(shadows=()), text.value) for text in texts if text.value]
        again = parse_event(render_event(event, rewrite(event.data, edits_of(written))))
        assert (again.data, again.name) == (event.data, event.name)
    return count


def test_what_is_read_of_recordings_is_where_it_stands() -> None:
    """No part of a recorded call or reply that has a text of its own is passed over."""
    for record in recordings():
        read = {text.path for text in load_codec(record.codec or "").read_call(record.body).texts}
        for index, content in enumerate(record.body.get("contents", ())):
            for number, part in enumerate(content.get("parts", ())):
                place = ("contents", index, "parts", number)
                if part.get("text"):
                    assert (*place, "text") in read
                for key in ("functionCall", "function_call"):
                    if key in part:
                        assert (*place, key, "args") in read
                        assert at(record.body, (*place, key)) is part[key]
