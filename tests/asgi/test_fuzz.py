"""Whatever is asked: never an error of ours, never a changed body without a finding, never a finding let through.

An application reads bodies in its own way, with other parsers than the middleware: what it is handed tells whether
something was let through.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.requests import Request

from highflame_middleware.testing import FakeGuard
from tests.asgi.fuzz_kit import (
    GUARDS,
    PIECES,
    REFUSED,
    WORD,
    WORDS,
    App,
    Exchange,
    chat,
    fuzzed,
    http,
    requests_of,
)

# --- bodies that could be anything ---

_PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/ask", "/", "/model/x/invoke"]
_KINDS = [
    b"application/json",
    b"Application/JSON; charset=utf-8",
    b"application/vnd.api+json",
    b"text/plain",
    b"text/plain; charset=latin-1",
    b"text/plain;charset=utf-7",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=B",
    b'multipart/form-data; boundary="',
    b"application/octet-stream",
    b"\xff/\xfe",
    b"",
    None,
]
_FRAGMENTS = st.sampled_from(
    [
        *(b'{}[]:,"\\ \n\t\0='),
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b'{"messages":[{"role":"user","content":"',
            b'"}]}',
            b'"prompt":',
            b"\\ud800",
        ),
        *(
            b'{"prompt": "x"}',
            b'{"a":1,"a":2}',
            b"NaN",
            b"-0",
            b"1e999",
            b"null",
            b"\\u0053",
            b"\xef\xbb\xbf",
            b"[" * 150,
        ),
        *(
            b"--B\r\n",
            b"--B--",
            b'content-disposition: form-data; name="prompt"\r\n\r\n',
            b"\r\n",
            b"prompt=",
            b"&",
            b"%",
        ),
        *("{}".encode("utf-16"), "{}".encode("utf-32-be"), b"\xed\xa0\x80", b"9" * 5000),
    ]
).map(lambda item: bytes([item]) if isinstance(item, int) else item)
_RAW = st.one_of(st.binary(max_size=200), st.lists(_FRAGMENTS, max_size=12).map(b"".join))


@fuzzed
@given(
    data=st.data(),
    content=_RAW,
    path=st.sampled_from(_PATHS),
    kind=st.sampled_from(_KINDS),
    method=st.sampled_from(["POST", "PUT", "get", "DELETE", "QUERY"]),
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                [b"x-request-id", b"Content-Type", b"traceparent", b"tracestate", b"X-HIGHFLAME-USER", b"accept"]
            ),
            st.binary(max_size=20),
        ),
        max_size=3,
    ),
    mode=st.sampled_from(["enforce", "monitor", "modify", "alert"]),
)
def test_any_body_is_answered_and_passes_as_it_came(
    data: Any, content: bytes, path: str, kind: bytes | None, method: str, headers: Any, mode: str
) -> None:
    app = App()
    scope = http(path, kind, content, *headers, method=method)
    before = [*scope["headers"]]
    got = Exchange(app, data.draw(requests_of(content)), scope=scope, mode=mode, trusted_peers=["*"], max_body=4000)
    assert scope["headers"] == before
    if app.bodies:
        assert (got.status, app.bodies) == (200, [content]), "nothing was found: not a byte is changed"
    else:
        assert got.status in REFUSED, "what is not handed on is refused, and never by a 500"
        assert mode != "monitor", "a monitor stops nothing"


@fuzzed
@given(data=st.data(), content=_RAW, kind=st.sampled_from(_KINDS), leaves=st.integers(0, 4))
def test_a_caller_who_leaves_in_the_middle_is_no_error(data: Any, content: bytes, kind: Any, leaves: int) -> None:
    messages = [*data.draw(requests_of(content))[:leaves], {"type": "http.disconnect"}]
    app = App()
    got = Exchange(app, messages, scope=http("/ask", kind, content))
    assert app.bodies in ([], [content])
    assert got.status is None or got.status == 200 or got.status in REFUSED


# --- bodies with a finding, where an application reads it ---

_LEAF = st.one_of(WORDS, st.integers(-5, 5), st.booleans(), st.none(), st.floats(allow_nan=False))
_OTHER = st.recursive(
    _LEAF, lambda below: st.lists(below, max_size=3) | st.dictionaries(WORDS, below, max_size=3), max_leaves=6
)


def _parts(text: str) -> Any:
    return {
        "messages": [
            {"role": "system", "content": "Hi"},
            {"role": "user", "content": [{"type": "text", "text": text}]},
        ]
    }


# How an application takes a text, and where it finds it again.
_PLACES: dict[str, tuple[str, Any, Any]] = {
    "chat": ("/v1/chat/completions", chat, lambda body: body["messages"][0]["content"]),
    "own chat": ("/ask", chat, lambda body: body["messages"][0]["content"]),
    "parts": ("/ask", _parts, lambda body: body["messages"][1]["content"][0]["text"]),
    "responses": ("/v1/responses", lambda text: {"model": "m", "input": text}, lambda body: body["input"]),
    "prompt": ("/ask", lambda text: {"prompt": text}, lambda body: body["prompt"]),
    "question": ("/ask", lambda text: {"question": text}, lambda body: body["question"]),
    "deep": ("/ask", lambda text: {"a": [{"b": {"message": text}}]}, lambda body: body["a"][0]["b"]["message"]),
}


def _dump(draw: st.DrawFn, body: Any) -> bytes:
    written = json.dumps(body, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1, "\t"])))
    if draw(st.booleans()):
        # As any string may be written in JSON.
        written = written.replace("SEC", "\\u0053E\\u0043").replace("AKIA", "AK\\u0049A")
    return written.encode(
        draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-le"])), "surrogatepass"
    )


@fuzzed
@given(
    data=st.data(),
    guard=st.sampled_from(list(GUARDS)),
    place=st.sampled_from(list(_PLACES)),
    before=WORDS,
    after=WORDS,
    other=st.dictionaries(WORDS.map("x-".__add__), _OTHER, max_size=3),
    kind=st.sampled_from(
        [b"application/json", b"APPLICATION/problem+JSON", b"text/plain", b"", None, b"text/plain; charset=utf-8"]
    ),
    marked=st.booleans(),
)
def test_no_json_lets_a_finding_through(
    data: Any, guard: str, place: str, before: str, after: str, other: Any, kind: Any, marked: bool
) -> None:
    judge, word = GUARDS[guard]
    path, make, find = _PLACES[place]
    text = f"{before} {word if marked else 'Hello'} {after}"
    assume(marked or guard != "embedded")  # what it makes of any text is for its own tests
    body = {**other, **make(text)}
    content = data.draw(st.composite(_dump)(body))
    app = App()
    got = Exchange(app, data.draw(requests_of(content)), guard=judge, scope=http(path, kind, content))
    _expect(app, got, content, marked=marked, guard=guard, word=word)
    if app.bodies:
        _sized(app)
        told = find(json.loads(app.bodies[0]))
        assert word not in told
        if guard != "embedded":
            assert told == text.replace(word, "*"), "only the finding is changed"
            assert {key: json.loads(app.bodies[0])[key] for key in other} == other


def _expect(app: App, got: Exchange, content: bytes, *, marked: bool, guard: str, word: str) -> None:
    if marked and guard == "deny":
        assert (got.status, app.bodies) == (403, [])
    elif got.status != 200:
        # The embedded guard may take what stands around the key for worse.
        assert app.bodies == []
        assert guard == "embedded" or got.status == 400, got.body
    else:
        assert word.encode() not in b"".join(app.bodies)
        assert marked or app.bodies == [content], "nothing was found: not a byte is changed"


def _sized(app: App) -> None:
    assert app.lengths[0] == [str(len(app.bodies[0])).encode()]


@fuzzed
@given(
    data=st.data(),
    guard=st.sampled_from(list(GUARDS)),
    fields=st.lists(st.tuples(st.sampled_from(["prompt", "a", "message", "x[]", "text", ""]), WORDS), max_size=4),
    name=st.sampled_from(["prompt", "question", "message"]),
    multipart=st.booleans(),
    marked=st.booleans(),
    odd=st.booleans(),
)
def test_no_form_lets_a_finding_through(
    data: Any, guard: str, fields: Any, name: str, multipart: bool, marked: bool, odd: bool
) -> None:
    judge, word = GUARDS[guard]
    assume(marked or guard != "embedded")
    place = data.draw(st.integers(0, len(fields)))
    rows = [*fields[:place], (name, f"a {word if marked else 'b'} c"), *fields[place:]]
    if multipart:
        content, kind = _multipart(rows, odd=odd), b"multipart/form-data; boundary=" + (b"B" if odd else b'"B"')
    else:
        written = urlencode(rows)
        content = written.replace("S", "%53").replace("a+", "a%20").encode() if odd else written.encode()
        kind = b"application/x-www-form-urlencoded"
    app = App()
    options = {"max_body": data.draw(st.sampled_from([64, 1 << 20]))} if multipart else {}
    got = Exchange(app, data.draw(requests_of(content)), guard=judge, scope=http("/form", kind, content), **options)
    if app.bodies:
        read = _read_form(app.bodies[0], kind)
        assert not any(word in value for key, value in read if key == name), read
        expected = [
            (key, value.replace(word, "*") if key in _FIELDS else value) for key, value in _read_form(content, kind)
        ]
        assert guard != "redact" or read == expected
        assert marked or app.bodies == [content]
    else:
        assert got.status in REFUSED
        assert marked or got.status in {400, 413}


_FIELDS = {"prompt", "message", "text", "question"}


def _multipart(rows: Any, *, odd: bool) -> bytes:
    out = b"preamble\r\n" if odd else b""
    for name, value in rows:
        head = f'Content-Disposition: form-data; name="{name}"\r\n'
        head = (
            f"content-type: text/plain\r\n{head.upper().replace(name.upper(), name).replace('NAME', 'name')}"
            if odd
            else head
        )
        out += b"--B\r\n" + head.replace("FORM-DATA", "form-data").encode() + b"\r\n" + value.encode() + b"\r\n"
    return out + b"--B--\r\n"


def _read_form(content: bytes, kind: bytes) -> list[tuple[str, str]]:
    """The form as an application reads it, with a parser of its own."""
    if kind.startswith(b"application/x-www"):
        return parse_qsl(content.decode(), keep_blank_values=True)

    async def receive() -> Any:
        return {"type": "http.request", "body": content, "more_body": False}

    async def read() -> list[tuple[str, str]]:
        form = await Request(http("/form", kind, content), receive).form()
        return [(key, str(value)) for key, value in form.multi_items()]

    return asyncio.run(read())


# --- two readers of one body ---

# Members of an object, each well-formed, of which several may have one name.
_NAMES = st.sampled_from(["prompt", "pro\\u006dpt", "messages", "input", "x"])
_VALUES = st.sampled_from(
    ['"SECRET"', '"a"', "null", '["SECRET"]', '[{"role":"user","content":"SECRET"}]', "[]", '{"prompt":"b"}']
)
_MEMBERS = st.lists(st.builds('"{}": {}'.format, _NAMES, _VALUES), max_size=4).map(
    lambda found: "{" + ",".join(found) + "}"
)


@fuzzed
@given(
    data=st.data(),
    tokens=st.lists(PIECES, max_size=14).map("".join) | _MEMBERS,
    kind=st.sampled_from([b"application/json", b"text/plain", b"application/x-www-form-urlencoded", b""]),
    path=st.sampled_from(_PATHS),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32", "utf-8-sig"]),
)
def test_no_json_is_read_otherwise_by_an_application(
    data: Any, tokens: str, kind: bytes, path: str, encoding: str
) -> None:
    content = tokens.encode(encoding)
    app = App()
    got = Exchange(
        app, data.draw(requests_of(content)), guard=FakeGuard(deny=[WORD]), scope=http(path, kind, content)
    )
    if not app.bodies:
        assert got.status in REFUSED
        return
    assert app.bodies == [content]
    # Of a name that stands twice some readers take the last, others the first.
    for pairs in (dict, lambda found: dict(reversed(found))):
        try:
            body = json.loads(content, object_pairs_hook=pairs)
        except ValueError:
            return
        assert not _prompted(body), "the application reads what nobody has judged"


def _prompted(body: Any) -> bool:
    """Whether an application finds the word where prompts are."""
    if not isinstance(body, dict):
        return False
    found = [body.get("prompt"), body.get("input")]
    messages = body.get("messages")
    found += (
        [item.get("content") for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    )
    return any(WORD in (item if isinstance(item, str) else json.dumps(item)) for item in found)


@pytest.mark.parametrize("name", ["deny", "redact"])
def test_what_the_fuzzers_look_for_would_be_seen(name: str) -> None:
    # The yardstick is held against a middleware that lets everything through.
    content = json.dumps(chat(f"a {WORD} b")).encode()
    app = App()
    got = Exchange(app, [{"type": "http.request", "body": content}], guard=None, scope=http("/ask", None, content))
    with pytest.raises(AssertionError):
        _expect(app, got, content, marked=True, guard=name, word=WORD)
