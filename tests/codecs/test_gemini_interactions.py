"""gemini-interactions: what is read of calls, replies and streams, and that an edit changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import edits_of, rewrite
from highflame_middleware.testing import FakeGuard
from tests.exchanges import cuts, decoded, exchange, screened, sse

CODEC = load_codec("gemini-interactions")
CALL: dict[str, Any] = {
    "model": "gemini-x",
    "system_instruction": "Be brief.",
    "input": [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "data": "aGVsbG8=", "mime_type": "image/png"},
        {"type": "function_call", "name": "look", "id": "c1", "arguments": {"at": "the sky"}},
        {"type": "function_result", "name": "look", "call_id": "c1", "result": {"seen": "a bird"}},
    ],
    "tools": [{"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}}],
    "generation_config": {"temperature": 0.5, "max_output_tokens": 7},
    "stream": True,
    "x_new": {"kept": 1},
}
REPLY: dict[str, Any] = {
    "id": "i1",
    "object": "interaction",
    "status": "completed",
    "model": "gemini-x",
    "steps": [
        {"type": "thought", "signature": "c2ln", "summary": [{"type": "text", "text": "Birds fly."}]},
        {"type": "function_call", "name": "look", "id": "c2", "arguments": {"at": "it"}},
        {"type": "model_output", "content": [{"type": "text", "text": "A bird."}]},
    ],
    "usage": {
        "total_input_tokens": 3,
        "total_output_tokens": 5,
        "total_cached_tokens": 1,
        "total_thought_tokens": 2,
    },
}


def found(texts: Any) -> list[tuple[str, str, str | None]]:
    return [(text.stage.value, text.value, text.tool) for text in texts]


def test_a_call() -> None:
    read = CODEC.read_call(CALL)
    assert (read.model, read.stream) == ("gemini-x", True)
    assert found(read.texts) == [
        ("prompt", "Be brief.", None),
        ("prompt", "What is this?", None),
        ("tool_call", '{"at":"the sky"}', "look"),
        ("tool_result", "a bird", "look"),
        ("prompt", "Looks.", None),
    ]
    params = CODEC.read_params(CALL)
    assert (params.temperature, params.max_tokens) == (0.5, 7)
    assert found(CODEC.read_call({"agent": "a", "input": "Hi!"}).texts) == [("prompt", "Hi!", None)]


def test_a_reply() -> None:
    read = CODEC.read_reply(REPLY)
    assert found(read.texts) == [
        ("response", "Birds fly.", None),
        ("tool_call", '{"at":"it"}', "look"),
        ("response", "A bird.", None),
    ]
    summary = read.summary
    assert (summary.id, summary.model, summary.finish_reasons) == ("i1", "gemini-x", ("completed",))
    assert (summary.input_tokens, summary.output_tokens, summary.cached_tokens) == (3, 5, 1)
    assert summary.reasoning_tokens == 2


@pytest.mark.parametrize(("read", "body"), [(CODEC.read_call, CALL), (CODEC.read_reply, REPLY)])
def test_reading_and_writing_is_a_fixed_point(read: Any, body: Any) -> None:
    texts = read(body).texts
    assert rewrite(body, edits_of((text, text.value) for text in texts)) == body
    changed = rewrite(body, edits_of((text, text.value.replace("bird", "plane")) for text in texts))
    assert "bird" not in json.dumps(changed)
    assert changed.keys() == body.keys()


def events(*pieces: str) -> list[bytes]:
    named: list[tuple[str, dict[str, Any]]] = [
        ("interaction.created", {"interaction": {"id": "i1", "status": "in_progress", "model": "gemini-x"}}),
        ("step.start", {"index": 0, "step": {"type": "model_output"}}),
        *(("step.delta", {"index": 0, "delta": {"type": "text", "text": piece}}) for piece in pieces),
        ("step.stop", {"index": 0}),
        ("interaction.completed", {"interaction": REPLY | {"steps": []}}),
    ]
    out = [item for name, data in named for item in sse({**data, "event_type": name}, name=name)]
    return [*out, b"event: done\ndata: [DONE]\n\n"]


@pytest.mark.parametrize("size", range(1, 40, 3))
def test_a_stream_is_edited_wherever_it_is_cut(size: int) -> None:
    content = b"".join(events("The SEC", "RET is", " out."))
    owner = exchange(FakeGuard(redact=["SECRET"]), codec="gemini-interactions", recording=True)
    out = screened(owner, cuts(content, [size]))
    assert b"SEC" not in out.content
    said = [data["delta"]["text"] for data in decoded(out.content) if "delta" in data]
    assert "".join(said) == "The [redacted] is out."
    assert owner.recorder.summary.output_tokens == 5  # type: ignore[attr-defined]
    untouched = screened(exchange(FakeGuard(), codec="gemini-interactions"), cuts(content, [size]))
    assert untouched.content == content


@pytest.mark.parametrize("path", ["/v1beta/interactions", "/v1/interactions/i1", "/v1alpha/interactions/i1/cancel"])
def test_where_it_is_called(path: str) -> None:
    codec = codec_for_path(path)
    assert codec is not None
    assert codec.name == "gemini-interactions"


@pytest.mark.parametrize(
    "body", [None, [], "x", 3, {"input": {"a": [None]}}, {"steps": 5}, {"delta": 1, "index": "x"}]
)
def test_shapes_of_nobodys(body: Any) -> None:
    CODEC.read_call(body)
    CODEC.read_params(body)
    CODEC.read_reply(body)
    CODEC.open_stream().read(body, "step.delta")


def test_a_refusal_is_read_as_what_it_is() -> None:
    assert found(CODEC.read_reply(CODEC.refuse("No.")).texts) == [("response", "No.", None)]
