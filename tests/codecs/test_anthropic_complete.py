"""anthropic-complete: the prompt, the completion, and the stream of its pieces."""

from __future__ import annotations

from typing import Any

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Params, Summary
from tests.codecs.shapes import check_events, check_reads, check_texts, spoilt

COMPLETE = load_codec("anthropic-complete")
CALL: dict[str, Any] = {
    "model": "claude-2",
    "prompt": "\n\nHuman: x\n\nAssistant:",
    "max_tokens_to_sample": 5,
    "temperature": 0.5,
    "top_k": 3,
    "stop_sequences": ["\n\nHuman:"],
    "stream": True,
}


def said(completion: Any, reason: str | None = None) -> dict[str, Any]:
    return {"id": "c", "type": "completion", "completion": completion, "stop_reason": reason, "model": "claude-2"}


def test_a_call() -> None:
    read = COMPLETE.read_call(CALL)
    assert (read.model, read.stream) == ("claude-2", True)
    assert [(text.path, text.stage.label) for text in read.texts] == [(("prompt",), "prompt")]
    expected = Params(max_tokens=5, temperature=0.5, top_k=3, stop_sequences=("\n\nHuman:",))
    assert COMPLETE.read_params(CALL) == expected


def test_a_reply() -> None:
    read = COMPLETE.read_reply(said("x", "stop_sequence"))
    assert [(text.path, text.role) for text in read.texts] == [(("completion",), "assistant")]
    assert read.summary == Summary(id="c", model="claude-2", finish_reasons=("stop_sequence",))
    assert [text.value for text in COMPLETE.read_reply({"error": {"message": "x"}}).texts] == ["x"]


def test_a_stream() -> None:
    reader = COMPLETE.open_stream()
    reads = [reader.read(data, "completion") for data in (said("Hel"), said("lo"), said("", "max_tokens"))]
    texts = [text for read in reads for text in read.texts]
    assert "".join(text.value for text in texts) == "Hello"
    assert {text.channel for text in texts} == {("completion",)}
    assert [read.terminal for read in reads] == [False, False, True]
    assert reader.read({"type": "error", "error": {"message": "x"}}, "error").terminal
    assert reader.read({"type": "ping"}, "ping").texts == ()


def test_a_refusal_says_no() -> None:
    (text,) = COMPLETE.read_reply(COMPLETE.refuse("Blocked.")).texts
    assert text.value == "Blocked."
    assert COMPLETE.fail("x", "c")[0] == "error"


def test_no_shape_makes_it_raise() -> None:
    for body in (*spoilt(CALL), *spoilt(said("x", "stop"))):
        check_reads(COMPLETE, body)
        check_events(COMPLETE, [(None, said("x")), (None, body)])
        check_texts(body, COMPLETE.read_call(body).texts)
