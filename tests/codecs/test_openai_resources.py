"""openai-resources: whatever may be prose, either way, in resources without a codec of their own."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Path, Summary
from tests.codecs.shapes import check_events, check_reads, random_json

RESOURCES = load_codec("openai-resources")

CALLS: dict[str, tuple[Any, dict[Path, str]]] = {
    "a video": (
        {
            "prompt": "a cat",
            "model": "sora-2",
            "seconds": "4",
            "size": "720x1280",
            "input_reference": {"file_id": "f"},
        },
        {("prompt",): "a cat"},
    ),
    "a search": (
        {"query": ["x", "y"], "max_num_results": 3, "ranking_options": {"ranker": "auto"}},
        {("query", 0): "x", ("query", 1): "y", ("ranking_options", "ranker"): "auto"},
    ),
    "a decision": (
        {
            "model": "m",
            "input": [
                {"role": "user", "content": "x"},
                {"type": "function_call_output", "call_id": "c", "output": "y"},
            ],
            "questions": [{"type": "predicate", "question": "is it?"}],
            "safety_identifier": "u",
        },
        {("input", 0, "content"): "x", ("input", 1, "output"): "y", ("questions", 0, "question"): "is it?"},
    ),
    "an agent": (
        {"name": "n", "model": "m", "instructions": "x", "tools": [{"type": "function", "description": "y"}]},
        {("instructions",): "x", ("tools", 0, "description"): "y"},
    ),
    "events of a session": (
        {"events": [{"type": "input.message", "content": [{"type": "input_text", "text": "x"}]}]},
        {("events", 0, "content", 0, "text"): "x"},
    ),
    "a grader": (
        {"grader": {"type": "score_model", "input": [{"role": "user", "content": "x"}]}, "model_sample": "y"},
        {("grader", "input", 0, "content"): "x", ("model_sample",): "y"},
    ),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body, expected = CALLS[name]
    read = RESOURCES.read_call(body)
    assert {text.path: text.value for text in read.texts} == expected
    for text in read.texts:
        assert text.stage.value == ("tool_result" if "output" in text.path else "prompt")


def test_a_reply() -> None:
    body = {
        "object": "list",
        "has_more": False,
        "data": [
            {
                "file_id": "f",
                "filename": "f.txt",
                "score": 0.5,
                "attributes": {"title": "t"},
                "content": [{"type": "text", "text": "x"}],
            },
            {
                "id": "video_1",
                "status": "failed",
                "error": {"code": "c", "message": "y"},
                "download_url": "https://x",
            },
        ],
        "usage": {"input_tokens": 1},
    }
    read = RESOURCES.read_reply(body)
    assert {text.value for text in read.texts} == {"t", "x", "c", "y"}
    assert read.summary == Summary(input_tokens=1)


def test_deltas_are_pieces_until_something_whole_comes() -> None:
    reader = RESOURCES.open_stream()
    one = reader.read({"type": "output_text.delta", "item_id": "a", "delta": "x"}, None)
    other = reader.read({"type": "output_text.delta", "item_id": "b", "delta": "y"}, None)
    assert one.texts[0].channel is not None
    assert one.texts[0].channel != other.texts[0].channel
    whole = reader.read({"type": "output_text.done", "item_id": "a", "text": "x"}, None)
    assert (whole.texts[0].channel, whole.closes) == (None, ((),))


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/videos", "generate_content"),
        ("POST", "/videos/v/remix", "generate_content"),
        ("GET", "/videos/v", None),
        ("POST", "/vector_stores/v/search", "retrieval"),
        ("POST", "/agents", "create_agent"),
        ("POST", "/agents/sessions/s/events", "invoke_agent"),
        ("POST", "/decisions", "chat"),
        ("POST", "/evals", None),
    ],
)
def test_what_a_call_does(method: str, path: str, operation: str | None) -> None:
    assert codec_for_path(f"/v1{path}", spoken="openai") is RESOURCES
    assert RESOURCES.operation_of(method, f"/v1{path}") == operation


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches", "/v1/vector_stores", "/v1/containers", "/v1/vaults/v"]
)
def test_what_is_only_routed_and_recorded(path: str) -> None:
    assert codec_for_path(path, spoken="openai") is None


def test_no_shape_makes_it_raise() -> None:
    rolled = random.Random(43)
    for _ in range(500):
        check_reads(RESOURCES, random_json(rolled))
        check_events(RESOURCES, [("a.delta", random_json(rolled)), (None, random_json(rolled))])
