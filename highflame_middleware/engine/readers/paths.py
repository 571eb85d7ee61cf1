"""Paths that climb out of the folder they were meant for.

A few steps up are how code refers to its neighbours, so steps alone have to be
many; what counts is where they lead, and that they are written so as not to be seen.
"""

# ruff: noqa: E501 - rows of a table

from __future__ import annotations

from ...guard.rules import Fact
from ..wording.tally import Rule
from .reader import Watch

__all__ = ["PATHS"]

_UP = r"(?:\.\.[/\\]{1,4})"
_KEPT = (
    r"(?:etc[/\\]{1,4}(?:passwd|shadow|sudoers|hosts|ssh)\b|windows[/\\]{1,4}(?:win\.ini|system32)|winnt[/\\]|boot\.ini"
    r"|proc[/\\]{1,4}self|\.ssh[/\\]|\.aws[/\\]|root[/\\]|var[/\\]{1,4}(?:log|run)[/\\]|web-inf|\.htpasswd)"
)
_ENCODED = r"(?:%(?:25){0,2}2e|%c0%ae|\\u002e|\\x2e|\.)"
_SLASH = r"(?:%(?:25){0,2}(?:2f|5c)|%c0%af|%c1%9c|\\u002f|\\x2f)"

_ROWS: tuple[Rule, ...] = (
    Rule("sensitive_target", 95, "../|..\\", rf"{_UP}{{2,40}}(?:[\w.-]{{1,24}}[/\\]{{1,4}}){{0,2}}{_KEPT}"),
    Rule("dot_dot", 80, "../|..\\", rf"{_UP}{{9}}"),
    Rule("dot_dot", 60, "../|..\\", rf"{_UP}{{4}}"),
    Rule("encoded", 85, "..%|%2e|%252e|%c0%ae|\\u002e", rf"{_ENCODED}{{2}}(?:{_SLASH}|[/\\])"),
    Rule("nested", 85, "....//|..././|....\\\\", r"\.{3,4}[/\\]\.{0,2}[/\\]?(?:\.{3,4}[/\\]{1,2}|\w)"),
    Rule("null_byte", 85, "%00|\\u0000", r"(?:%00|\\u0000)(?:\.\w{2,4})?(?=[\s\"'&]|$)", r"[/\\.][\w.-]{1,40}$"),
    Rule("matrix", 80, "..;/", r"(?:\.\.;/){1,9}\w"),
    Rule("absolute_path", 60, "/etc/passwd|/etc/shadow|/proc/self/environ|\\windows\\win.ini", before=r"(?:^|[\s\"'=:(`<@])$"),
)  # fmt: skip


def _tell(type_: str, score: int) -> dict[str, Fact]:
    detected = score >= PATHS.reports
    severity = "critical" if score >= 90 else "high" if score >= 75 else "medium"
    return {
        "path_traversal_detected": detected,
        "path_traversal_type": type_ if detected else "none",
        "path_traversal_severity": severity if detected else "none",
    }


# 40 steps up of up to six characters, and where they lead
PATHS = Watch("path_traversal", _ROWS, _tell, reach=400, only_with=("..", "%", "\\", "/etc/", "/proc/"))
