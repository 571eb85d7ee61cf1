"""Source code in a text: in fences, or by the lines that only code has."""

# ruff: noqa: E501, SIM905 - rows of a table

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...guard.rules import Fact
from ...types import Signal
from .reader import compiled

__all__ = ["Code"]

_LONGEST = 400  # characters of a line that are looked at
_FEWEST = 2  # lines that look like code, where no fence says so

_NAMES: Mapping[str, str] = {
    "py": "python",
    "python": "python",
    "python3": "python",
    "js": "javascript",
    "javascript": "javascript",
    "jsx": "javascript",
    "ts": "typescript",
    "typescript": "typescript",
    "tsx": "typescript",
    "sh": "bash",
    "bash": "bash",
    "shell": "bash",
    "zsh": "bash",
    "console": "bash",
    "sql": "sql",
    "java": "java",
    "go": "go",
    "golang": "go",
    "rust": "rust",
    "rs": "rust",
    "c": "c",
    "cpp": "cpp",
    "c++": "cpp",
    "csharp": "csharp",
    "cs": "csharp",
    "ruby": "ruby",
    "rb": "ruby",
    "php": "php",
    "html": "html",
    "css": "css",
    "swift": "swift",
    "kotlin": "kotlin",
    "powershell": "powershell",
    "r": "r",
    "scala": "scala",
    "perl": "perl",
    "lua": "lua",
}
# How a line of code in a language looks. What follows is tried only on lines that end, or begin, as code does.
_LINES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "python",
        r"\s*(?:(?:async )?def \w+\(.*\).*:|class \w+.*:|from [\w.]+ import |import [\w.]+(?: as \w+)?$|(?:if|for|while|with|elif|except)\b.*:$|(?:try|else|finally):$|@\w[\w.]*(?:\(.*\))?$|return\b.*[)\]\w]$|\w+ = \w+\(.*\)$|print\(.*\)$)",
        ("def ", "class ", "import ", " = ", "print(", "return ", "@", ":"),
    ),
    (
        "javascript",
        r"\s*(?:(?:const|let|var) [\w{\[].*=|(?:export |async )*function\b.*\{|.*=> ?[{(]|import .* from ['\"]|module\.exports|console\.log\(|.*\brequire\(['\"])",
        ("const ", "let ", "var ", "function", "=>", "import ", "module.", "console.", "require("),
    ),
    (
        "java",
        r"\s*(?:(?:public|private|protected) (?:static )?(?:final )?[\w<>\[\]]+ .*[{;(]|import [\w.]+\*?;|System\.out\.)",
        ("public ", "private ", "protected ", "import ", "System."),
    ),
    (
        "c",
        r"\s*#(?:include\s?[<\"]|define \w|ifdef |ifndef |pragma )|\s*(?:int|void|char|double|float) \w+\(.*\)\s?\{?$",
        ("#", "("),
    ),
    (
        "go",
        r"\s*(?:func (?:\(\w+ \*?\w+\) )?\w+\(.*\{|package \w+$|\w+(?:, \w+)? := )",
        ("func ", "package ", ":="),
    ),
    (
        "rust",
        r"\s*(?:(?:pub )?fn \w+.*\{|let mut \w+|use [\w:]+(?:::[\w{*]).*;|impl(?:<.*>)? \w+)",
        ("fn ", "let mut", "use ", "impl"),
    ),
    (
        "sql",
        r"(?i)\s*(?:SELECT\b.+\bFROM\b|INSERT INTO \w|CREATE TABLE |UPDATE \w+ SET |ALTER TABLE |DELETE FROM )",
        (
            "SELECT",
            "select ",
            "INSERT ",
            "insert ",
            "CREATE ",
            "create ",
            "UPDATE ",
            "update ",
            "ALTER ",
            "alter ",
            "DELETE ",
            "delete ",
        ),
    ),
    (
        "bash",
        r"\s*(?:#!/(?:usr/)?bin/|\$ \w|(?:sudo|apt-get|pip3? install|npm (?:install|run)|git (?:clone|commit|push|checkout)|docker (?:run|build)|curl -|export [A-Z_]+=|echo \"?\$))",
        ("#!", "$ ", "sudo ", "apt-get", "pip", "npm ", "git ", "docker ", "curl ", "export ", "echo "),
    ),
    (
        "html",
        r"\s*</?(?:html|head|body|div|span|script|style|table|form|ul|li|a href|p class|input|button)\b.*>?",
        ("<",),
    ),
    ("php", r"\s*(?:<\?php|\$\w+ = .*;$|echo \$)", ("<?php", "$")),
    ("css", r"\s*[.#]?[\w-]+(?:[ ,:>.#][\w-]+)* \{$", ("{",)),
)
_ENDS = (";", "{", "}", "(", ")", "[", "]")
_SIGNED = (*_ENDS, ":", ",")
_BEGINS = ("//", "/*", "*/", "}")
# One of these begins a line of code, if no sign in it or at its end tells.
_WORDS = frozenset(
    "import from def class async return package func use fn pub let const var public private protected select insert create"
    " update alter delete sudo apt-get pip pip3 npm git docker curl export echo $ try: else: finally: int void char double"
    " float impl module.exports".split()
)


class Code:
    """Reads a text line by line."""

    __slots__ = ("_fenced", "_languages", "_line", "_lines", "_looks", "_sure", "facts")

    def __init__(self) -> None:
        self._line = ""
        self._fenced = False
        self._lines = self._looks = 0  # the lines with anything in them, and those that look like code
        self._sure = 0  # those of a language, or that begin a fence
        self._languages: set[str] = set()
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        """Take the next piece of the folded text; shares are told at its end."""
        before = (len(self._languages), self._found)
        lines = (self._line + folded).split("\n")
        self._line = "" if final else lines.pop()
        for line in lines:
            self._take(line[:_LONGEST])
        self._line = self._line[: _LONGEST + 1]
        if final:
            self.facts = {
                "contains_code": self._found,
                "code_languages": tuple(sorted(self._languages)) if self._found else (),
                "code_ratio": 100 * self._looks // max(1, self._lines) if self._found else 0,
            }
        elif (len(self._languages), self._found) != before and self._found:
            self.facts = {"contains_code": True, "code_languages": tuple(sorted(self._languages))}
        else:
            return False
        return True

    def signals(self) -> Iterable[Signal]:
        """Nothing: code is no finding."""
        return ()

    @property
    def _found(self) -> bool:
        return self._sure >= _FEWEST

    def _take(self, line: str) -> None:
        stripped = line.strip()
        if not stripped:
            return
        self._lines += 1
        if stripped.startswith(("```", "~~~")):
            self._fenced = not self._fenced
            self._looks += 1
            self._sure += 1
            if self._fenced and (name := _NAMES.get(stripped[3:].strip().lower()[:20])):
                self._languages.add(name)
            return
        tells = "=" in line or "{" in line or "<" in line or "#" in line or stripped.endswith(_SIGNED)
        if not (tells or self._fenced or stripped.split(" ", 1)[0].lower() in _WORDS):
            self._looks += stripped.startswith(_BEGINS)
            return
        language = next((name for name, pattern, signs in _LINES if _is(line, pattern, signs)), "")
        if language:
            self._languages.add(language)
            self._sure += 1
        self._looks += bool(
            self._fenced or language or " = " in line or stripped.endswith(_ENDS) or stripped.startswith(_BEGINS)
        )


def _is(line: str, pattern: str, signs: tuple[str, ...]) -> bool:
    return any(sign in line for sign in signs) and compiled(pattern).match(line) is not None
