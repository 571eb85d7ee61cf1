"""Bodies to read: random ones, and real ones with something wrong at every place."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

from highflame_middleware.codecs.parts import Codec, Path, Text, dump_json, edits_of, rewrite

# What a careless or hostile sender may put in place of anything.
WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    float("nan"),
    "",
    "text",
    "\ud800",
    [],
    {},
    [None],
    ["text"],
    [[["text"]]],
    {"": ""},
    {"text": "text"},
    {"type": "text", "text": {"text": "text"}},
    [{"type": ["text"], "role": {}, "index": "0", "name": 5}],
)
_KEYS = (
    "choices",
    "message",
    "delta",
    "content",
    "text",
    "role",
    "tool_calls",
    "function",
    "arguments",
    "name",
    "index",
    "finish_reason",
    "logprobs",
    "usage",
    "output",
    "item",
    "part",
    "response",
    "type",
    "id",
    "input",
    "summary",
    "messages",
    "data",
    "refusal",
    "custom",
    "function_call",
    "output_index",
    "content_index",
    "item_id",
    "model",
    "prompt",
    "tools",
    "instructions",
    "variables",
    "object",
    "stop",
    "temperature",
    "conversation",
    "é",
)


def random_json(rolled: random.Random, depth: int = 5) -> Any:
    """JSON of any shape, with keys that the formats know."""
    kind = rolled.randrange(8 if depth else 6)
    if kind == 6:
        return [random_json(rolled, depth - 1) for _ in range(rolled.randrange(4))]
    if kind == 7:
        return {key: random_json(rolled, depth - 1) for key in rolled.sample(_KEYS, rolled.randrange(6))}
    text = rolled.choice(("", "x", "some text", "ä😀", "response.output_text.delta", "function_call", "stop"))
    return (text, text, None, rolled.randrange(-2, 3), rolled.random(), rolled.random() < 0.5)[kind]


def nested(depth: int, value: Any) -> Any:
    """A value below this many lists and objects."""
    for level in range(depth):
        value = [value] if level % 2 else {"content": value}
    return value


def at(body: Any, path: Path) -> Any:
    """What stands at a place."""
    for key in path:
        body = body[key]
    return body


def places(body: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a body, the body itself first."""
    yield path
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, below in items:
        yield from places(below, (*path, key))


def spoilt(body: Any) -> Iterator[Any]:
    """A body with each wrong value in each place, and with each place left out."""
    for path in places(body):
        for wrong in WRONG:
            yield rewrite(body, {path: wrong})
        if path:
            without = copy.deepcopy(body)
            del at(without, path[:-1])[path[-1]]
            yield without


def check_texts(body: Any, texts: tuple[Text, ...]) -> None:
    """What holds for whatever a codec has read: each text stands where it says, once, and can be put back there."""
    paths = [text.path for text in texts]
    assert len(set(paths)) == len(paths), "no text twice"
    for text in texts:
        assert isinstance(text.value, str)
        if text.structured and text.value:
            assert dump_json(at(body, text.path)).decode() == text.value
            assert dump_json(rewrite(body, edits_of([(text._replace(shadows=()), text.value)]))) == dump_json(body)
        elif text.value:
            assert at(body, text.path) == text.value
        else:
            assert text.stage == "tool_call", "only a call may be empty"
    # In a list: then a NaN, which equals nothing, is told by its identity.
    plain = {text.path: text.value for text in texts if text.value and not text.structured}
    assert [rewrite(body, plain)] == [body]
    edited = rewrite(body, {text.path: "#" for text in texts})
    for text in texts:
        assert at(edited, text.path) == "#"


def check_reads(codec: Codec, body: Any) -> None:
    """No body makes a codec raise, and what it reads of it holds."""
    check_texts(body, codec.read_call(body).texts)
    codec.read_params(body)
    check_texts(body, codec.read_reply(body).texts)


def check_events(codec: Codec, events: list[tuple[str | None, Any]]) -> None:
    """The same for a stream of events: name and data."""
    reader = codec.open_stream()
    for name, data in events:
        read = reader.read(data, name)
        check_texts(data, read.texts)
        for prefix in read.closes:
            assert isinstance(prefix, tuple)
