"""openai-images: prompts in, revised prompts out; images and parameters pass."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Params, Path, Summary
from tests.codecs.shapes import check_events, check_reads, random_json, spoilt

IMAGES = load_codec("openai-images")

PARAMETERS: dict[str, Any] = {
    "background": "auto",
    "model": "gpt-image-1",
    "moderation": "low",
    "n": 2,
    "output_compression": 90,
    "output_format": "png",
    "partial_images": 1,
    "quality": "high",
    "response_format": "b64_json",
    "size": "1024x1024",
    "style": "vivid",
    "user": "u-1",
}
CALLS: dict[str, tuple[Any, dict[Path, str]]] = {
    "a prompt": ({"prompt": "a cat", **PARAMETERS}, {("prompt",): "a cat"}),
    "an edit in JSON": (
        {"prompt": "a cat", "images": [{"image_url": "data:image/png;base64,AA"}]},
        {("prompt",): "a cat"},
    ),
    "a parameter never seen": (
        {"prompt": "a", "caption": {"text": "b"}},
        {("prompt",): "a", ("caption", "text"): "b"},
    ),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("path", ["generations", "edits", "variations"])
def test_by_the_path_of_an_sdk_only(path: str) -> None:
    assert codec_for_path(f"/v1/images/{path}", spoken="openai") is IMAGES
    assert codec_for_path(f"/v1/images/{path}") is None
    assert codec_for_path(f"/v1/images/{path}", spoken="mistral") is None


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body, expected = CALLS[name]
    read = IMAGES.read_call(body)
    assert {text.path: text.value for text in read.texts} == expected
    assert {(text.stage.value, text.role) for text in read.texts} <= {("prompt", "user")}


@pytest.mark.parametrize(("given", "streams"), [(True, True), ("true", True), (False, False), ("false", False)])
def test_whether_it_streams(given: Any, streams: bool) -> None:
    assert IMAGES.read_call({"stream": given}).stream is streams


def test_a_reply() -> None:
    body = {
        "created": 1,
        "size": "1024x1024",
        "quality": "high",
        "output_format": "png",
        "data": [
            {"b64_json": "AAAA", "revised_prompt": "a fine cat"},
            {"url": "https://images/1.png", "revised_prompt": "another"},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
    }
    read = IMAGES.read_reply(body)
    assert {text.path: text.value for text in read.texts} == {
        ("data", 0, "revised_prompt"): "a fine cat",
        ("data", 1, "revised_prompt"): "another",
    }
    assert {text.stage.value for text in read.texts} == {"response"}
    assert read.summary == Summary(input_tokens=3, output_tokens=5)


def test_images_that_stream_pass_and_texts_among_them_are_read() -> None:
    reader = IMAGES.open_stream()
    part = {"type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0, "size": "auto"}
    done = {
        "type": "image_generation.completed",
        "b64_json": "AA",
        "revised_prompt": "x",
        "usage": {"input_tokens": 1},
    }
    assert reader.read(part, None).texts == ()
    read = reader.read(done, None)
    assert [(text.path, text.value, text.channel) for text in read.texts] == [(("revised_prompt",), "x", None)]
    assert read.summary == Summary(input_tokens=1)


def test_parameters_and_refusal() -> None:
    assert IMAGES.read_params({"n": 2}) == Params(choice_count=2, output_type="image")
    assert IMAGES.refuse("no")["data"] == []
    assert IMAGES.operation == "generate_content"


def test_no_shape_makes_it_raise() -> None:
    for body in spoilt(
        {"prompt": "x", "model": "m", "data": [{"revised_prompt": "x"}], "usage": {"input_tokens": 1}}
    ):
        check_reads(IMAGES, body)
    rolled = random.Random(31)
    for _ in range(500):
        check_reads(IMAGES, random_json(rolled))
        check_events(IMAGES, [(None, random_json(rolled))])
