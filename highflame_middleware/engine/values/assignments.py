"""Credentials that are told by what stands before them: ``password = …``, ``Authorization: Bearer …``.

Only the value is found, never the name, so a stream may release the name at once.
What a value has to look like depends on how it is introduced: prose says
"the password is wrong" far more often than it says a password.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..literals import Literals
from .finding import Finding, Tail, run_of

__all__ = ["NAMES", "Name", "find"]

# How a name is tied to its value: by a sign (with a quote, a bracket or a type annotation in between), by a
# word, or by a space after a command line option. All of it is far shorter than the context a stream keeps.
_SUFFIX = r"[a-z0-9_.-]{0,24}(?: (?:key|token|value|code|secret|phrase))?"
_WORD = r"(?:w(?:or)?[dt]|phrase|code)?(?:[_.-][a-z0-9_.-]{0,24})?"
_TIE = (
    r"(?:\\{0,3}[\"'`]?\]?[ \t]{0,4}(?::[ \t]{0,2}[a-z_.|\[\]]{1,24}[ \t]{0,2}(?==))?(?:=>|:=|={1,3}|:|>)\s{0,4}"
    r"|(?P<prose> (?:is|was|are|ist|est|es|é)(?: now| set to| currently)?[ :]{1,3}| ?(?:是|为|は)[ :]?)"
    r"|(?P<option> ))"
    r"(?P<quote>\\{0,3}[\"'`]|\*{1,2})?"
)
_BEARER = r" {1,2}"
_HEADER = r"\\{0,3}[\"']?\s{0,2}[:=]\s{0,3}\\{0,3}[\"']?"
_SCHEME = r"(?:[a-z][a-z0-9_-]{1,20} )?"  # SSWS, GenieKey, Zoho-oauthtoken
_LOGIN = r"[\"']?[^\s:\"'\\/]{1,64}:"  # curl -u name:password
_COOKIE = r"=(?P<quote>[\"'])?"
_OPTION = r" {0,2}(?P<quote>[\"'])?"


@dataclass(frozen=True, slots=True)
class Name:
    """A word, in lower case, that introduces a credential; how it is tied to it; its least length.

    A ``strict`` one introduces many other things as well, so the value has to look drawn by itself.
    """

    literal: str
    type: str = "generic_secret"
    least: int = 12
    tied: str = _SUFFIX + _TIE
    rank: int = 1
    strict: bool = False


NAMES: tuple[Name, ...] = (
    Name("pass", "password", 6, _WORD + _TIE),
    *(
        Name(word, "password", 6)
        for word in (
            *("pwd", "kennwort", "contraseña", "contrasena", "senha", "wachtwoord", "adgangskode", "lösenord"),
            *("salasana", "hasło", "haslo", "heslo", "jelszó", "parola", "şifre", "mot de passe", "kata sandi"),
            *("mật khẩu", "пароль", "密码", "密碼", "口令", "パスワード", "비밀번호", "รหัสผ่าน", "पासवर्ड"),
        )
    ),
    *(Name(word) for word in ("secret", "token", "credential")),
    *(
        Name(f"{word}{joint}key")
        for word in ("api", "access", "auth", "encryption", "signing", "subscription", "shared")
        for joint in ("_", "-", "", " ")
    ),
    *(Name(f"private{joint}key", "private_key", 32) for joint in ("_", "-", "", " ")),
    Name("key", least=20, strict=True),
    *(Name(word, "aws_secret_key", 40, rank=0) for word in ("secret_access_key", "secretaccesskey", "aws_secret")),
    Name("bearer", "bearer_token", 16, _BEARER, 0),
    Name("authorization", "http_basic_auth", 8, _HEADER + "(?:basic|digest|negotiate) ", 0),
    Name("authorization", least=16, tied=_HEADER + _SCHEME),
    Name('"auth"', "http_basic_auth", 12, r"\s{0,2}:\s{0,3}(?P<quote>\")"),  # of a docker registry
    *(Name(word, "session_cookie", 16, _COOKIE) for word in ("sessid", "sessionid", "connect.sid", "_session")),
    Name("-u ", "password", 6, _LOGIN),
    Name("--user ", "password", 6, _LOGIN),
    Name("sshpass -p", "password", 6, _OPTION),
    Name("mysql", "password", 6, r"(?:dump|admin)? [^\n|;&\"']{0,60}?-p(?P<quote>[\"'])?"),
    Name("login ", "password", 6, r"[^\s\"']{1,64} password "),  # .netrc
)

# A bare value ends at what code and prose put after one; a dot or colon only belongs to it when it goes on.
_NEVER = r"\x00-\x20\x7f-\U0010ffff\"'`\\"
_CODE_SIGNS = r"<>,;(){}\[\]|"
_BARE = rf"[^{_NEVER}{_CODE_SIGNS}.:]|[.:](?=[^{_NEVER}{_CODE_SIGNS}])"
_IN_QUERY = rf"[^{_NEVER}{_CODE_SIGNS}&.:]|[.:](?=[^{_NEVER}{_CODE_SIGNS}&])"
_QUOTED = rf"[^{_NEVER}]"
_ENOUGH = 128  # characters to judge a value by

_STANDS_IN = r"xxx|\*\*\*|\.\.\.|your|example|placeholder|change.?me|replace|redacted|dummy|\{\{"
_NOT_VALUES = (  # paths, variables, addresses, public keys
    r"(?:[/~@%<]|\./|\.\./|--|\$[A-Za-z_({]|[a-z]+://|arn:|ssh-|AAAA[BC]3|0x(?![a-f0-9]{64}(?![A-Za-z0-9])))"
)
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+"  # settings.password2
_TERMS = (
    r"(?i:base\d+|sha\d+|md5|aes\d*|utf\d+|oauth\d?|hs\d+|rs\d+|es\d+|bcrypt|argon\d\w*|ed\d+|x509|http2?|v\d+)"
)
_PUBLIC = (  # keys that open nothing
    r"public|primary|foreign|partition|sort|cache|row|idempoten|object|hash|index|dedup|group|rout|item|map|state"
    r"|lookup|unique|natural|composite|registry|host|kms|s3|redis|dict|storage_path|json|column|message|event"
)
_CLASS = r"(?:[A-Z]{1,6}[a-z]*\d?){2,}"  # OAuth2TokenAuth
_PASSING = r"(?:page|next|request|continuation|resume|starting)[_-]?token\Z"  # tells a place in a list
_UUID = r"[A-Fa-f0-9]{8}(?:-[A-Fa-f0-9]{4}){3}-[A-Fa-f0-9]{12}"
_NAMED = (
    r"[A-Za-z]*|\d*|[A-Za-z]{1,12}\d{1,3}|\d{1,2}[a-z]{1,2}"  # a part of a name or a version: gpt, 4, v2, base64
)


def find(text: str, lowered: str) -> Iterator[Finding]:
    """The values that a folded text, given in lower case as well, assigns to names of credentials.

    >>> text = "DB_PASSWORD=" + "hunter" + "22"
    >>> [(found.type, text[found.start:found.end]) for found in find(text, text.lower())]
    [('password', 'hunter22')]
    """
    runs: _Runs = {}
    for name in _likely(lowered):
        at = lowered.find(name.literal)
        while at >= 0:
            # Names in a value count as well: a stream that has let go of the value sees them as any other.
            after = at + len(name.literal)
            tied = _compiled(name.tied).match(lowered, after)
            if tied is not None and (finding := _value(name, text, lowered, tied, runs)) is not None:
                yield finding
            at = lowered.find(name.literal, after)


def _likely(lowered: str) -> Iterator[Name]:
    """The names that may be in a text: many of them have a part in common, which is looked for first."""
    found = _literals().within(lowered)
    if found is not None:
        yield from map(NAMES.__getitem__, sorted(found))
        return
    for part, names in _by_part().items():
        if part in lowered and (part or not lowered.isascii()):
            yield from names


@functools.cache
def _literals() -> Literals:
    return Literals(name.literal for name in NAMES)


@functools.cache
def _by_part() -> dict[str, tuple[Name, ...]]:
    parts: dict[str, list[Name]] = defaultdict(list)
    for name in NAMES:
        part = next((part for part in ("key", "sess") if part in name.literal), name.literal)
        parts[part if name.literal.isascii() else ""].append(name)
    return {part: tuple(names) for part, names in parts.items()}


_Runs = dict[Tail, tuple[int, int]]  # of each kind the run that was followed last


def _run_ends(tail: Tail, text: str, start: int, end: int, runs: _Runs) -> int:
    """Where the run ends that goes from ``start`` to ``end`` at least; each run is followed only once."""
    first, last = runs.get(tail, (0, -1))
    if not first <= start <= end <= last:
        last = tail(text, end, True)[0]
        runs[tail] = start, last
    return last


def _value(name: Name, text: str, lowered: str, tied: re.Match[str], runs: _Runs) -> Finding | None:
    how = tied.groupdict()
    ahead = lowered[max(0, tied.start() - 32) : tied.start()]
    ahead, word = _compiled(r"(?s)(.*?)([a-z0-9_-]*)\Z").fullmatch(ahead).groups()  # type: ignore[union-attr]
    if how.get("option") and not word.startswith("--"):
        return None
    start = tied.end()
    tail = run_of(_QUOTED if how.get("quote") else _IN_QUERY if ahead[-1:] in {"?", "&"} else _BARE)
    end = start + tail(text[start : start + _ENOUGH], 0, True)[0]
    value = text[start:end]
    if name.strict and (_compiled(_PUBLIC).search(ahead[-16:] + word) or not _drawn(value)):
        return None
    if name.literal == "token" and _compiled(_PASSING).search(word):
        return None
    if len(value) < name.least or (not how.get("quote") and text[end : end + 1] in {"(", "["}):
        return None
    if not _looks_secret(value, password=name.type == "password", prose=bool(how.get("prose"))):
        return None
    return Finding(start, _run_ends(tail, text, start, end, runs), name.type, name.rank, tail)


def _looks_secret(value: str, *, password: bool, prose: bool) -> bool:
    """Whether a value is a credential rather than a word, a name, code or a stand-in."""
    digits = sum(character.isdigit() for character in value)
    letters = sum(character.isalpha() for character in value)
    if not letters or _compiled(_STANDS_IN).search(value.lower()) or _compiled(_NOT_VALUES).match(value):
        return False
    if _compiled(_DOTTED).fullmatch(value) or _compiled(_TERMS).fullmatch(value):
        return False
    parts = _compiled(r"[-_./:+]").split(value)
    if len(parts) > 1 and all(_compiled(_NAMED).fullmatch(part) for part in parts):
        return False
    if password:
        signs = len(value) - digits - letters - sum(value.count(sign) for sign in "-_./:")
        return digits > 0 or (signs > 0 and not prose)
    mixed = sum(one.islower() and two.isupper() for one, two in pairwise(value))
    entropy = _entropy(value)
    if digits == 1 and _compiled(_CLASS).fullmatch(value):
        return False
    return (
        digits >= 2 or (digits == 1 and (mixed >= 4 or (len(value) >= 14 and entropy >= 3.2)))
    ) and entropy >= 2.8


def _drawn(value: str) -> bool:
    """Whether this looks drawn and not written, whatever introduces it; an identifier is drawn as well."""
    digits = sum(character.isdigit() for character in value)
    return (
        digits >= 4
        and len(value) - digits >= 4
        and _entropy(value) >= 3.1
        and _compiled(r"[A-Za-z0-9_+/=.~-]*").fullmatch(value) is not None
        and _compiled(_UUID).fullmatch(value) is None
    )


def _entropy(value: str) -> float:
    """Shannon's, in bits a character."""
    counts = Counter(value).values()
    return math.log2(len(value)) - sum(count * math.log2(count) for count in counts) / len(value)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
