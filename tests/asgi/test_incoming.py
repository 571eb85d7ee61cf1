"""What of a request's body is guarded: calls in every shape, JSON of any other, text; and what passes untouched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from highflame_middleware import HighflameMiddleware
from highflame_middleware.testing import FakeGuard
from tests.asgi.kit import Echo, through
from tests.gateway_kit import ASK, BACKENDS, asking, body_of, scope_of, serve

# Every shape of an OpenAI call, by the paths of its API and at a path of an application's own.
SHAPES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "chat": ("/v1/chat/completions", lambda text: asking(text)),
    "chat, parts": (
        "/v1/chat/completions",
        lambda text: {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
    ),
    "chat, tool result": (
        "/openai/deployments/d/chat/completions",
        lambda text: {"messages": [{"role": "tool", "tool_call_id": "1", "content": text}]},
    ),
    "responses": ("/v1/responses", lambda text: {"model": "m", "input": text}),
    "responses, items": (
        "/v1/responses",
        lambda text: {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]},
    ),
    "instructions": ("/v1/responses", lambda text: {"model": "m", "input": "Hi", "instructions": text}),
    "completions": ("/v1/completions", lambda text: {"model": "m", "prompt": text}),
    "completions, several": ("/v1/completions", lambda text: {"model": "m", "prompt": ["Hi", text]}),
    "embeddings": ("/v1/embeddings", lambda text: {"model": "m", "input": [text]}),
}


@pytest.mark.parametrize("own_path", [False, True], ids=["by path", "by shape"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_call_is_guarded(name: str, own_path: bool) -> None:
    path, shape = SHAPES[name]
    path = "/ask" if own_path else path
    app = Echo()
    assert through(app, shape("Tell me the SECRET."), path=path).status == 403
    assert app.bodies == [], "the application never hears of it"
    assert through(app, shape("My card, please."), path=path).status == 200
    assert json.loads(app.bodies[0]) == shape("My [redacted], please.")
    assert app.length == [str(len(app.bodies[0])).encode()]
    odd = body_of(shape("Hi!")).replace(b":", b" :\t") + b"\n"
    assert through(app, odd, path=path).status == 200
    assert app.bodies[1] == odd, "allowed: not a byte is changed"


# Bodies that hide a call from a reader of one shape only: the application may look at the other.
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ask", {"prompt": "SECRET", "messages": [{"role": "user", "content": "Hi"}]}),
        ("/ask", {"input": "SECRET", "model": "m", "messages": [{"role": "user", "content": "Hi"}]}),
        ("/ask", {"instructions": "SECRET", "prompt": "Hi"}),
        ("/api/completions", {"messages": [{"role": "user", "content": "SECRET"}]}),
        ("/survey/responses", {"messages": [{"role": "user", "content": "SECRET"}]}),
        ("/v1/embeddings", {"input": "Hi", "prompt": "SECRET"}),
    ],
)
def test_no_shape_hides_another(path: str, body: Any) -> None:
    app = Echo()
    assert through(app, body, path=path).status == 403
    assert app.bodies == []


# Bodies that say they are JSON and cannot be judged: the status, and what the application gets where nothing stops.
UNREADABLE: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"not json", 400),
    "half": (body_of(ASK)[:-1], 400),
    "not UTF-8": (b'{"messages": "\xff"}', 400),
    "deep": (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "two readings": (b'{"messages": [{"role": "user", "content": "SECRET", "content": "Hi"}]}', 400),
    "too long": (body_of(asking("x" * 2000)), 413),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_body_that_cannot_be_judged(name: str) -> None:
    body, status = UNREADABLE[name]
    app = Echo()
    size = 1000 if status == 413 else 10_000_000
    sent = through(app, body, max_body=size)
    assert (sent.status, sent.json["error"]["code"]) == (status, "unreadable")
    assert app.scopes == []
    for options in ({"mode": "monitor"}, {"fail_open": True}, {"mode": "modify"}):
        assert through(app, pieces=[body[:500], body[500:]], max_body=size, **options).status == 200
        assert app.bodies.pop() == body


def test_a_body_too_long_is_not_kept() -> None:
    app = Echo()
    piece = b" " * 1_000_000
    sent = through(app, pieces=[b"{", *[piece] * 100])
    assert (sent.status, app.scopes) == (413, [])
    assert sent.took == 18, "the limit of 16 MiB, and one piece"


# Bodies in no API's format whose text is one for a model: by the name of its field, or by being nothing else.
BARE: dict[str, tuple[str, bytes, bytes]] = {
    "text": ("text/plain", b"The end of my card", b"The end of my [redacted]"),
    "text, in a charset": (
        "text/plain; charset=ISO-8859-1",
        "voil\xe0 card".encode("latin-1"),
        "voil\xe0 [redacted]".encode("latin-1"),
    ),
    "a JSON text": ("application/json", b'"my card"', b'"my [redacted]"'),
    "a field": ("application/json", b'{"question": "my card", "n": 1}', b'{"question":"my [redacted]","n":1}'),
    "a field, deeper": (
        "application/json",
        b'[{"body": {"userPrompt": ["my card", {"id": "card", "x": "card"}]}}]',
        b'[{"body":{"userPrompt":["my [redacted]",{"id":"card","x":"[redacted]"}]}}]',
    ),
    "messages of another kind": (
        "application/json",
        b'{"messages": ["card", {"text": "card"}]}',
        b'{"messages":["[redacted]",{"text":"[redacted]"}]}',
    ),
    "JSON sent as text": ("text/plain", b'{"note": "my card"}', b'{"note":"my [redacted]"}'),
    "a form": (
        "application/x-www-form-urlencoded",
        b"a=card&prompt=my+card%21&b=%63ard&",
        b"a=card&prompt=my+%5Bredacted%5D%21&b=%63ard&",
    ),
    "a form, nested": (
        "application/x-www-form-urlencoded; charset=utf-8",
        b"chat[message]=card",
        b"chat[message]=%5Bredacted%5D",
    ),
    "a form that looks like JSON": (
        "application/x-www-form-urlencoded",
        b"{=1&text=card",
        b"{=1&text=%5Bredacted%5D",
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", BARE)
def test_texts_in_no_apis_format_are_guarded(name: str, backend: str) -> None:
    kind, body, expected = BARE[name]
    headers = [("content-type", kind), ("content-length", str(len(body)))]
    app = Echo()
    half = len(body) // 2
    pieces = [body[:half], body[half:]]
    sent = through(app, pieces=pieces, headers=headers, backend=backend, path="/ask")
    assert (sent.status, app.bodies) == (200, [expected])
    assert app.length == [str(len(expected)).encode()]
    blocked = body.replace(b"card", b"SECRET").replace(b"%63ard", b"x")
    stopped = through(app, blocked, headers=headers, backend=backend, path="/ask")
    assert (stopped.status, stopped.header("content-type")) == (403, ["application/problem+json"])
    assert (stopped.json["status"], stopped.json["code"]) == (403, "blocked_deny")
    assert len(app.bodies) == 1
    for options in ({"mode": "monitor"}, {"guard": FakeGuard()}):
        through(app, body, headers=headers, **options)
        assert app.bodies.pop() == body, "not a byte is changed"


def test_a_field_of_the_applications_own_beside_a_call() -> None:
    app = Echo()
    assert through(app, asking(question="my card", parts=[{"text": "card"}], n=1)).status == 200
    assert json.loads(app.bodies[0]) == asking(question="my [redacted]", parts=[{"text": "[redacted]"}], n=1)
    assert through(app, asking(question="SECRET"), path="/v1/chat/completions").status == 403
    assert through(app, asking(note="SECRET")).status == 200


def test_what_is_no_text_for_a_model_can_be_left_out() -> None:
    app = Echo()
    text = {"headers": [("content-type", "text/plain")], "pieces": [b"SEC", b"RET"]}
    assert through(app, **text, plain_text=False).status == 200
    assert through(app, {"prompt": ["SECRET", {}], "topic": "x"}, fields=["topic"]).status == 403, (
        "in a known shape"
    )
    assert through(app, {"question": "SECRET", "topic": "x"}, fields=["topic"]).status == 200
    assert through(app, {"question": "x", "Topic": "SECRET"}, fields=["topic"]).status == 403


# Selectors by path, a body, and whether it is stopped.
SELECTED: list[tuple[str, Any, int]] = [
    ("/chat", {"a": {"b": [{"c": "SECRET"}]}}, 403),
    ("/chat/", {"a": {"b": [{"c": "SECRET"}]}}, 403),
    ("/chat", {"a": {"b": [{"d": "SECRET"}, {"c": "SECRET"}]}}, 200),
    ("/chat", {"question": "SECRET"}, 200),
    ("/other", {"question": "SECRET"}, 403),
    ("/all/of/it", {"x": ["SECRET"]}, 403),
    ("/nothing", {"question": "SECRET"}, 200),
    ("/nothing", {"messages": [{"role": "user", "content": "SECRET"}]}, 403),
]


@pytest.mark.parametrize(("path", "body", "status"), SELECTED)
def test_selectors_by_path(path: str, body: Any, status: int) -> None:
    select = {"/chat": ["$.a.b[0].c"], "/all/*": ["$"], "/nothing": []}
    app = Echo()
    assert through(app, body, path=path, select=select).status == status
    assert len(app.bodies) == (status == 200)


def test_a_declared_format_is_read_as_it_is() -> None:
    """By its path alone, under any type, and nothing but its own texts."""
    formats = {"/claude": "anthropic-messages"}
    body = {"system": "the SECRET", "messages": []}
    stopped = through(Echo(), body, path="/claude", formats=formats)
    assert (stopped.status, stopped.json["type"]) == (403, "error")
    text = [("content-type", "application/octet-stream")]
    assert through(Echo(), body, path="/claude", formats=formats, headers=text).status == 403
    assert through(Echo(), body, path="/else", formats={**formats, "/else": "openai-chat"}).status == 200
    both = {"formats": formats, "select": {"/claude": ["metadata.note"]}}
    assert through(Echo(), {"metadata": {"note": "SECRET"}}, path="/claude", **both).status == 403


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(("depth", "status"), [(10, 200), (11, 400)])
def test_json_may_be_nested_so_deep_and_no_deeper(depth: int, status: int, opening: str, closing: str) -> None:
    """Brackets in strings are none, and many that stand beside each other are no depth."""
    beside = "[" + ",".join(["[]", "{}", '"[[[[[[[["'] * 50) + "]"
    nested = opening * (depth - 1) + "1" + closing * (depth - 1)
    body = f'{{"x": {beside}, "y": {nested}}}'.encode()
    assert through(Echo(), body, max_depth=10).status == status
    assert through(Echo(), body, max_depth=10, mode="monitor").status == 200


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_large_body_is_read_beside_the_loop(backend: str) -> None:
    """What takes long takes none of the loop's time: a task goes on while the body is parsed."""
    app = Echo()
    rows = [{"row": number} for number in range(60_000)]
    guarded = HighflameMiddleware(app, guard=FakeGuard(redact=["card"], deny=["SECRET"]))
    turns = 0

    async def run() -> None:
        nonlocal turns
        async with anyio.create_task_group() as group:

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await anyio.sleep(0)

            group.start_soon(other)
            await serve(guarded, scope_of(path="/ask"), [body_of({"question": "my card", "rows": rows})])
            group.cancel_scope.cancel()

    anyio.run(run, backend=backend)
    assert json.loads(app.bodies[0]) == {"question": "my [redacted]", "rows": rows}
    assert turns > 3
    assert through(app, {"question": "SECRET", "rows": rows}, backend=backend).status == 403
    assert through(app, body_of({"rows": rows})[:-1], backend=backend).status == 400


@pytest.mark.parametrize(
    ("charset", "body", "status"),
    [
        ("", b"\xff SECRET", 400),
        ("; charset=utf-8", b"SEC\xffRET", 400),
        ("; charset=utf-16le", b"SECRET", 400),
        ("; charset=utf-7", b"SECRET", 400),
        ('; format=flowed; Charset="UTF-8"', b"SECRET", 403),
        ("; charset=latin-1", b"\xff SECRET", 403),
        ("; charset=windows-1252", b"\x81 SECRET", 400),
    ],
)
def test_text_that_may_be_read_otherwise_than_it_says(charset: str, body: bytes, status: int) -> None:
    app = Echo()
    assert through(app, body, headers=[("content-type", "text/plain" + charset)]).status == status
    assert app.bodies == []


def test_a_body_of_two_types_is_of_none() -> None:
    """Which of them an application goes by, nobody here knows."""
    app = Echo()
    two = [("content-type", "application/octet-stream"), ("content-type", "application/json")]
    for headers in (two, two[::-1]):
        assert through(app, ASK, headers=headers).status == 400
        assert through(app, ASK, headers=headers, mode="monitor").status == 200
    assert through(app, asking(), headers=two[1:] * 2).status == 200, "the same one twice"
    assert len(app.bodies) == 3


def test_a_body_with_more_values_than_are_looked_at() -> None:
    app = Echo()
    body = b"[" + b"0," * 600_000 + b'{"prompt": "SECRET"}]'
    refused = through(app, body)
    assert (refused.status, refused.json["code"]) == (400, "unreadable")
    assert through(app, body, mode="monitor").status == 200
    assert app.bodies == [body]


# Requests that are none of the middleware's business: given on piece by piece.
OTHERS: dict[str, dict[str, Any]] = {
    "GET": {"method": "GET", "json_body": False},
    "GET with a body": {"method": "GET"},
    "DELETE": {"method": "DELETE"},
    "a form": {"headers": [("content-type", "application/x-www-form-urlencoded")], "pieces": [b"q=SEC", b"RET"]},
    "an upload": {
        "headers": [("content-type", "multipart/form-data; boundary=b")],
        "pieces": [
            b'--b\r\ncontent-disposition: form-data; name="prompt"; filename="a"\r\n\r\nSEC',
            b"RET\r\n--b--\r\n",
        ],
    },
    "bytes": {"headers": [("content-type", "application/octet-stream")]},
    "lines of JSON": {"headers": [("content-type", "application/x-ndjson")]},
    "no type": {"json_body": False, "pieces": [b"SEC", b"RET"]},
    "lines of JSON as text": {
        "headers": [("content-type", "text/plain")],
        "pieces": [b'{"a": 1}\n', b'{"b": 2}\n'],
    },
    "JSON in no call's shape": {"pieces": [b'{"note": "the SECR', b'ET"}']},
    "a JSON list": {"pieces": [b'["SECRET"]']},
    "JSON null": {"pieces": [b"null"]},
    "nothing": {"pieces": [b""]},
    "notes of another kind": {"pieces": [b'{"notes": ["SECRET", {"note": "SECRET"}]}']},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_requests_pass_untouched(name: str) -> None:
    app = Echo()
    given = {"pieces": [b'{"messages": [{"role": "user", ', b'"content": "SECRET"}]}'], **OTHERS[name]}
    assert through(app, **given).status == 200
    assert app.bodies == [b"".join(given["pieces"])]
    assert app.after == [{"type": "http.disconnect"}]


# A JSON call under a type that its sender did not care to choose: many applications read it all the same.
@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "TEXT/PLAIN"]
)
def test_a_call_without_its_type_is_guarded_too(kind: str | None) -> None:
    headers = [("content-type", kind)] if kind is not None else []
    app = Echo()
    for start in (b"", b"\n " * 50, b"\xef\xbb\xbf"):
        sent = through(app, start + body_of(ASK), headers=headers, json_body=False)
        assert sent.status == 403
    assert through(app, [{"prompt": "SECRET"}], headers=headers, json_body=False).status == 403
    duplicated = UNREADABLE["two readings"][0]
    assert through(app, duplicated, headers=headers, json_body=False).status == 400
    assert app.bodies == []


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "application/x-ndjson"])
def test_at_a_models_path_every_type_is_looked_at(kind: str) -> None:
    assert through(Echo(), ASK, path="/v1/chat/completions", headers=[("content-type", kind)]).status == 403


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", "application/json;a=b"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "post"])
def test_every_way_to_say_json(kind: str, method: str) -> None:
    assert through(Echo(), ASK, method=method, headers=[("Content-Type", kind)]).status == 403


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_json_in_every_encoding(encoding: str) -> None:
    app = Echo()
    assert through(app, json.dumps(ASK).encode(encoding)).status == 403
    assert through(app, json.dumps(asking()).encode(encoding)).status == 200
    assert app.bodies == [json.dumps(asking()).encode(encoding)]


def test_a_body_in_pieces_of_one_byte() -> None:
    app = Echo()
    whole = body_of(asking("My card."))
    through(app, pieces=[bytes([byte]) for byte in whole])
    assert json.loads(app.bodies[0]) == asking("My [redacted].")
    through(app, pieces=[bytes([byte]) for byte in body_of(asking())])
    assert app.bodies[1] == body_of(asking())
