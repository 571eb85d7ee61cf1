"""OpenAI's other resources beyond the table: forms, replies that are no JSON, what is not judged, records."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from highflame_middleware import BlockedError
from highflame_middleware.errors import UnreadableError
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits import PROMPT
from tests.instrumentation.kits.openai import KIT
from tests.instrumentation.kits.openai_resources import RESOURCES
from tests.servers import Answer, Seen, Server

Start = Callable[..., Instrumentation]

# Cases whose replies hold no text, which the table of denied prompts leaves out.
SILENT = [name for name, case in RESOURCES.items() if case.text is None and case.prompted]
# The one of them that sends no text either.
SILENT.remove("images variation")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def perform(kind: str, server: Server, name: str) -> Any:
    case = RESOURCES[name]
    if not KIT.possible(case):
        pytest.skip("not in this version")
    return KIT.perform(kind, server, case)


@pytest.mark.parametrize("name", SILENT)
def test_a_denied_prompt_never_leaves(
    name: str, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        perform(kind, provider, name)
    assert (provider.log, gateway.log) == ([], [])


def test_the_rest_of_a_form_is_as_it_was(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = KIT.speaking(None)
    routed()
    perform(kind, provider, "images edit")
    routed_form = fields(gateway.log[0])
    assert routed_form == {
        "prompt": (None, PROMPT.encode()),
        "model": (None, b"m"),
        "image": ("a.png", b"\x89PNG"),
    }


def test_a_text_of_a_form_is_edited_in_its_place(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = KIT.speaking(None)
    routed(guard=FakeGuard(redact=["SECRET"]))
    perform(kind, provider, "images edit")
    assert fields(gateway.log[0]) == {
        "prompt": (None, b"Tell me the [redacted]."),
        "model": (None, b"m"),
        "image": ("a.png", b"\x89PNG"),
    }


def test_json_in_a_form_is_edited_as_json(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = KIT.speaking(None)
    routed(guard=FakeGuard(redact=["SECRET"]))
    perform(kind, provider, "realtime call")
    (seen,) = (*gateway.log, *provider.log)
    assert fields(seen) == {
        "sdp": (None, b"v=0"),
        "session": (None, b'{"type":"realtime","instructions":"Tell me the [redacted]."}'),
    }
    assert b"Content-Type: application/json" in seen.body
    assert b"Content-Type: application/sdp" in seen.body


def fields(seen: Seen) -> dict[str, tuple[str | None, bytes]]:
    """The fields of a form: each one's file name, and what it holds."""
    boundary = seen.headers["content-type"].partition("boundary=")[2].encode()
    found = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        file = re.search(rb'filename="([^"]*)"', head)
        assert name is not None
        found[name[1].decode()] = (file[1].decode() if file else None, content.removesuffix(b"\r\n"))
    return found


def test_a_form_that_names_a_field_twice_is_not_sent_unread(
    provider: Server, gateway: Server, routed: Start
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    with KIT.make("sync", provider.url) as client, pytest.raises(UnreadableError, match="twice: prompt"):
        client.post(
            "/images/edits",
            cast_to=object,
            body={"prompt": "a"},
            files=[("prompt", (None, b"the SECRET", "text/plain")), ("image", ("a.png", b"x"))],
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
    assert (provider.log, gateway.log) == ([], [])


def test_what_is_to_be_classified_is_sent_as_it_is(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = KIT.speaking(None)
    guard = FakeGuard(deny=["SECRET"])
    routed(guard=guard)

    def blocking() -> None:
        with KIT.make("sync", provider.url) as client:
            client.moderations.create(input="the SECRET", model="omni")

    blocking()
    assert gateway.log[0].json["input"] == "the SECRET"
    (span,) = highflame_spans.finished
    assert span.name == "POST /moderations"
    assert span.attributes is not None
    assert "gen_ai.operation.name" not in span.attributes


def test_sound_and_images_pass_byte_for_byte(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = KIT.speaking(None)
    routed(guard=FakeGuard(deny=["OUT"]))
    reply = perform(kind, provider, "speech")
    assert reply.content == b"\xff\xfb\x00SECRET OUT"


@pytest.mark.parametrize(
    ("content_type", "content"),
    [("text/html", b"<p>the OUT"), ("text/plain", b"\xff\xfe the OUT")],
)
def test_a_transcript_of_another_type_is_not_read_unguarded(
    content_type: str, content: bytes, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = lambda seen: Answer(200, (("content-type", content_type),), [content], length=len(content))
    routed(guard=FakeGuard(deny=["x"]))
    with pytest.raises(UnreadableError):
        perform("sync", provider, "transcription text")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images", "generate_content m"),
        ("transcription", "generate_content m"),
        ("speech", "generate_content m"),
        ("assistants", "create_agent m"),
        ("run", "invoke_agent"),
        ("thread messages", "GET /threads/thread_1/messages"),
        ("vector store search", "retrieval"),
        ("response retrieve", "fetch_response"),
        ("response compact", "chat m"),
        ("files", "GET /files"),
    ],
)
def test_what_a_record_is_called(
    name: str, expected: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = KIT.speaking(None)
    routed()
    if name == "files":
        KIT.perform("sync", provider, KIT.cases["files list"])
    else:
        perform("sync", provider, name)
    (span,) = highflame_spans.finished
    assert span.name == expected
    fetched = expected == "fetch_response"
    assert span.attributes is not None
    assert not fetched or span.attributes["gen_ai.response.id"] == "resp_1"
    assert not (fetched and any(name.startswith("gen_ai.usage") for name in span.attributes)), "paid for before"
