"""openai-completions: prompts in, each choice's text out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Params, Path, Summary
from tests.codecs.shapes import check_events, check_reads, random_json, spoilt

COMPLETIONS = load_codec("openai-completions")

CALLS: dict[str, tuple[Any, dict[Path, str]]] = {
    "a prompt": ({"prompt": "x"}, {("prompt",): "x"}),
    "several prompts": ({"prompt": ["x", "y", ""]}, {("prompt", 0): "x", ("prompt", 1): "y"}),
    "a suffix": ({"prompt": "x", "suffix": "y"}, {("prompt",): "x", ("suffix",): "y"}),
    "tokens": ({"prompt": [[1, 2], [3]]}, {}),
    "tokens of one prompt": ({"prompt": [1, 2]}, {}),
    "a shape never seen": ({"prompt": {"text": "x"}}, {("prompt", "text"): "x"}),
    "no object": (["x"], {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body, expected = CALLS[name]
    texts = COMPLETIONS.read_call(body).texts
    assert {text.path: text.value for text in texts} == expected
    assert {(text.stage.value, text.role) for text in texts} <= {("prompt", "user")}


def test_a_call_says_its_model_and_whether_it_streams() -> None:
    for stream, expected in ((True, True), (False, False), ("yes", False), (None, False)):
        read = COMPLETIONS.read_call({"model": "m", "prompt": "x", "stream": stream})
        assert (read.model, read.stream) == ("m", expected)


def choice(text: Any, index: int | None = 0, **fields: Any) -> dict[str, Any]:
    numbered = {} if index is None else {"index": index}
    return {**numbered, "text": text, "logprobs": None, "finish_reason": None, **fields}


def completion(*choices: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": list(choices), **fields}


REPLIES: dict[str, tuple[Any, dict[Path, str]]] = {
    "choices": (
        completion(choice("x"), choice("y", 1)),
        {("choices", 0, "text"): "x", ("choices", 1, "text"): "y"},
    ),
    "nothing said": (completion(choice(""), choice(None)), {}),
    "no completion at all": ({"answer": "x"}, {("answer",): "x"}),
    "a string": ("x", {(): "x"}),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply(name: str) -> None:
    body, expected = REPLIES[name]
    texts = COMPLETIONS.read_reply(body).texts
    assert {text.path: text.value for text in texts} == expected
    assert {(text.stage.value, text.role) for text in texts} <= {("response", "assistant")}


def test_log_probabilities_go_with_their_text() -> None:
    body = completion(choice("x", logprobs={"tokens": ["x"]}), choice("y", 1))
    for texts in (COMPLETIONS.read_reply(body).texts, COMPLETIONS.open_stream().read(body, None).texts):
        assert [text.shadows for text in texts] == [(("choices", 0, "logprobs"),), ()]


def test_what_a_reply_says_of_itself() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    body = completion(choice("x", finish_reason="stop"), choice("y", 1, finish_reason="length"), usage=usage)
    expected = Summary(id="cmpl-1", model="m", finish_reasons=("stop", "length"), input_tokens=3, output_tokens=2)
    assert COMPLETIONS.read_reply(body).summary == expected
    assert COMPLETIONS.open_stream().read(body, None).summary == expected


def test_the_pieces_of_a_stream() -> None:
    reader = COMPLETIONS.open_stream()
    chunks = [
        completion(choice("Hel"), choice("x", 1)),
        completion(choice("y", 1)),
        completion(choice("lo", finish_reason="stop"), choice("", 1, finish_reason="")),
    ]
    said: dict[Any, str] = {}
    closes = []
    for data in chunks:
        read = reader.read(data, None)
        closes += read.closes
        for text in read.texts:
            said[text.channel] = said.get(text.channel, "") + text.value
    assert said == {(0,): "Hello", (1,): "xy"}
    assert closes == [(0,)], "an empty reason is none"


def test_choices_without_numbers_go_by_their_place() -> None:
    read = COMPLETIONS.open_stream().read(
        completion(choice("x", None), choice("y", None, finish_reason="stop")), None
    )
    assert [text.channel for text in read.texts] == [(0,), (1,)]
    assert read.closes == ((1,),)


def test_an_event_that_is_no_chunk_is_read_whole() -> None:
    read = COMPLETIONS.open_stream().read({"error": {"message": "x"}}, None)
    assert [(text.path, text.channel) for text in read.texts] == [(("error", "message"), None)]


def test_parameters() -> None:
    body = {
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 1,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "seed": 1,
        "n": 2,
        "stop": "END",
    }
    assert COMPLETIONS.read_params(body) == Params(
        max_tokens=5,
        temperature=0.0,
        top_p=1.0,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        seed=1,
        choice_count=2,
        stop_sequences=("END",),
    )


def test_a_refusal_is_read_as_one() -> None:
    read = COMPLETIONS.read_reply(COMPLETIONS.refuse("Blocked: x"))
    assert [text.value for text in read.texts] == ["Blocked: x"]


def test_no_shape_makes_it_raise() -> None:
    good = completion(choice("x", finish_reason="stop", logprobs={"tokens": []}), usage={"prompt_tokens": 1})
    for body in spoilt(good):
        check_reads(COMPLETIONS, body)
        check_events(COMPLETIONS, [(None, good), (None, body)])
    for body in spoilt({"prompt": ["x"], "suffix": "y", "stop": ["a"], "temperature": 1}):
        check_reads(COMPLETIONS, body)
    rolled = random.Random(23)
    for _ in range(500):
        check_reads(COMPLETIONS, random_json(rolled))
        check_events(COMPLETIONS, [(None, random_json(rolled))])
