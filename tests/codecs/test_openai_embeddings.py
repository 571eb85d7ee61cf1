"""openai-embeddings: text goes in, numbers come out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Params, Path, Summary
from tests.codecs.shapes import check_events, check_reads, random_json, spoilt

EMBEDDINGS = load_codec("openai-embeddings")

CALLS: dict[str, tuple[Any, dict[Path, str]]] = {
    "a text": ({"input": "x"}, {("input",): "x"}),
    "several texts": ({"input": ["x", "", "y"]}, {("input", 0): "x", ("input", 2): "y"}),
    "tokens": ({"input": [[1, 2], [3]]}, {}),
    "a shape never seen": (
        {"input": [{"content": [{"type": "text", "text": "x"}]}]},
        {("input", 0, "content", 0, "text"): "x"},
    ),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body, expected = CALLS[name]
    read = EMBEDDINGS.read_call(body)
    assert {text.path: text.value for text in read.texts} == expected
    assert {(text.stage.value, text.role) for text in read.texts} <= {("prompt", "user")}
    assert read.stream is False


@pytest.mark.parametrize("vector", [[0.5, 0.25], "AACAPwAAAEA="])
def test_a_reply_has_no_text(vector: Any) -> None:
    body = {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    read = EMBEDDINGS.read_reply(body)
    assert read.texts == ()
    assert read.summary == Summary(model="m", input_tokens=3)
    assert EMBEDDINGS.open_stream().read(body, None).texts == ()


def test_parameters() -> None:
    assert EMBEDDINGS.read_params({"encoding_format": "base64", "dimensions": 64}) == Params(
        encoding_formats=("base64",), dimensions=64
    )
    assert EMBEDDINGS.read_params({"encoding_format": 1, "dimensions": "64"}) == Params()


def test_a_refusal_is_a_list_without_vectors() -> None:
    assert EMBEDDINGS.refuse("Blocked: x")["data"] == []


def test_no_shape_makes_it_raise() -> None:
    for body in spoilt({"input": ["x"], "model": "m", "usage": {"prompt_tokens": 1}, "dimensions": 1}):
        check_reads(EMBEDDINGS, body)
    rolled = random.Random(29)
    for _ in range(500):
        check_reads(EMBEDDINGS, random_json(rolled))
        check_events(EMBEDDINGS, [(None, random_json(rolled))])
