"""Private keys in PEM or PGP armour: across lines, escaped newlines, quotes, and without an end.

A key is its BEGIN line and the base64 groups that follow it, however they are
separated, so a key that is cut short is found as well, and a stream needs to
hold back no more than the group it is in.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from .finding import Finding

__all__ = ["find", "opens_at", "tail"]

_BEGIN = "-----BEGIN "
_LABEL = r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}"
_BREAK = r"(?:\s|\\{1,4}[nrt]|[+,.>|#*])"  # between lines: as text, in JSON, in a quoted mail
_GAP = rf"(?:{_BREAK}|\\{{0,4}}[\"'])"  # and in source code, a string a line
# After a quote only a long group goes on: the next string of a JSON object must not be taken for one.
_GROUP = rf"(?:{_BREAK}{{0,16}}+[A-Za-z0-9+/=]{{16,}}+|{_GAP}{{0,16}}+[A-Za-z0-9+/=]{{40,}}+)"
_LINE = r"(?:[^\n\r\\\"-]|-(?!-))"
_HEADER = rf"{_GAP}{{0,8}}+[A-Z][A-Za-z-]{{2,23}}: {_LINE}{{1,76}}+(?=[\n\r\\])"  # Proc-Type: 4,ENCRYPTED
_LAST = rf"(?:{_GAP}{{0,16}}+[A-Za-z0-9+/=]{{1,15}}+){{0,2}}"  # a short last line, the checksum of PGP
_END = rf"{_LAST}{_GAP}{{0,16}}+-----END [A-Z0-9 ]{{1,60}}-----"
_UNFINISHED = (
    rf"(?:{_GAP}{{0,16}}+[A-Za-z0-9+/=]{{1,39}}+){{0,2}}{_GAP}{{0,16}}\\{{0,4}}"
    r"(?:-{1,5}|-----E|-----EN|-----END|-----END [A-Z0-9 ]{0,60}-{0,5})?"
)
_REACH = 900  # more than a BEGIN line and its headers


def find(text: str, start: int = 0) -> Iterator[Finding]:
    """The private keys of a text from ``start`` on, each with as much of its body as there is."""
    at = text.find(_BEGIN, start)
    while at >= 0:
        after = at + 1
        if begun := _begun().match(text, at):
            after, _ = tail(text, begun.end(), True)
            yield Finding(at, after, "private_key", tail=tail)
        at = text.find(_BEGIN, after)


def tail(text: str, at: int, final: bool) -> tuple[int, bool]:
    """Where the key that has come as far as ``at`` ends, and whether more of it may come."""
    if text.startswith("-----", at - 5):
        return at, False  # its END line has been read
    end = _body().match(text, at).end()  # type: ignore[union-attr] # it matches everywhere
    if ended := _ended().match(text, end):
        return ended.end(), False
    return end, not final and _unfinished().match(text, end) is not None


def opens_at(text: str, start: int, limit: int) -> int:
    """Where a key begins of which no base64 has come yet, at or after ``start``; else ``limit``."""
    at = text.find(_BEGIN, max(start, limit - _REACH), limit)
    while at >= 0 and not _unbegun().fullmatch(text, at, limit):
        at = text.find(_BEGIN, at + 1, limit)
    return at if at >= 0 else limit


@functools.cache
def _begun() -> re.Pattern[str]:
    return re.compile(rf"{_LABEL}PRIVATE KEY(?: BLOCK)?-----(?:{_HEADER}){{0,6}}+(?:{_GROUP}|{_END})")


@functools.cache
def _body() -> re.Pattern[str]:
    return re.compile(rf"[A-Za-z0-9+/=]*+{_GROUP}*+")


@functools.cache
def _ended() -> re.Pattern[str]:
    return re.compile(_END)


@functools.cache
def _unfinished() -> re.Pattern[str]:
    return re.compile(rf"{_UNFINISHED}\Z")


@functools.cache
def _unbegun() -> re.Pattern[str]:
    headers = rf"(?:{_HEADER}){{0,6}}(?:{_GAP}{{0,8}}[A-Z][A-Za-z-]{{0,23}}(?:: {_LINE}{{0,76}})?)?"
    return re.compile(rf"{_LABEL}(?:[A-Z0-9]{{0,20}}|PRIVATE KEY(?: BLOCK)?-----{headers}{_UNFINISHED})")
