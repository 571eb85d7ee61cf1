"""Forms: fields judged and rewritten, every other byte as it came; nothing that another parser reads otherwise."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

import anyio
import httpx
import pytest
from fastapi import FastAPI, File, Form, UploadFile
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from highflame_middleware import HighflameMiddleware
from highflame_middleware.asgi.forms import Field, Multipart, boundary_of, read_urlencoded, written
from highflame_middleware.errors import UnreadableError
from highflame_middleware.testing import FakeGuard, serve_on_thread
from tests.asgi.kit import Echo, through
from tests.gateway_kit import BACKENDS, scope_of

KIND = "multipart/form-data; boundary=b"
PROMPT = b'Content-Disposition: form-data; name="prompt"'
FILE = b'Content-Disposition: form-data; name="file"; filename="prompt.txt"\r\nContent-Type: text/plain'


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"b") -> bytes:
    """A multipart form of parts, each its headers and its content."""
    body = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return body + b"--" + boundary + b"--\r\n"


def covers(name: str) -> bool:
    return name == "prompt"


def read(body: bytes, cuts: Iterable[int] = (), **options: Any) -> list[Any]:
    """The pieces of a form that comes cut up."""
    reader = Multipart(b"b", covers, **{"limit": 1000, **options})
    places = [0, *sorted(cuts), len(body)]
    pieces = []
    for start, end in pairwise(places):
        pieces += reader.feed(body[start:end])
    return pieces + reader.finish()


def values(pieces: Iterable[Any]) -> list[str]:
    return [piece.value for piece in pieces if isinstance(piece, Field)]


MIXED = form(
    (PROMPT, b"my card"),
    (b'Content-Disposition: form-data; name="a"', b"card"),
    (FILE, b"card\r\n-- card --b\r\n".replace(b"--b", b"--c")),
    (PROMPT + b"\r\nContent-Type: text/plain; charset=UTF-8", "ö card".encode()),
    (PROMPT, b""),
    (PROMPT, b"\xff card"),
)
EDITED = (
    MIXED.replace(b"my card", b"my [redacted]")
    .replace("ö card".encode(), "ö [redacted]".encode())
    .replace(b"\xff card", b"\xff [redacted]")
)


def test_a_form_is_cut_the_same_wherever_it_is_cut() -> None:
    chance = random.Random(5)
    for _ in range(300):
        cuts = [chance.randrange(len(MIXED)) for _ in range(chance.randrange(12))]
        pieces = read(MIXED, cuts)
        assert values(pieces) == ["my card", "ö card", "\xff card"]
        assert written(pieces, values(pieces)) == MIXED
        assert written(pieces, [value.replace("card", "[redacted]") for value in values(pieces)]) == EDITED
    assert values(read(MIXED, range(len(MIXED)))) == ["my card", "ö card", "\xff card"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_fields_are_judged_and_files_pass(backend: str) -> None:
    app = Echo()
    headers = [("content-type", KIND), ("content-length", str(len(MIXED)))]
    pieces = [MIXED[:50], MIXED[50:51], MIXED[51:]]
    sent = through(app, pieces=pieces, headers=headers, backend=backend)
    assert (sent.status, app.bodies) == (200, [EDITED])
    assert app.length == [str(len(EDITED)).encode()]
    assert through(app, form((FILE, b"SECRET")), headers=headers).status == 200
    assert through(app, form((FILE, b"SECRET")), headers=headers, text_files=True).status == 403
    png = FILE.replace(b"text/plain", b"image/png")
    assert through(app, form((png, b"SECRET")), headers=headers, text_files=True).status == 200
    assert through(app, form((PROMPT, b"SECRET")), headers=headers, backend=backend).status == 403
    assert through(app, form((PROMPT + b'; filename=""', b"SECRET")), headers=headers).status == 403, (
        "in Django a field"
    )
    assert len(app.bodies) == 3


# Forms that one parser or another reads in another way than this one would.
AMBIGUOUS: dict[str, bytes] = {
    "no form": b"prompt=SECRET",
    "a line before it": b"SECRET\r\n" + form((PROMPT, b"x")),
    "half": form((PROMPT, b"x"))[:-8],
    "no end": form((PROMPT, b"x"))[:-4],
    "more after its end": form((PROMPT, b"x")) + form((PROMPT, b"SECRET")),
    "a boundary within a line": form((FILE, b"x--b\r\n" + PROMPT + b"\r\n\r\nSECRET")),
    "a boundary after a bare line feed": form((FILE, b"x\n--b\r\n" + PROMPT + b"\r\n\r\nSECRET")),
    "a line that begins like a boundary": form((FILE, b"x\r\n--bb\r\n" + PROMPT + b"\r\n\r\nSECRET")),
    "a boundary with a space behind it": form((FILE, b"x\r\n--b \r\n" + PROMPT + b"\r\n\r\nSECRET")),
    "a name twice": form((PROMPT.replace(b"prompt", b"a") + b"; name=prompt", b"SECRET")),
    "a disposition twice": form((FILE + b"\r\n" + PROMPT, b"SECRET")),
    "no name": form((b"Content-Disposition: form-data", b"SECRET")),
    "no disposition": form((b"Content-Type: text/plain", b"SECRET")),
    "a quote that is none": form((PROMPT.replace(b"prompt", b'a\\"; name=\\"prompt'), b"SECRET")),
    "a filename that ends early": form((FILE.replace(b"prompt.txt", b'x\\"; name="prompt'), b"SECRET")),
    "a folded header": form((PROMPT.replace(b"; name", b";\r\n name"), b"SECRET")),
    "a line feed in a header": form((b"X: y\n" + PROMPT, b"SECRET")),
    "a space before the colon": form((PROMPT.replace(b":", b" :"), b"SECRET")),
    "a name in the extended notation": form(
        (PROMPT.replace(b"prompt", b"a") + b"; name*=utf-8''prompt", b"SECRET")
    ),
    "base64": form((PROMPT + b"\r\nContent-Transfer-Encoding: base64", b"U0VDUkVU")),
    "a charset that hides it": form((PROMPT + b"\r\nContent-Type: text/plain; charset=utf-7", b"SECRET")),
    "too long headers": form((b"X: " + b"x" * 20_000 + b"\r\n" + PROMPT, b"SECRET")),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_not_read(name: str) -> None:
    body = AMBIGUOUS[name]
    app = Echo()
    refused = through(app, body, headers=[("content-type", KIND)])
    assert (refused.status, refused.json["code"], app.bodies) == (400, "unreadable", [])
    for options in ({"mode": "monitor"}, {"fail_open": True}):
        assert through(app, body, headers=[("content-type", KIND)], **options).status == 200
        assert app.bodies.pop() == body


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b; boundary=c",
        'multipart/form-data; boundary="b ',
        'multipart/form-data; boundary="b "',
        "multipart/form-data; boundary=b; charset=utf-7",
    ],
)
def test_a_type_that_does_not_say_where_the_parts_begin(kind: str) -> None:
    assert through(Echo(), form((PROMPT, b"x")), headers=[("content-type", kind)]).status == 400


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=----WebKitFormBoundary7MA4", b"----WebKitFormBoundary7MA4"),
        (b'multipart/form-data; charset=utf-8; boundary="a b"', b"a b"),
        (b"multipart/form-data;BOUNDARY=x; charset=UTF-8", b"x"),
    ],
)
def test_boundaries(kind: bytes, boundary: bytes) -> None:
    assert boundary_of(kind) == boundary


def starlette_reads(body: bytes) -> list[tuple[str, Any]]:
    """The parts that Starlette's parser makes of a form, FastAPI's too."""

    async def run() -> Any:
        async def stream() -> Any:
            yield body
            yield b""

        return await MultiPartParser(Headers({"content-type": KIND}), stream()).parse()

    try:
        return list(anyio.run(run).multi_items())
    except (MultiPartException, ValueError):
        return []


def werkzeug_reads(body: bytes) -> list[tuple[str, Any]]:
    """The fields that Werkzeug's parser makes of a form, Quart's too."""
    formparser = pytest.importorskip("werkzeug.formparser", reason="Werkzeug is not installed")
    try:
        fields, _ = formparser.MultiPartParser().parse(io.BytesIO(body), b"b", len(body))
    except (ValueError, KeyError, AssertionError):
        return []
    return list(fields.items(multi=True))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("reads", [starlette_reads, werkzeug_reads])
def test_no_form_hides_a_field_from_us_that_others_find(reads: Callable[[bytes], list[tuple[str, Any]]]) -> None:
    """Forms broken at random: what others read under a guarded name was judged as they read it, or refused."""
    chance = random.Random(11)
    scraps = [
        b"--b",
        b"\r\n",
        b"\n",
        b"\r",
        b"--",
        b'"',
        b";",
        b"\\",
        b" ",
        b"name=prompt",
        b"filename=x",
        b"*",
        b"\t",
        PROMPT,
    ]
    seeds = [*[MIXED] * 20, *AMBIGUOUS.values()]
    compared = 0
    for _ in range(1500):
        body = bytearray(chance.choice(seeds)[:2000])
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(body) + 1)
            if chance.random() < 0.6:
                body[at:at] = chance.choice(scraps)
            else:
                del body[at : at + chance.randrange(1, 8)]
        found = reads(bytes(body))
        theirs = [value for name, value in found if name == "prompt" and value and isinstance(value, str)]
        try:
            ours = values(read(bytes(body), limit=5000))
        except UnreadableError:
            continue
        compared += bool(theirs)
        # Where the bytes are no UTF-8 the two differ in how they show that, not in the text.
        plain = {value.encode("ascii", "ignore") for value in ours}
        assert plain.issuperset(value.encode("ascii", "ignore") for value in theirs), bytes(body)
    assert compared > 50


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("word", ["card", "SECRET"])
def test_a_form_longer_than_what_is_read_at_once(word: str, backend: str) -> None:
    """A field behind a large file: the file has left for the application, the field is judged all the same."""
    body = form((PROMPT, b"card first"), (FILE, b"x" * 50_000), (PROMPT, word.encode()), (FILE, b"y" * 5000))
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    app = Echo()
    headers = [("content-type", KIND), ("content-length", str(len(body)))]
    sent = through(app, pieces=pieces, headers=headers, max_body=10_000, backend=backend)
    if word == "SECRET":
        assert (sent.status, sent.json["code"]) == (403, "blocked_deny")
        assert (app.bodies, app.after) == ([], [{"type": "http.disconnect"}])
    else:
        assert sent.status == 200
        assert app.bodies == [body.replace(b"card", b"[redacted]")]
        names = [name for name, _ in app.scopes[0]["headers"]]
        assert (b"content-length" in names, b"transfer-encoding" in names) == (False, True)
    for options in ({"mode": "monitor"}, {"guard": FakeGuard()}):
        watched = Echo()
        through(watched, pieces=pieces, headers=headers, max_body=10_000, **options)
        assert watched.bodies == [body]


def test_a_long_form_that_breaks_on_its_way() -> None:
    """What of it was good has left; the rest is refused, or passes as it came where nothing is enforced."""
    body = form((FILE, b"x" * 50_000), (PROMPT, b"card")).replace(b"card\r\n--b--", b"card\n--b--")
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    headers = [("content-type", KIND)]
    app = Echo()
    sent = through(app, pieces=pieces, headers=headers, max_body=10_000)
    assert (sent.status, sent.json["code"], app.bodies) == (400, "unreadable", [])
    assert through(app, pieces=pieces, headers=headers, max_body=10_000, mode="monitor").status == 200
    assert app.bodies == [body]
    long = form((FILE, b"x" * 50_000), (PROMPT, b"x" * 20_000))
    pieces = [long[start : start + 1000] for start in range(0, len(long), 1000)]
    assert through(app, pieces=pieces, headers=headers, max_body=10_000).status == 400, (
        "a field longer than the limit"
    )


def test_a_caller_who_leaves_a_long_form() -> None:
    app = Echo()
    body = form((FILE, b"x" * 50_000), (PROMPT, b"SECRET"))
    waiting: list[Any] = [{"type": "http.request", "body": body[:20_000], "more_body": True}]
    waiting.append({"type": "http.disconnect"})

    async def run() -> None:
        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError("there is nobody to send to")

        scope = scope_of(headers=[("content-type", KIND)])
        await HighflameMiddleware(app, guard=FakeGuard(deny=["SECRET"]), max_body=1000)(scope, receive, send)

    anyio.run(run)
    assert (app.bodies, app.after) == ([], [{"type": "http.disconnect"}])


# Urlencoded forms: the body, the values that are meant, the body with them replaced.
ENCODED: list[tuple[bytes, list[str], bytes]] = [
    (b"", [], b""),
    (b"prompt", [], b"prompt"),
    (b"prompt=", [], b"prompt="),
    (b"prompt=a+b%20c&x=1", ["a b c"], b"prompt=%21&x=1"),
    (b"x=1&&prompt=a&", ["a"], b"x=1&&prompt=%21&"),
    (b"%70rompt=a&prompt=b", ["a", "b"], b"%70rompt=%21&prompt=%21"),
    (b"prompt=%C3%A9", ["é"], b"prompt=%21"),
    (b"prompt=%E9", ["é"], b"prompt=%21"),
    (b"prompt=a=b", ["a=b"], b"prompt=%21"),
    (b"prompt=100%", ["100%"], b"prompt=%21"),
    (b"prompt=a;b", ["a;b"], b"prompt=%21"),
    (b"Prompt=a", [], b"Prompt=a"),
]


@pytest.mark.parametrize(("body", "found", "edited"), ENCODED)
def test_urlencoded_fields(body: bytes, found: list[str], edited: bytes) -> None:
    pieces = read_urlencoded(body, covers)
    assert values(pieces) == found
    assert written(pieces, found) == body
    assert written(pieces, ["!"] * len(found)) == edited


def test_an_urlencoded_form_reads_as_the_library_reads_it() -> None:
    chance = random.Random(3)
    for _ in range(2000):
        body = "".join(
            chance.choice(["prompt", "=", "&", "+", "%", "70", "C3", "a", "é"]) for _ in range(12)
        ).encode()
        theirs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        ours = values(read_urlencoded(body, covers))
        plain = [value.encode("ascii", "ignore") for value in ours]
        assert plain == [value.encode("ascii", "ignore") for name, value in theirs if name == "prompt" and value]


@pytest.mark.parametrize("body", [b"a=1;prompt=SECRET", b"a=1;%70rompt=x&b=2", b"x=&" * 20_000 + b"prompt=SECRET"])
def test_an_urlencoded_form_that_can_be_read_in_two_ways(body: bytes) -> None:
    headers = [("content-type", "application/x-www-form-urlencoded")]
    assert through(Echo(), body, headers=headers).status == 400


def test_forms_in_fastapi() -> None:
    """Over sockets, by the framework's own parser: what it reads is what was judged."""
    app = FastAPI()
    app.add_middleware(HighflameMiddleware, guard=FakeGuard(deny=["SECRET"], redact=["card"]), max_body=100_000)

    @app.post("/form")
    async def plain(prompt: str = Form()) -> Any:
        return {"prompt": prompt}

    @app.post("/upload")
    async def upload(prompt: str = Form(), document: UploadFile = File()) -> Any:  # noqa: B008 - FastAPI's way
        return {"prompt": prompt, "size": len(await document.read())}

    with serve_on_thread(app) as url, httpx.Client(base_url=url) as client:
        assert client.post("/form", data={"prompt": "my card & more"}).json() == {"prompt": "my [redacted] & more"}
        assert client.post("/form", data={"prompt": "SECRET"}).status_code == 403
        for size in (1000, 500_000):
            files = {"document": ("card.txt", b"SECRET" + b"x" * size)}
            sent = client.post("/upload", data={"prompt": "my card"}, files=files)
            assert sent.json() == {"prompt": "my [redacted]", "size": size + 6}
            last = [("document", ("a", b"x" * size)), ("prompt", (None, b"SECRET"))]
            assert client.post("/upload", files=last).status_code == 403
