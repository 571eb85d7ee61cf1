"""Addresses that carry data away: in what a model writes, and in what a tool gives it to read.

An image is fetched as soon as an answer is shown, so what its address carries is gone
before anybody reads it; a link waits for a click. Addresses of hosts that are allowed, and of
services that only draw what their address says, are nothing.
"""

# ruff: noqa: E501, SIM905 - rows of a table

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from urllib.parse import unquote, unquote_plus, urlsplit

from ...guard.rules import Fact
from ...types import Signal
from ..kinds import signal_of
from .encoded import decoded
from .reader import Span, compiled
from .servers import is_local, judge_address

__all__ = ["Links"]

_CONTEXT = 256  # characters before an address that tell what it is for
_LONGEST = 1_000  # characters of an address that are looked at
_MOST_KEPT = 64  # names of references

_IMAGE, _UNLISTED, _LINK, _DISGUISED = 95, 90, 60, 60
_DENIED = 90

# Hosts that draw what they are told, and tell nobody: whoever is behind a prompt cannot read their logs.
_DRAWING = (
    *("quickchart.io", "chart.googleapis.com", "latex.codecogs.com", "api.qrserver.com", "image.pollinations.ai"),
    *("placehold.co", "placeholder.com", "dummyimage.com", "shields.io", "mermaid.ink", "kroki.io", "plantuml.com"),
    *("picsum.photos", "gravatar.com", "googleusercontent.com", "githubusercontent.com", "wikimedia.org"),
    *(
        "unsplash.com",
        "imgur.com",
        "i.ytimg.com",
        "staticmap.openstreetmap.de",
        "maps.googleapis.com",
        "badge.fury.io",
    ),
    *("placekitten.com", "via.placeholder.com", "source.unsplash.com", "star-history.com", "contrib.rocks"),
)
# What sites put into the addresses of their own pictures.
_OWN = frozenset(
    "sig signature hash token expires exp policy key-pair-id x-amz-signature x-amz-credential x-amz-security-token"
    " x-goog-signature x-goog-credential se sp sv sr st v ver version cb ts t id w h q fit crop auto format fm ixid ixlib"
    " oh oe ccb stp _nc_ht _nc_ohc itok s u url src".split()
)
_TELLING = frozenset(
    "data secret secrets token password passwd pwd exfil leak leaked stolen payload conversation history chat context prompt"
    " summary message msg content user_data userdata info email ssn apikey api_key credentials cookie cookies session".split()
)
_POLICIES = frozenset({"policy", "x-amz-policy", "x-goog-policy"})  # base64 of what a signature covers
# Words in these are what the picture is to show.
_SHOWN = frozenset("text title alt caption label chl prompt description name q query content_type".split())
_BEGINS = r"(?i)https?://|(?<![\w:/])//(?=\w)|data:text/html|javascript:|vbscript:"
_LONGEST_BEGINNING = 16
_ENDS = r"[\s\"'<>`()]"
_IMAGE_BEFORE = (
    r"(?i)(?:!\[[^\]]{0,160}\]\(\s{0,4}<?"
    r"|<(?:img|image|iframe|script|embed|object|video|audio|source|link|input|body|meta|svg)\b[^<>]{0,200}?"
    r"(?:src|srcset|data|href|poster|background|content)\s?=\s?\\?[\"']?(?:0;\s?url=)?"
    r"|\burl\(\s?\\?[\"']?)$"
)
_REFERENCE_BEFORE = r"(?:^|\n|\\n) {0,3}\[([^\]\n]{1,80})\]:\s{1,4}<?$"
_PICTURED = r"!\[([^\]\n]{0,80})\](?:\[([^\]\n]{0,80})\])?(?!\()"


class Links:
    """Reads the addresses in a text, each as soon as its end is there.

    ``allowed`` are patterns of hosts. Where there are any, an image from anywhere else is one that carries data.
    """

    __slots__ = ("_allowed", "_carry", "_carrying", "_named", "_pictured", "_read", "facts", "score", "type")

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        self._carry = ""
        self._read = 0  # how much of it has been looked at
        self._named = Span(before=0, reach=200)
        self._pictured: set[str] = set()  # references that are shown as pictures
        self._carrying: set[str] = set()  # references whose address carries data
        self.score, self.type = 0, ""
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        """Take the next piece of the folded text."""
        before = self.facts
        text = self._carry + folded
        if "//" in text or "script:" in text.lower() or "data:" in text.lower():
            self._look(text, final=final)
        else:
            self._keep(text, max(self._read, len(text) - _LONGEST_BEGINNING))
        taken = self._named.take(folded, final=final)
        if taken is not None and "![" in taken[0]:
            self._picture(*taken)
        return self.facts is not before

    def signals(self) -> Iterable[Signal]:
        """The gravest address."""
        if self.score >= _LINK:
            severity = "critical" if self.score >= _DENIED else "medium"
            yield signal_of("exfiltration", category=self.type, score=self.score, severity=severity)

    def _look(self, text: str, *, final: bool) -> None:
        done = self._read
        while begins := compiled(_BEGINS).search(text, done):
            at = begins.start()
            end = _end_of(text, begins.end(), at + _LONGEST)
            if end < 0:
                if not final:
                    self._keep(text, at)
                    return
                end = len(text)
            self._judge(text, at, end)
            done = end
        self._keep(text, max(done, len(text) - _LONGEST_BEGINNING))

    def _keep(self, text: str, read: int) -> None:
        drop = max(0, read - _CONTEXT)
        self._carry, self._read = text[drop:], read - drop

    def _judge(self, text: str, at: int, end: int) -> None:
        url, after = text[at:end], text[end : end + 1]
        if len(url) < 8 or _is_among(url, self._allowed):
            return
        carries = _carries(url, after)
        # What no client can read leads nowhere, such as an address with a mark in the place of a password.
        disguised = judge_address(url)[1] if _host_of(url) or "script:" in url[:12].lower() else 0
        if compiled(_IMAGE_BEFORE).search(text, max(0, at - _CONTEXT), at):
            markdown = text[at - 1 : at] in ("(", "<", " ")
            if carries and (carries != "template" or markdown):
                self._note("image", _IMAGE)
            elif self._allowed and not url.lower().startswith("data:"):
                self._note("image_host", _UNLISTED)
            elif carries:
                self._note("image_template", _LINK)
        elif named := compiled(_REFERENCE_BEFORE).search(text, max(0, at - _CONTEXT), at):
            if (carries or self._allowed) and len(self._carrying) < _MOST_KEPT:
                self._carrying.add(named.group(1).lower())
                self._match()
        elif url[:2] != "//":
            if carries and carries != "template":
                self._note("link", _LINK)
            if disguised > 50:
                self._note("disguised_link", min(disguised, _DISGUISED))

    def _picture(self, text: str, start: int, stop: int) -> None:
        for shown in compiled(_PICTURED).finditer(text, start):
            if shown.start() < stop and len(self._pictured) < _MOST_KEPT:
                self._pictured.add(shown.group(2) or shown.group(1))
        self._match()

    def _match(self) -> None:
        if self._pictured & self._carrying:
            self._note("image", _IMAGE)

    def _note(self, type_: str, score: int) -> None:
        if (-score, type_) < (-self.score, self.type):
            self.score, self.type = score, type_
            self.facts = {
                "exfiltration_detected": score >= _LINK,
                "exfiltration_type": type_,
                "exfiltration_score": score,
            }


def _end_of(text: str, at: int, longest: int) -> int:
    """Where an address ends that goes on at ``at``; -1 where the text does not tell yet."""
    depth = 0
    for sign in compiled(_ENDS).finditer(text, at, min(len(text), longest)):
        if sign.group() == "(":
            depth += 1
        elif sign.group() == ")" and depth:
            depth -= 1
        else:
            return sign.start()
    return longest if len(text) >= longest else -1


def _is_among(url: str, patterns: tuple[str, ...]) -> bool:
    host = _host_of(url)
    return any(fnmatchcase(host, pattern) for pattern in patterns)


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _carries(url: str, after: str) -> str:
    """What of a conversation an address carries, if anything: text, encoded text, or a place for it.

    >>> _carries("https://e.example/p.png?d=bXkgcGFzc3dvcmQgaXMgc3dvcmRmaXNo", ")")
    'encoded'
    >>> _carries("https://e.example/p.png?w=640&sig=0a1b2c3d4e5f60718293a4b5c6d7e8f9", ")")
    ''
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""
    if not host or is_local(host) or any(host == known or host.endswith(f".{known}") for known in _DRAWING):
        return ""
    query = f"{parts.query}&{parts.fragment}" if "=" in parts.fragment else parts.query
    for pair in query.split("&")[:40]:
        name, _, raw = pair.partition("=")
        if carried := _carried(name.lower(), raw, last=after in ("<", "[", "{") and url.endswith(pair)):
            return carried
    for segment in parts.path.split("/")[1:12]:
        if any(_says_something(text) for _, text in decoded(unquote(segment).partition(".")[0])):
            return "encoded"
    return "template" if "{" in parts.path else ""


def _carried(name: str, raw: str, *, last: bool) -> str:
    if last or "{" in raw or "%7b" in raw.lower() or raw.startswith(("$", "[")):
        return "template"
    value = unquote_plus(raw)
    if name not in _POLICIES and any(_says_something(text) for _, text in decoded(value)):
        return "encoded"
    if name in _SHOWN or name in _OWN:
        return ""
    if len(value) >= 32 and value.count(" ") >= 4:
        return "text"
    return "named" if name in _TELLING and len(value) >= 12 else ""


def _says_something(text: str) -> bool:
    """Whether decoded text is more than the address of another picture, or an id."""
    return (
        len(text) >= 12
        and not text.startswith(("http://", "https://", "/", "s3:", "gs:", "local:"))
        and (any(sign in text for sign in " @={:"))
    )
