"""anthropic-messages: every text is found where it stands, nothing else is, and no shape makes it raise."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, codec_for_reply, codec_for_shape, load_codec
from highflame_middleware.codecs.parts import Params, Path, PathRead, Summary, Text, dump_json, edits_of, rewrite
from tests.codecs.shapes import check_events, check_reads, check_texts, nested, random_json, spoilt
from tests.replay.records import Record, folder, read_folder

MESSAGES = load_codec("anthropic-messages")

# Marked "§": what the guard has to see. Nothing else in the body is marked.
CALL: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 10,
    "system": [{"type": "text", "text": "§ be kind", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
    "messages": [
        {"role": "user", "content": "§ hello"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "§ what is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBOR"}},
                {"type": "image", "source": {"type": "url", "url": "https://images/1.png?key=1"}},
                {
                    "type": "document",
                    "title": "§ a title",
                    "context": "§ a context",
                    "citations": {"enabled": True},
                    "source": {"type": "text", "media_type": "text/plain", "data": "§ the document"},
                },
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVB"}},
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "§ a chunk"}]},
                },
                {
                    "type": "search_result",
                    "source": "§ where it is from",
                    "title": "§ a result",
                    "content": [{"type": "text", "text": "§ what it says"}],
                },
                {"type": "container_upload", "file_id": "file_1"},
                {"type": "new_kind", "prose": {"deep": ["§ a shape never seen"]}, "data": "§ not encoded"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "§ let me think", "signature": "AAAA"},
                {"type": "redacted_thinking", "data": "BBBB"},
                {"type": "text", "text": "§ one moment", "citations": [{"cited_text": "§ cited", "type": "c"}]},
                {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"name": "§", "id": ["§"]}},
                {"type": "tool_use", "id": "toolu_2", "name": "stop", "input": {}},
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "§"}},
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "srv_1",
                    "content": [
                        {"type": "web_search_result", "title": "§ found", "url": "§u", "encrypted_content": "CC"}
                    ],
                },
                {"type": "mcp_tool_use", "id": "mcp_1", "name": "ask", "server_name": "s", "input": {"q": "§"}},
                {"type": "mcp_tool_result", "tool_use_id": "mcp_1", "content": [{"type": "text", "text": "§ m"}]},
                {
                    "type": "bash_code_execution_tool_result",
                    "tool_use_id": "srv_9",
                    "content": {"type": "r", "stdout": "§ out", "stderr": "§ err", "return_code": 0},
                },
                {"type": "compaction", "content": "§ what was said before", "encrypted_content": "DD"},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "§ found nothing"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "§ stopped"},
                        {"type": "tool_reference", "tool_name": "find"},
                        {"type": "document", "source": {"type": "text", "data": "§ a file"}},
                    ],
                },
            ],
        },
        {"role": "system", "content": [{"type": "tool_addition", "tool": {"description": "§ a new tool"}}]},
        "§ a bare message",
    ],
    "tools": [
        {
            "name": "find",
            "description": "§ finds things",
            "input_schema": {
                "type": "object",
                "properties": {"q": {"type": "string", "description": "§ the question"}},
                "required": ["q"],
            },
            "input_examples": [{"q": "§ for example"}],
        },
        {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["example.org"]},
    ],
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"description": "§ a schema"}}},
    "context_management": {"edits": [{"type": "compact_20260112", "instructions": "§ how to sum up"}]},
    "mcp_servers": [{"type": "url", "name": "s", "url": "https://mcp", "authorization_token": "t"}],
    "tool_choice": {"type": "tool", "name": "find"},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "ada"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stream": True,
    "new_setting": "§ what is it?",
}
A: Path = ("messages", 2, "content")
# Arguments are one text each, wherever in them the mark stands.
INPUTS = [(*A, 3, "input"), (*A, 5, "input"), (*A, 7, "input")]
EMPTY_CALL: Path = (*A, 4, "input")


def marked(body: Any, path: Path = ()) -> list[Path]:
    """The places of all texts with the mark in them, arguments taken as one."""
    if path in INPUTS:
        return [path]
    if isinstance(body, str):
        return [path] if "§" in body else []
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [found for key, below in items for found in marked(below, (*path, key))]


def brief(text: Text) -> tuple[Any, ...]:
    """A text without its value and path."""
    return (text.stage.value, text.role, text.tool, text.is_json)


def test_every_text_of_a_call_and_nothing_else() -> None:
    read = MESSAGES.read_call(CALL)
    assert (read.model, read.stream) == ("claude", True)
    assert sorted(str(text.path) for text in read.texts) == sorted(map(str, [*marked(CALL), EMPTY_CALL]))
    check_texts(CALL, read.texts)


U: Path = ("messages", 1, "content")
R: Path = ("messages", 3, "content")
PROMPTS: dict[str, tuple[Path, tuple[Any, ...]]] = {
    "system": (("system", 0, "text"), ("prompt", "system", None, False)),
    "user": (("messages", 0, "content"), ("prompt", "user", None, False)),
    "a block": ((*U, 0, "text"), ("prompt", "user", None, False)),
    "a document": ((*U, 3, "source", "data"), ("prompt", "user", None, False)),
    "a search result": ((*U, 6, "content", 0, "text"), ("prompt", "user", None, False)),
    "an unknown block": ((*U, 8, "prose", "deep", 0), ("prompt", "user", None, False)),
    "thinking": ((*A, 0, "thinking"), ("prompt", "assistant", None, False)),
    "a citation": ((*A, 2, "citations", 0, "cited_text"), ("prompt", "assistant", None, False)),
    "arguments": ((*A, 3, "input"), ("tool_call", "assistant", "find", True)),
    "a call with nothing": (EMPTY_CALL, ("tool_call", "assistant", "stop", True)),
    "a server's tool": ((*A, 5, "input"), ("tool_call", "assistant", "web_search", True)),
    "its result": ((*A, 6, "content", 0, "title"), ("tool_result", "tool", "web_search", False)),
    "an MCP tool's result": ((*A, 8, "content", 0, "text"), ("tool_result", "tool", "ask", False)),
    "a result of a call not seen": ((*A, 9, "content", "stdout"), ("tool_result", "tool", None, False)),
    "a compaction": ((*A, 10, "content"), ("prompt", "assistant", None, False)),
    "a result": ((*R, 0, "content"), ("tool_result", "tool", "find", False)),
    "a result in blocks": ((*R, 1, "content", 0, "text"), ("tool_result", "tool", "stop", False)),
    "a document in a result": ((*R, 1, "content", 2, "source", "data"), ("tool_result", "tool", "stop", False)),
    "a bare message": (("messages", 5), ("prompt", "user", None, False)),
    "a tool's description": (("tools", 0, "description"), ("prompt", "tool_definition", None, False)),
    "a tool's example": (("tools", 0, "input_examples", 0, "q"), ("prompt", "tool_definition", None, False)),
    "a schema's": (
        ("output_config", "format", "schema", "description"),
        ("prompt", "tool_definition", None, False),
    ),
    "what is not known": (("new_setting",), ("prompt", "user", None, False)),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_where_a_text_of_a_call_stands(name: str) -> None:
    path, expected = PROMPTS[name]
    (text,) = [text for text in MESSAGES.read_call(CALL).texts if text.path == path]
    assert brief(text) == expected


def test_a_system_prompt_in_words() -> None:
    (text,) = MESSAGES.read_call({"system": "x", "messages": []}).texts
    assert (text.path, text.role) == (("system",), "system")


def test_an_edit_keeps_every_other_field() -> None:
    before = copy.deepcopy(CALL)
    texts = MESSAGES.read_call(CALL).texts
    edited = rewrite(CALL, edits_of([(text, text.value.replace("§", "#")) for text in texts]))
    assert before == CALL
    assert "§" not in json.dumps(edited, ensure_ascii=False)
    assert edited["messages"][2]["content"][3]["input"] == {"name": "#", "id": ["#"]}
    back = rewrite(edited, edits_of([(text, text.value) for text in texts]))
    assert back == before


def test_a_batch_is_its_calls() -> None:
    body = {"requests": [{"custom_id": "1", "params": CALL}, {"custom_id": "2", "params": {"messages": ["x"]}}, 5]}
    read = MESSAGES.read_call(body)
    one = [text.path for text in MESSAGES.read_call(CALL).texts]
    assert [text.path for text in read.texts] == [
        *[("requests", 0, "params", *path) for path in one],
        ("requests", 1, "params", "messages", 0),
    ]
    assert (read.model, read.stream) == (None, False)


def test_another_applications_call_is_read_whole() -> None:
    texts = MESSAGES.read_call({"question": "x", "name": "y"}).texts
    assert [(text.path, text.stage.label) for text in texts] == [(("question",), "prompt"), (("name",), "prompt")]


# ------------------------------------------------------------------------------------------------- replies


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        **fields,
    }


B: Path = ("content", 0)
SAID = ("response", "assistant", None, False)
REPLIES: dict[str, tuple[Any, list[tuple[Path, tuple[Any, ...]]]]] = {
    "text": (message({"type": "text", "text": "x", "citations": None}), [((*B, "text"), SAID)]),
    "thinking": (
        message({"type": "thinking", "thinking": "x", "signature": "AA=="}, {"type": "text", "text": "y"}),
        [((*B, "thinking"), SAID), (("content", 1, "text"), SAID)],
    ),
    "redacted thinking": (message({"type": "redacted_thinking", "data": "AA=="}), []),
    "a call": (
        message({"type": "tool_use", "id": "t", "name": "f", "input": {"id": "x"}}),
        [((*B, "input"), ("tool_call", "assistant", "f", True))],
    ),
    "a call with an input that is no object": (
        message({"type": "tool_use", "id": "t", "name": "f", "input": "x"}),
        [((*B, "input"), ("tool_call", "assistant", "f", True))],
    ),
    "a call without an input": (
        message({"type": "tool_use", "id": "t", "name": "f"}, {"type": "tool_use", "name": "g", "input": None}),
        [
            ((*B, "input"), ("tool_call", "assistant", "f", True)),
            (("content", 1, "input"), ("tool_call", "assistant", "g", True)),
        ],
    ),
    "a search and its result": (
        message(
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "s",
                "content": [{"type": "web_search_result", "url": "x", "encrypted_content": "AA", "page_age": None}],
            },
        ),
        [
            ((*B, "input"), ("tool_call", "assistant", "web_search", True)),
            (("content", 1, "content", 0, "url"), ("tool_result", "tool", "web_search", False)),
        ],
    ),
    "a listing of tools": (
        message(
            {
                "type": "mcp_tool_listing",
                "mcp_server_name": "s",
                "tools": [{"name": "f", "description": "x", "input_schema": {"description": "y"}}],
            }
        ),
        [
            ((*B, "tools", 0, "input_schema", "description"), ("prompt", "tool_definition", None, False)),
            ((*B, "tools", 0, "description"), SAID),
        ],
    ),
    "a refusal": (
        message(stop_reason="refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "x"}),
        [(("stop_details", "explanation"), SAID)],
    ),
    "an unknown block": (message({"type": "poem", "lines": ["x"], "id": "p"}), [((*B, "lines", 0), SAID)]),
    "content in words": ({**message(), "content": "x"}, [(("content",), SAID)]),
    "an error": (
        {"type": "error", "error": {"type": "api_error", "message": "x"}, "request_id": "req_1"},
        [(("error", "message"), SAID)],
    ),
    "a batch's line": (
        {"custom_id": "1", "result": {"type": "succeeded", "message": message({"type": "text", "text": "x"})}},
        [(("result", "message", "content", 0, "text"), SAID)],
    ),
    "a batch": (
        {
            "id": "b",
            "type": "message_batch",
            "processing_status": "ended",
            "results_url": "https://r",
            "created_at": "t",
        },
        [],
    ),
    "batches": ({"data": [{"id": "b", "type": "message_batch"}], "has_more": False, "first_id": "b"}, []),
    "a count": ({"input_tokens": 5}, []),
    "no message at all": ({"answer": {"name": "x", "id": "1"}}, [(("answer", "name"), SAID)]),
    "a string": ("x", [((), SAID)]),
    "a list": (["x", {"id": "1"}], [((0,), SAID)]),
    "nothing said": (message({"type": "text", "text": ""}), []),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply_and_nothing_else(name: str) -> None:
    body, expected = REPLIES[name]
    texts = MESSAGES.read_reply(body).texts
    assert [(text.path, brief(text)) for text in texts] == expected
    check_texts(body, texts)


USAGE = {
    "input_tokens": 11,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 20,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}


def test_what_a_reply_says_of_itself() -> None:
    """The input is all that was read, from a cache or into it or neither: the API counts them apart."""
    assert MESSAGES.read_reply(message(usage=USAGE)).summary == Summary(
        id="msg_1",
        model="claude",
        finish_reasons=("end_turn",),
        input_tokens=131,
        output_tokens=7,
        cached_tokens=100,
        cache_written_tokens=20,
        reasoning_tokens=2,
    )
    assert MESSAGES.read_reply(message(usage={"input_tokens": 1, "output_tokens": 2})).summary.input_tokens == 1
    assert MESSAGES.read_reply(message(usage={"cache_read_input_tokens": 1})).summary.input_tokens is None


PARAMS: dict[str, tuple[dict[str, Any], Params]] = {
    "none": ({}, Params()),
    "all": (
        {
            "max_tokens": 5,
            "temperature": 1,
            "top_p": 0.5,
            "top_k": 3,
            "stop_sequences": ["a", "b"],
            "output_config": {"format": {"type": "json_schema"}},
        },
        Params(
            max_tokens=5,
            temperature=1.0,
            top_p=0.5,
            top_k=3,
            stop_sequences=("a", "b"),
            output_type="json",
        ),
    ),
    "the older format": ({"output_format": {"type": "json_schema"}}, Params(output_type="json")),
    "of wrong types": ({"max_tokens": "5", "top_k": True, "stop_sequences": 3, "output_config": [1]}, Params()),
}


@pytest.mark.parametrize("name", PARAMS)
def test_parameters(name: str) -> None:
    body, expected = PARAMS[name]
    assert MESSAGES.read_params(body) == expected


# ------------------------------------------------------------------------------------------------- which format

PATHS: dict[str, str | None] = {
    "/v1/messages": "anthropic-messages",
    "/llm/v1/messages": "anthropic-messages",
    "/anthropic/v1/messages?beta=true": "anthropic-messages",
    "/v1/model/messages": "anthropic-messages",
    "/messages": "anthropic-messages",
    "/v1/anthropic/messages": "anthropic-messages",
    "/v1/messages/count_tokens": "anthropic-messages",
    "/v1/messages/batches": "anthropic-messages",
    "/v1/messages/batches/b/results": "anthropic-messages",
    "/v1/projects/p/locations/l/publishers/anthropic/models/c%40latest:rawPredict": "anthropic-messages",
    "/v1/projects/p/locations/l/publishers/anthropic/models/c:streamRawPredict": "anthropic-messages",
    "/v1/projects/p/locations/l/publishers/mistral/models/c:rawPredict": None,
    "/v1/complete": "anthropic-complete",
    "/v1/threads/t/messages": None,
    "/v1/threads/t/messages/m": None,
    "/chat/completions/c/messages": "openai-chat",
    "/v1/users/5/messages": None,
    "/v1/messages/5": None,
}


@pytest.mark.parametrize("path", PATHS)
def test_by_path(path: str) -> None:
    found = codec_for_path(path, spoken="anthropic")
    assert (found.name if found else None) == PATHS[path]


def test_what_an_application_may_well_have_too() -> None:
    assert [codec_for_path(path) for path in ("/messages", "/v1/complete")] == [None, None]
    assert codec_for_path("/v1/messages") is MESSAGES


def test_by_shape() -> None:
    assert codec_for_shape({"system": "x", "messages": [{"role": "user", "content": "y"}]}) is MESSAGES
    assert codec_for_reply(message({"type": "text", "text": "x"})) is MESSAGES
    assert codec_for_reply({"type": "content_block_delta", "index": 0}) is MESSAGES
    assert codec_for_reply({"type": "message", "content": "x"}) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", PathRead()),
        ("/publishers/anthropic/models/claude-4%40latest:rawPredict", PathRead("claude-4@latest", False)),
        ("/publishers/anthropic/models/claude-4%3AstreamRawPredict?alt=sse", PathRead("claude-4", True)),
        ("/publishers/anthropic/models/count-tokens:rawPredict", PathRead()),
    ],
)
def test_what_a_path_says(path: str, expected: PathRead) -> None:
    assert MESSAGES.read_path(path) == expected


# ------------------------------------------------------------------------------------------------- no and never


def test_a_refusal_is_a_message_without_content() -> None:
    read = MESSAGES.read_reply(MESSAGES.refuse("Blocked: x"))
    assert [(text.path[-1], text.value) for text in read.texts] == [("explanation", "Blocked: x")]
    assert read.summary.finish_reasons == ("refusal",)


def test_a_failure_is_one_event_with_an_error_in_it() -> None:
    assert MESSAGES.fail("x", "c") == ("error", {"type": "error", "error": {"type": "c", "message": "x"}})


def test_no_shape_makes_it_raise() -> None:
    check_reads(MESSAGES, CALL)
    for index in range(len(CALL["messages"])):
        for body in spoilt({"messages": [CALL["messages"][index]], "system": "x"}):
            check_reads(MESSAGES, body)
    for body in spoilt({"messages": [], "tools": CALL["tools"], "output_config": CALL["output_config"]}):
        check_reads(MESSAGES, body)
    for body in spoilt(message(*CALL["messages"][2]["content"], usage=USAGE)):
        check_reads(MESSAGES, body)
    for body in spoilt({"requests": [{"params": {"messages": ["x"]}}]}):
        check_reads(MESSAGES, body)


def test_no_random_body_makes_it_raise() -> None:
    rolled = random.Random(17)
    for _ in range(1500):
        check_reads(MESSAGES, random_json(rolled))
        check_events(MESSAGES, [(None, random_json(rolled)) for _ in range(3)])


def test_no_depth_makes_it_raise() -> None:
    deep = nested(5_000, "x")
    for block in ({"type": "text", "text": deep}, {"type": "tool_use", "name": "f", "input": deep}):
        texts = MESSAGES.read_reply(message(block)).texts
        assert [text.value for text in texts] == ["x"]
        begin = {"type": "content_block_start", "index": 0, "content_block": block}
        assert MESSAGES.open_stream().read(begin, None).texts


# ------------------------------------------------------------------------------------------------- recordings


@cache
def recordings() -> tuple[Record, ...]:
    if not folder().is_dir():
        return ()
    return tuple(record for record in read_folder(folder()) if record.codec == "anthropic-messages")


def content_of(record: Record) -> bytes:
    gzipped = record.gzipped and ("content-encoding", "gzip") in record.headers
    return gzip.decompress(record.content) if gzipped else record.content


def fixed(read: Callable[[Any], tuple[Text, ...]], body: Any) -> int:
    """Reading, writing back and reading again changes nothing, with every text and with another in its place."""
    texts = read(body)
    check_texts(body, texts)
    said = [text for text in texts if text.value]
    again = json.loads(dump_json(rewrite(body, edits_of([(text, text.value) for text in said]))))
    assert again == body
    assert read(again) == texts
    other = [(text, '{"other":1}' if text.structured else f"<{text.value}>") for text in said]
    edited = json.loads(dump_json(rewrite(body, edits_of(other))))
    assert [text.value for text in read(edited) if text.value] == [value for _, value in other]
    return len(said)


def test_recorded_exchanges_are_a_fixed_point() -> None:
    records = recordings()
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    texts = 0
    for record in records:
        assert fixed(lambda body: MESSAGES.read_call(body).texts, record.body)
        if not record.stream:
            texts += fixed(lambda body: MESSAGES.read_reply(body).texts, json.loads(content_of(record)))
    assert texts > 500
