"""Reading places and writing them back: nothing beside an edit changes, whatever the body's shape."""

from __future__ import annotations

import copy
import json
import random
import time
from typing import Any

import pytest

from highflame_middleware.codecs.parts import (
    Path,
    Summary,
    Text,
    dump_json,
    edits_of,
    leaves,
    rewrite,
)
from highflame_middleware.types import Stage
from tests.codecs.shapes import at, nested, random_json

NONE: frozenset[str] = frozenset()


def strings_of(value: Any, path: Path = ()) -> list[tuple[Path, str]]:
    """Every string and its place, by the simplest means."""
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, dict):
        return [found for key, below in value.items() for found in strings_of(below, (*path, key))]
    if isinstance(value, list | tuple):
        return [found for index, below in enumerate(value) for found in strings_of(below, (*path, index))]
    return []


LEAVES: dict[str, tuple[Any, frozenset[str], list[tuple[Path, str]]]] = {
    "a string": ("x", NONE, [((), "x")]),
    "an empty string": ("", NONE, [((), "")]),
    "nothing": (None, NONE, []),
    "numbers": ([1, 2.5, True], NONE, []),
    "in order": (
        {"b": "1", "a": ["2", {"c": "3"}], "d": "4"},
        NONE,
        [(("b",), "1"), (("a", 0), "2"), (("a", 1, "c"), "3"), (("d",), "4")],
    ),
    "opaque keys at any depth": (
        {"id": "1", "a": {"id": {"b": "2"}, "c": "3"}},
        frozenset({"id"}),
        [(("a", "c"), "3")],
    ),
    "tuples": (("a", ("b",)), NONE, [((0,), "a"), ((1, 0), "b")]),
    "bytes are no text": ([b"x"], NONE, []),
}


@pytest.mark.parametrize("name", LEAVES)
def test_leaves(name: str) -> None:
    value, opaque, expected = LEAVES[name]
    assert list(leaves(value, (), opaque)) == expected
    assert list(leaves(value, ("x", 1), opaque)) == [(("x", 1, *path), text) for path, text in expected]


def test_leaves_and_edits_of_random_bodies() -> None:
    rolled = random.Random(11)
    for _ in range(300):
        body = random_json(rolled)
        before = copy.deepcopy(body)
        found = list(leaves(body, (), NONE))
        assert found == strings_of(body)
        assert rewrite(body, dict(found)) == body, "an edit that changes nothing"
        chosen = rolled.sample(found, k=min(3, len(found)))
        changed = rewrite(body, {path: f"<{text}>" for path, text in chosen})
        places = [path for path, _ in chosen]
        for path, text in found:
            assert at(changed, path) == (f"<{text}>" if path in places else text)
        assert body == before, "the caller's own is never changed"


def test_what_lies_beside_an_edit_is_shared() -> None:
    body = {"a": [{"x": "1"}, {"x": "2"}], "b": {"deep": ["3"]}}
    changed = rewrite(body, {("a", 1, "x"): "#"})
    assert changed == {"a": [{"x": "1"}, {"x": "#"}], "b": {"deep": ["3"]}}
    assert changed["b"] is body["b"]
    assert changed["a"][0] is body["a"][0]


def test_an_object_that_stands_in_two_places_is_changed_in_one() -> None:
    message = {"content": "x"}
    assert rewrite([message, message], {(1, "content"): "#"}) == [{"content": "x"}, {"content": "#"}]


REWRITTEN: dict[str, tuple[Any, dict[Path, Any], Any]] = {
    "nothing": ({"a": "x"}, {}, {"a": "x"}),
    "all of it": ("x", {(): "#"}, "#"),
    "an object whole": ({"a": {"b": "x"}}, {("a",): None}, {"a": None}),
    "a key that was not there": ({"a": {}}, {("a", "b"): "#"}, {"a": {"b": "#"}}),
    "a tuple": (("x", "y"), {(1,): "#"}, ["x", "#"]),
    "a whole and a part of something else": (
        {"a": 1, "b": ["x"]},
        {("a",): None, ("b", 0): "#"},
        {"a": None, "b": ["#"]},
    ),
    "several in one list": (["a", "b", "c"], {(0,): "1", (2,): "3"}, ["1", "b", "3"]),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_rewrite(name: str) -> None:
    body, changes, expected = REWRITTEN[name]
    assert rewrite(body, changes) == expected


def test_depth_costs_no_stack() -> None:
    deep = nested(5_000, "x")
    ((path, text),) = leaves(deep, (), NONE)
    changed = rewrite(deep, {path: "#"})
    assert (text, at(changed, path), at(deep, path)) == ("x", "#", "x")


def test_many_edits_cost_no_more_than_there_are() -> None:
    body = {"messages": [{"content": f"{number}", "extra": list(range(50))} for number in range(20_000)]}
    changes = {path: "#" for path, _ in leaves(body, (), NONE)}
    began = time.perf_counter()
    changed = rewrite(body, changes)
    assert time.perf_counter() - began < 2
    assert {message["content"] for message in changed["messages"]} == {"#"}


def test_an_edit_takes_its_shadows_along() -> None:
    text = Text(("a", "text"), "x", Stage.RESPONSE, shadows=(("a", "logprobs"), ("b",)))
    plain = Text(("c",), "y", Stage.RESPONSE)
    assert edits_of([(text, "#"), (plain, "*")]) == {
        ("a", "text"): "#",
        ("a", "logprobs"): None,
        ("b",): None,
        ("c",): "*",
    }


DUMPED = [
    ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}'),
    ("äöü😀", '"äöü😀"'.encode()),
    ("\ud800", b'"\\ud800"'),
    ({"ä": "\udfff"}, b'{"\\u00e4":"\\udfff"}'),
    ("\u2028\u0000\n", '"\u2028\\u0000\\n"'.encode()),
    (10**30, str(10**30).encode()),
]


@pytest.mark.parametrize(("value", "expected"), DUMPED)
def test_json_is_written_compactly(value: Any, expected: bytes) -> None:
    assert dump_json(value) == expected
    assert json.loads(expected) == value


def test_json_comes_back_as_it_was() -> None:
    rolled = random.Random(13)
    for _ in range(200):
        value = random_json(rolled)
        assert json.loads(dump_json(value)) == value


SUMMARIES: dict[str, tuple[Summary, Summary, Summary]] = {
    "later fields win": (
        Summary(id="1", model="a", input_tokens=1, service_tier="x"),
        Summary(id="2", model="b", input_tokens=5, output_tokens=2, service_tier="y", system_fingerprint="f"),
        Summary(id="2", model="b", input_tokens=5, output_tokens=2, service_tier="y", system_fingerprint="f"),
    ),
    "what is absent later stays": (
        Summary(id="1", model="a", output_tokens=1, cached_tokens=2, reasoning_tokens=3),
        Summary(),
        Summary(id="1", model="a", output_tokens=1, cached_tokens=2, reasoning_tokens=3),
    ),
    "nought is a number": (Summary(output_tokens=7), Summary(output_tokens=0), Summary(output_tokens=0)),
    "reasons add up": (
        Summary(finish_reasons=("stop",)),
        Summary(finish_reasons=("length",)),
        Summary(finish_reasons=("stop", "length")),
    ),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_add_up(name: str) -> None:
    earlier, later, expected = SUMMARIES[name]
    assert earlier.updated(later) == expected
