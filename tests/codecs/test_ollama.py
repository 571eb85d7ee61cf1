"""Ollama's own API: chat, generate, embed."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import urlsplit

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.lines import FRAMING
from highflame_middleware.codecs.parts import Params, Summary, Text, edits_of, rewrite
from tests.codecs.shapes import check_events, check_reads, check_texts, random_json, spoilt
from tests.replay.records import folder, read_folder

OLLAMA = load_codec("ollama")
CALL: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi", "images": ["aGk="]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"q": "x"}}}]},
        {"role": "tool", "tool_name": "f", "content": "found"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "finds"}}],
    "options": {"num_predict": 5, "top_k": 3, "stop": ["."]},
}
REPLY: dict[str, Any] = {
    "model": "m",
    "created_at": "now",
    "message": {
        "role": "assistant",
        "content": "well",
        "thinking": "hm",
        "tool_calls": [{"function": {"index": 0, "name": "f", "arguments": {"q": "x"}}}],
    },
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 3,
    "eval_count": 4,
}


def brief(text: Text) -> tuple[Any, ...]:
    return (text.value, text.stage.value, text.role, text.tool)


def test_a_call() -> None:
    read = OLLAMA.read_call(CALL)
    assert (read.model, read.stream) == ("m", True)
    assert [brief(text) for text in read.texts] == [
        ("be kind", "prompt", "system", None),
        ("hi", "prompt", "user", None),
        ('{"q":"x"}', "tool_call", "assistant", "f"),
        ("found", "tool_result", "tool", None),
        ("finds", "prompt", "tool_definition", None),
    ]
    assert OLLAMA.read_params(CALL) == Params(max_tokens=5, top_k=3, stop_sequences=(".",))
    generate = {"prompt": "p", "system": "s", "suffix": "e", "template": "t", "stream": False, "context": [1]}
    read = OLLAMA.read_call(generate)
    assert sorted(text.value for text in read.texts) == ["e", "p", "s", "t"]
    assert read.stream is False


def test_a_reply() -> None:
    read = OLLAMA.read_reply(REPLY)
    assert [brief(text) for text in read.texts] == [
        ("well", "response", "assistant", None),
        ("hm", "response", "assistant", None),
        ('{"q":"x"}', "tool_call", "assistant", "f"),
    ]
    assert read.summary == Summary(model="m", finish_reasons=("stop",), input_tokens=3, output_tokens=4)
    assert [text.value for text in OLLAMA.read_reply({"response": "x", "thinking": "y", "done": True}).texts] == [
        "x",
        "y",
    ]


def test_a_stream() -> None:
    reader = OLLAMA.open_stream()
    (piece,) = reader.read({"message": {"content": "a"}, "done": False}, None).texts
    assert piece.channel == ("message", "content")
    (call,) = reader.read({"message": {"tool_calls": REPLY["message"]["tool_calls"]}}, None).texts
    assert (call.channel, call.structured) == (None, True)
    assert reader.read({"done": True}, None).terminal


@pytest.mark.parametrize(
    ("path", "operation"),
    [("/api/chat", "chat"), ("/api/generate", "text_completion"), ("/api/embed", "embeddings")],
)
def test_its_paths(path: str, operation: str) -> None:
    assert codec_for_path(path) is None
    assert codec_for_path(path, spoken="") is OLLAMA
    assert OLLAMA.operation_of("POST", path) == operation


def test_its_older_path_for_embeddings() -> None:
    codec = codec_for_path("/api/embeddings")
    assert codec is not None
    assert [text.value for text in codec.read_call({"prompt": "p"}).texts] == ["p"]


def test_no_shape_makes_it_raise() -> None:
    rolled = random.Random(41)
    for body in (CALL, REPLY):
        for wrong in spoilt(body):
            check_reads(OLLAMA, wrong)
            check_events(OLLAMA, [(None, wrong)])
    for _ in range(300):
        check_reads(OLLAMA, random_json(rolled))
        check_events(OLLAMA, [(None, random_json(rolled))])


def test_recorded_exchanges_are_a_fixed_point() -> None:
    records = [
        record for record in (read_folder(folder()) if folder().is_dir() else ()) if record.codec == "ollama"
    ]
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    texts = 0
    for record in records:
        assert codec_for_path(urlsplit(record.url).path, spoken="") is OLLAMA
        fixed(record.body, OLLAMA.read_call(record.body).texts)
        reader = OLLAMA.open_stream()
        for line in record.content.splitlines() if record.status == 200 else ():
            data = json.loads(line)
            assert FRAMING.parse(line).data == data
            fixed(data, OLLAMA.read_reply(data).texts)
            fixed(data, found := reader.read(data, None).texts)
            texts += len(found)
    assert texts > 1000


def fixed(body: Any, texts: tuple[Text, ...]) -> None:
    check_texts(body, texts)
    assert rewrite(body, edits_of([(text, text.value) for text in texts if text.value])) == body
