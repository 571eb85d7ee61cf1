"""Applying a modify: exact, or not at all."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from highflame_middleware.guard.redaction import apply_entries, apply_modify
from highflame_middleware.types import Decision, GuardResponse, RedactionEntry

Span = tuple[int, int, str]


def entries(*spans: Span) -> list[RedactionEntry]:
    return [RedactionEntry(type="t", start_pos=start, end_pos=end, replacement=text) for start, end, text in spans]


APPLIED: dict[str, tuple[str, list[Span], str]] = {
    "none": ("abc", [], "abc"),
    "the beginning": ("abc", [(0, 1, "#")], "#bc"),
    "the end": ("abc", [(2, 3, "#")], "ab#"),
    "all of it": ("abc", [(0, 3, "#")], "#"),
    "nothing instead": ("abc", [(1, 2, "")], "ac"),
    "longer than before": ("abc", [(1, 2, "[long]")], "a[long]c"),
    "several, in any order": ("abcdef", [(4, 5, "2"), (0, 1, "1")], "1bcd2f"),
    "side by side": ("abcd", [(0, 2, "1"), (2, 4, "2")], "12"),
    "an insertion": ("abc", [(1, 1, "#")], "a#bc"),
    "an insertion at the end": ("abc", [(3, 3, "#")], "abc#"),
    "an insertion before a span": ("abc", [(1, 1, "#"), (1, 2, "*")], "a#*c"),
    "into an empty text": ("", [(0, 0, "#")], "#"),
    "characters, not bytes": ("äöü😀x", [(3, 4, "#")], "äöü#x"),
    "a lone surrogate": ("a\ud800b", [(1, 2, "#")], "a#b"),
}
REFUSED: dict[str, tuple[str, list[Span]]] = {
    "beyond the end": ("abc", [(2, 4, "#")]),
    "wholly beyond the end": ("abc", [(7, 9, "#")]),
    "before the beginning": ("abc", [(-1, 1, "#")]),
    "backwards": ("abc", [(2, 1, "#")]),
    "overlapping": ("abcdef", [(0, 3, "1"), (2, 5, "2")]),
    "one in another": ("abcdef", [(0, 6, "1"), (2, 3, "2")]),
    "twice the same": ("abcdef", [(0, 3, "1"), (0, 3, "1")]),
    "one of many": ("abcdef", [(0, 1, "1"), (5, 9, "2")]),
}


@pytest.mark.parametrize("name", APPLIED)
def test_entries_that_apply(name: str) -> None:
    content, spans, expected = APPLIED[name]
    assert apply_entries(content, entries(*spans)) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_entries_that_do_not_apply(name: str) -> None:
    content, spans = REFUSED[name]
    assert apply_entries(content, entries(*spans)) is None


def test_entries_can_be_read_once() -> None:
    assert apply_entries("abc", iter(entries((1, 2, "#")))) == "a#c"


def test_random_spans_that_do_not_overlap_are_each_replaced() -> None:
    rolled = random.Random(7)
    for _ in range(300):
        content = "".join(rolled.choice("abc ä😀\n") for _ in range(rolled.randrange(30)))
        places = sorted(rolled.sample(range(len(content) + 1), k=min(len(content) + 1, 2 * rolled.randrange(4))))
        spans = [
            (start, end, rolled.choice(["", "#", "[long]"]))
            for start, end in zip(places[::2], places[1::2], strict=False)
        ]
        expected, at = "", 0
        for start, end, text in spans:
            expected += content[at:start] + text
            at = end
        rolled.shuffle(spans)
        assert apply_entries(content, entries(*spans)) == expected + content[at:]


def modify(**fields: Any) -> GuardResponse:
    return GuardResponse(decision=Decision.MODIFY, **fields)


ARGUMENTS = '{"card": "4111", "n": 1}'
MODIFIED: dict[str, tuple[str, GuardResponse, bool, str | None]] = {
    "the guard's own text": ("abc", modify(redacted_content="xyz"), False, "xyz"),
    "an empty text": ("abc", modify(redacted_content=""), False, ""),
    "the guard's own text over entries": (
        "abc",
        modify(redacted_content="xyz", redaction_entries=entries((0, 1, "#"))),
        False,
        "xyz",
    ),
    "entries": ("abc", modify(redaction_entries=entries((0, 1, "#"))), False, "#bc"),
    "neither": ("abc", modify(), False, None),
    "entries that do not apply": ("abc", modify(redaction_entries=entries((0, 9, "#"))), False, None),
    "arguments that stay JSON": (
        ARGUMENTS,
        modify(redaction_entries=entries((10, 14, "#"))),
        True,
        '{"card": "#", "n": 1}',
    ),
    "arguments that would break": (ARGUMENTS, modify(redaction_entries=entries((9, 15, "#"))), True, None),
    "arguments that would end early": (ARGUMENTS, modify(redacted_content="{"), True, None),
    "arguments that would be no object": (ARGUMENTS, modify(redacted_content='"#"'), True, None),
    "arguments that stay a list": ("[1]", modify(redacted_content="[]"), True, "[]"),
    "arguments made empty": (ARGUMENTS, modify(redacted_content=""), True, None),
    "arguments that were no JSON before": ("{broken", modify(redacted_content="#"), True, "#"),
    "a prompt that looks like JSON": (ARGUMENTS, modify(redacted_content="#"), False, "#"),
    "arguments too deep to be read": ("[" * 100_000, modify(redacted_content="#"), True, "#"),
}


@pytest.mark.parametrize("name", MODIFIED)
def test_a_modify(name: str) -> None:
    content, response, is_json, expected = MODIFIED[name]
    assert apply_modify(content, response, is_json=is_json) == expected


def test_arguments_are_json_after_every_modify_that_applies() -> None:
    """Any span of any replacement: either the tool can read its arguments, or the modify is not applied."""
    applied = 0
    for start in range(len(ARGUMENTS)):
        for end in range(start, len(ARGUMENTS) + 1):
            changed = apply_modify(ARGUMENTS, modify(redaction_entries=entries((start, end, "#"))), is_json=True)
            if changed is not None:
                json.loads(changed)
                applied += 1
    assert applied > 10
