"""Script, language and code: what is said of a text, and that nothing is said where it cannot be told."""

# ruff: noqa: E501, RUF001 - other scripts are what is tested

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.types import GuardRequest, Stage

EMBEDDED = EmbeddedGuard()


def facts(text: str) -> dict[str, Any]:
    return dict(EMBEDDED.evaluate(GuardRequest.at(Stage.RESPONSE, text)).context)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello, how are you?", "latin"),
        ("Größe und Müßiggang", "latin"),
        ("Привет, как дела?", "cyrillic"),
        ("مرحبا كيف حالك", "arabic"),
        ("नमस्ते आप कैसे हैं", "devanagari"),
        ("你好，世界", "cjk"),
        ("こんにちは", "cjk"),
        ("안녕하세요", "cjk"),
        ("שלום עולם", "other"),
        ("12345 !?", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_script_of_most_letters(text: str, script: str) -> None:
    told = facts(text)
    assert (told["detected_script"], told["is_latin_script"]) == (script, script == "latin")
    assert told["script_confidence"] == (0 if script == "unknown" else 100)
    assert told["contains_non_ascii"] is not text.isascii()


def test_only_a_share_of_the_letters() -> None:
    assert facts("hello мир")["script_confidence"] == 62


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the weather in Paris, and how do I get to the airport from there?", "en"),
        ("Wie ist das Wetter in Berlin, und wie komme ich mit der Bahn zu dem Flughafen?", "de"),
        ("Quel est le temps dans la ville et comment est-ce que je vais à la gare pour partir?", "fr"),
        ("¿Cómo está el tiempo en la ciudad y qué es lo que se puede hacer por las tardes?", "es"),
        ("今日はとても天気がいいですね", "ja"),
        ("오늘 날씨가 아주 좋네요", "ko"),
        ("今天天气很好，我们去公园吧", "zh"),
        ("def f(x): return x + 1", None),
        ("ok", None),
        ("Привет, как дела?", None),
    ],
)
def test_the_language_where_it_can_be_told(text: str, language: str | None) -> None:
    told = facts(text)
    assert told.get("detected_language") == language
    assert told.get("is_english") == (None if language is None else language == "en")


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("```python\nx = 1\n```", ("python",)),
        ("def f(x):\n    return g(x)\n\nprint(f(2))", ("python",)),
        ("const a = require('b');\nfunction f() {\n  return 1;\n}", ("javascript",)),
        ("SELECT a FROM b;\nINSERT INTO c VALUES (1);", ("sql",)),
        ("#include <stdio.h>\nint main(void) {\n  return 0;\n}", ("c",)),
        ("sudo apt-get update\ngit clone https://example.com/a.git", ("bash",)),
    ],
)
def test_code_is_told_by_its_lines(text: str, languages: tuple[str, ...]) -> None:
    told = facts(text)
    assert told["contains_code"] is True
    assert told["code_languages"] == languages
    assert told["code_ratio"] >= 60


@pytest.mark.parametrize(
    "text",
    [
        "The committee met on Tuesday (as it always does); it went through the minutes: all of them.\nThen it left.",
        "import taxes are high\nfrom here on, class matters\nreturn to sender\nlet me know\nuse it\nselect one of them",
        "Dear Ann,\n\n1. Buy milk (2%);\n2. Call Bob;\n\nYours = me",
    ],
)
def test_prose_is_no_code(text: str) -> None:
    told = facts(text)
    assert (told["contains_code"], told["code_languages"], told["code_ratio"]) == (False, (), 0)
