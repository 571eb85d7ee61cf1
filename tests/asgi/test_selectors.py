"""Selectors: where they point, what they refuse, and what looking may cost."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware import ConfigError, HighflameMiddleware
from highflame_middleware.asgi.selectors import FIELDS, MAX_VISITED, Selection
from highflame_middleware.codecs.parts import rewrite
from highflame_middleware.errors import UnreadableError
from tests.asgi.kit import Echo

BODY: dict[str, Any] = {
    "prompt": "p",
    "messages": [{"role": "user", "content": "m0"}, {"role": "user", "content": ["m1", {"text": "m2", "id": "i"}]}],
    "a": {"b": [{"c": "c0"}, {"c": "c1"}], "odd name": "o", "text": "t"},
    "n": 1,
    "none": None,
    "empty": "",
}

POINTED: list[tuple[str, list[str]]] = [
    ("prompt", ["p"]),
    ("$.prompt", ["p"]),
    ("$['prompt']", ["p"]),
    ("messages[*].content", ["m0", "m1", "m2"]),
    ("messages[0].content", ["m0"]),
    ("messages[0]", ["m0"]),
    ("messages", ["m0", "m1", "m2"]),
    ("messages[9].content", []),
    ("$.a.b[0].c", ["c0"]),
    ("a.b.*.c", ["c0", "c1"]),
    ("a.*", ["c0", "c1", "o", "t"]),
    ('a["odd name"]', ["o"]),
    ("$..c", ["c0", "c1"]),
    ("$..text", ["m2", "t"]),
    ("a..text", ["t"]),
    ("$..b[1].c", ["c1"]),
    ("$", ["p", "m0", "m1", "m2", "c0", "c1", "o", "t"]),
    ("n", []),
    ("none.x", []),
    ("empty", []),
    ("prompt.x", []),
    ("a[0]", []),
    ("messages.content", []),
]


@pytest.mark.parametrize(("selector", "found"), POINTED)
def test_where_selectors_point(selector: str, found: list[str]) -> None:
    texts = Selection.of("select", [selector]).read(BODY)
    assert sorted(text.value for text in texts) == sorted(found)
    for text in texts:
        edited = rewrite(BODY, {text.path: "!"})
        assert [item.value for item in Selection.of("select", ["$"]).read(edited)].count("!") == 1


def test_what_two_selectors_find_is_found_once() -> None:
    selection = Selection.of("select", ["prompt", "$..prompt", "$"])
    assert [text.value for text in selection.read(BODY)].count("p") == 1


@pytest.mark.parametrize(
    ("selector", "needle"),
    [
        ("", "no selector"),
        (3, "no selector"),
        ("a b", "' b'"),
        ("a[", "'['"),
        ("a[-1]", "'[-1]'"),
        ("a[?(@.x)]", "cannot be read"),
        ("a[0:2]", "cannot be read"),
        ("$prompt", "'.' after its '$'"),
        ("a.", "cannot be read"),
        ("..a..b", "more than one '..'"),
        ("$..*..*", "more than one '..'"),
    ],
)
def test_selectors_that_are_none(selector: Any, needle: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HighflameMiddleware(Echo(), select={"/chat": [selector]})
    assert needle in str(caught.value)
    assert "/chat" in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"select": {"/a": "prompt"}}, {"select": ["prompt"]}, {"fields": "prompt"}, {"fields": [1]}]
)
def test_options_that_are_none(options: Any) -> None:
    with pytest.raises(ConfigError):
        HighflameMiddleware(Echo(), **options)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_however_it_is_spelled(name: str) -> None:
    selection = Selection.named("fields", FIELDS)
    camel = name.title().replace("_", "")
    for spelled in (name, name.upper(), camel[0].lower() + camel[1:], name.replace("_", "-")):
        assert [text.value for text in selection.read({"x": [{spelled: "found"}]})] == ["found"]
        assert selection.covers(spelled)
        assert selection.covers(f"form[{spelled}]")
    assert not selection.covers(name + "x")


@pytest.mark.parametrize("selector", ["$..c", "$..*", "$", "*.*.*"])
def test_what_looking_costs_has_a_bound(selector: str) -> None:
    selection = Selection.of("select", [selector])
    wide = [[{"c": "x"}] * 1000] * (MAX_VISITED // 1000 + 1)
    with pytest.raises(UnreadableError):
        selection.read(wide)
