"""What is google-genai's own: rounds of function calls, replies as objects, late tokens, streams that resume."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

genai = pytest.importorskip("google.genai")

from google.genai import _api_client, errors, types  # noqa: E402

from highflame_middleware import BlockedError, Gateway, UnreadableError, instrument  # noqa: E402
from highflame_middleware.config import Settings  # noqa: E402
from highflame_middleware.instrumentation import Instrumentation  # noqa: E402
from highflame_middleware.testing import CapturedSpans, FakeGuard  # noqa: E402
from tests.instrumentation.kits import PROMPT, SPOKEN, google, google_vertex  # noqa: E402  # noqa: E402
from tests.instrumentation.kits.google import candidate, joined, reply, speaking, stream_of  # noqa: E402
from tests.servers import Answer, Respond, Seen, Server, json_answer  # noqa: E402
from tests.windows import WindowedGuard  # noqa: E402

Start = Callable[..., Instrumentation]
RELEASE = tuple(int(part) for part in genai.__version__.split(".")[:2])
NAMES = ("_build_request", "request", "request_streamed", "async_request", "async_request_streamed")


_kept: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    _kept.clear()


def make(kind: str, url: str, *, kit: Any = google, **options: Any) -> Any:
    """A client that lives as long as the test: one that is dropped is closed, whatever it is asked."""
    client = kit.make(kind, url, **options)
    _kept.append(client)
    return client


def ask(client: Any, **config: Any) -> Any:
    return client.models.generate_content(model="m", contents=PROMPT, config=config or None)


def stream(client: Any, **config: Any) -> Any:
    return client.models.generate_content_stream(model="m", contents=PROMPT, config=config or None)


async def closed(client: Any) -> None:
    if hasattr(client, "aclose"):
        await client.aclose()


def events(*replies: Any, **fields: Any) -> Respond:
    return lambda seen: Answer(200, (("content-type", "text/event-stream"),), stream_of(*replies), **fields)


def in_turn(*answers: Any) -> Respond:
    """Replies one after the other, the last one for ever."""
    left = list(answers)

    def respond(seen: Seen) -> Answer:
        given = left.pop(0) if len(left) > 1 else left[0]
        return given(seen) if callable(given) else json_answer(given)(seen)

    return respond


# -------------------------------------------------------------------------------------------------- tools


CALL = {"functionCall": {"name": "look_up", "args": {"who": "SECRET agent"}}}


def test_each_round_of_automatic_function_calling_is_a_call(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = in_turn(reply(candidate(CALL, finish="STOP")), reply(candidate(SPOKEN, finish="STOP")))
    guard = FakeGuard(redact=["SECRET"])
    routed(guard=guard)
    called = []

    def look_up(who):  # type: ignore[no-untyped-def]
        """Look somebody up: no SECRET here."""
        called.append(who)
        return "found the SECRET"

    look_up.__annotations__ = {"who": str, "return": str}
    assert ask(make("sync", provider.url), tools=[look_up]).text == "The [redacted] is out."
    assert called == ["[redacted] agent"]
    assert [seen.path.endswith("/models/m:generateContent") for seen in gateway.log] == [True, True]
    assert provider.log == []
    assert all(b"SECRET" not in seen.body for seen in gateway.log)
    sent = gateway.log[1].json["contents"]
    assert sent[-1]["parts"][0]["functionResponse"]["response"] == {"result": "found the [redacted]"}
    assert [span.name for span in highflame_spans.finished] == ["generate_content m"] * 2
    stages = {
        (request.stage.label, request.tool.name) for request in guard.requests if request.tool and request.stage
    }
    assert stages == {("tool call", "look_up"), ("tool result", "look_up")}


def test_a_denied_tool_call_is_not_made(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = in_turn(reply(candidate(CALL)))
    routed(guard=FakeGuard(deny=["SECRET agent"]))

    def look_up(who):  # type: ignore[no-untyped-def]
        """Look somebody up."""
        raise AssertionError("it must not be called")

    look_up.__annotations__ = {"who": str, "return": str}
    with pytest.raises(BlockedError) as caught:
        ask(make("sync", provider.url), tools=[look_up])
    assert caught.value.stage.label == "tool call"


def test_a_tools_own_calls_are_calls_of_their_own(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    call = {"functionCall": {"name": "again", "args": {}}}
    gateway.respond = in_turn(*(reply(candidate(said)) for said in (call, "inner", "outer")))
    routed(guard=FakeGuard())
    client = make("sync", provider.url)

    def again() -> str:
        """Ask again."""
        return str(ask(client).text)

    assert ask(client, tools=[again]).text == "outer"
    assert "inner" in gateway.log[2].body.decode()
    assert len(highflame_spans.finished) == 3


def test_a_streamed_tool_call_is_whole_and_an_object(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = events(
        reply(candidate("Wait. ")), reply(candidate(CALL)), reply(candidate("Done.", finish="STOP"))
    )
    routed(guard=FakeGuard(redact=["SECRET"]))
    chunks = list(stream(make("sync", provider.url)))
    assert [chunk.function_calls[0].args for chunk in chunks if chunk.function_calls] == [
        {"who": "[redacted] agent"}
    ]
    assert len(chunks) == 3


# ---------------------------------------------------------------------------------------------------- streams

SAID = "It is the SECRET, and a SECRET again."


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_redaction_reaches_over_events_however_they_are_cut(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    cuts = [[SAID[:at], SAID[at:]] for at in range(1, len(SAID))]
    cuts.append(list(SAID))
    given = iter(cuts)
    gateway.respond = lambda seen: speaking(next(given))(seen)
    routed(guard=WindowedGuard(redact=["SECRET"]))

    heard = [joined(perform(kind, stream, provider)) for _ in cuts]
    assert set(heard) == {"It is the [redacted], and a [redacted] again."}


def test_texts_of_two_candidates_and_thoughts_are_apart(provider: Server, gateway: Server, routed: Start) -> None:
    thought = {"text": "SEC", "thought": True}
    gateway.respond = events(
        reply(candidate(thought, "RET"), {**candidate("RET"), "index": 1}),
        reply(candidate({"text": "RET.", "thought": True}, finish="STOP"), {**candidate("SEC"), "index": 1}),
    )
    routed(guard=FakeGuard(redact=["SECRET"]))
    chunks = list(stream(make("sync", provider.url)))
    parts = [[[part.text for part in one.content.parts] for one in chunk.candidates] for chunk in chunks]
    assert parts == [[["[redacted].", "RET"], ["RET"]], [[""], ["SEC"]]]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_is_cleared_does_not_wait_for_the_end(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = endless()
    routed(guard=FakeGuard(), stream="sentence")
    client = make(kind, provider.url)

    async def first() -> Any:
        chunks = await stream(client)
        found = await anext(chunks)
        await chunks.aclose()
        await closed(client)
        return found

    if kind == "sync":
        chunks = stream(client)
        assert next(chunks).text == "One."
        chunks.close()
    else:
        assert asyncio.run(first()).text == "One."


# ------------------------------------------------------------------------------------------------- addresses


def test_the_gateways_key_stays_where_the_sdk_sets_a_token(
    provider: Server, gateway: Server, routed: Start
) -> None:
    routed(api_key="k-gateway")
    gateway.respond = speaking()
    ask(make("sync", provider.url, kit=google_vertex))
    ask(make("sync", provider.url))
    for seen in gateway.log:
        assert seen.headers["authorization"] == "Bearer k-gateway"
        assert "provider" not in str(seen.headers)
    assert gateway.log[0].path.endswith(
        "/projects/p/locations/us-central1/publishers/google/models/m:generateContent"
    )


def test_what_the_span_says(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = speaking()
    routed()
    ask(make("sync", provider.url), temperature=0.5, top_k=40)
    ask(make("sync", provider.url, kit=google_vertex))
    make("sync", provider.url).models.count_tokens(model="m", contents=PROMPT)
    make("sync", provider.url).models.embed_content(model="e", contents=PROMPT)
    first, second, third, fourth = highflame_spans.finished
    assert first.name == "generate_content m"
    assert first.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert second.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert first.attributes["gen_ai.request.temperature"] == 0.5
    assert first.attributes["gen_ai.response.model"] == "m-001"
    assert first.attributes["gen_ai.response.finish_reasons"] == ("STOP",)
    assert (first.attributes["gen_ai.usage.input_tokens"], first.attributes["gen_ai.usage.output_tokens"]) == (3, 5)
    assert "gen_ai.operation.name" not in third.attributes
    assert fourth.name == "embeddings e"


def test_a_base_url_with_a_path_and_one_for_a_single_call(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()
    routed()
    client = make("sync", f"{provider.url}/google")
    ask(client)
    ask(client, http_options={"base_url": f"{provider.url}/other/"})
    paths = [seen.path for seen in gateway.log]
    assert len(paths) == 2
    assert all(path.endswith("/models/m:generateContent") for path in paths)
    assert not any("google" in path or "other" in path for path in paths)
    assert provider.log == []


def test_a_gateway_in_this_process_does_not_carry_it(provider: Server) -> None:
    """It has no way to speak this format yet: the call goes to its own host, guarded."""
    provider.respond = speaking()
    inside = Gateway(providers={"gemini": {"base_url": provider.url}}, guard=None)
    settings = Settings(gateway=inside, guard=FakeGuard(redact=["SECRET"]), reroute_hosts=("*",))
    with closing(inside), instrument(settings=settings):
        assert ask(make("sync", provider.url)).text == "The [redacted] is out."
    assert len(provider.log) == 1
    assert b"SECRET" not in provider.log[0].body


def test_asynchronous_calls_over_httpx(provider: Server, gateway: Server, routed: Start) -> None:
    """Where the SDK does not use aiohttp."""
    httpx = _httpx()
    if "httpx_async_client" not in types.HttpOptions.model_fields:
        pytest.skip(f"google-genai {genai.__version__} takes no client of ours")
    gateway.respond = speaking()
    routed(guard=FakeGuard(redact=["SECRET"]))

    async def call() -> None:
        async with httpx.AsyncClient(trust_env=False) as given:
            client = make("async", provider.url, http_options={"httpx_async_client": given})
            assert (await ask(client)).text == "The [redacted] is out."
            assert joined([chunk async for chunk in await stream(client)]) == "The [redacted] is out."

    asyncio.run(call())
    assert len(gateway.log) == 2


def _httpx() -> Any:
    """Whichever of the two libraries this version checks its responses against."""
    try:
        import httpx2
    except ImportError:
        httpx2 = None
    import httpx

    return httpx2 if httpx2 is not None and hasattr(_api_client, "_HTTPX_RESPONSE_TYPES") else httpx


# ----------------------------------------------------------------------------------------------------- faults


ERROR = {"error": {"code": 0, "message": "no", "status": "NO"}}


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("how", [ask, stream])
@pytest.mark.parametrize("status", [400, 429, 503])
def test_errors_stay_the_sdks_own(
    status: int,
    how: Any,
    kind: str,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
) -> None:
    expected = errors.ServerError if status > 499 else errors.ClientError
    gateway.respond = json_answer({"error": {**ERROR["error"], "code": status}}, status)
    routed(guard=FakeGuard())
    with pytest.raises(expected) as caught:
        perform(kind, how, provider)
    assert caught.value.code == status
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"].endswith(expected.__name__)


def perform(kind: str, how: Any, server: Server, **options: Any) -> Any:
    if kind == "sync":
        client = make(kind, server.url, **options)
        given = how(client)
        return list(given) if how is stream else given

    async def call() -> Any:
        client = make(kind, server.url, **options)
        try:
            given = await how(client)
            return [chunk async for chunk in given] if how is stream else given
        finally:
            await closed(client)

    return asyncio.run(call())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_in_a_stream(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    if RELEASE < (1, 65):
        pytest.skip(f"google-genai {genai.__version__} does not look for errors in a stream")
    gateway.respond = events(reply(candidate("So far.")), {"error": {"code": 503, "message": "x", "status": "U"}})
    routed(guard=FakeGuard())
    with pytest.raises(errors.ServerError):
        perform(kind, stream, provider)
    assert len(highflame_spans.finished) == 1


def test_retries_are_one_call(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = in_turn(json_answer(ERROR, 503), reply(candidate("Well.")))
    routed(guard=FakeGuard(redact=["SECRET"]))
    retry = {"retry_options": {"attempts": 3, "initial_delay": 0.01, "jitter": 0}}
    if "retry_options" not in types.HttpOptions.model_fields:
        pytest.skip(f"google-genai {genai.__version__} does not retry")
    assert ask(make("sync", provider.url, http_options=retry)).text == "Well."
    assert [seen.path.endswith("/models/m:generateContent") for seen in gateway.log] == [True, True]
    assert all(b"SECRET" not in seen.body for seen in gateway.log)
    assert len(highflame_spans.finished) == 1


@pytest.mark.parametrize("content", [b"<html>It works!</html>", b'{"candidates": [{"cont', b"[" * 100_000])
def test_a_reply_that_cannot_be_read(content: bytes, provider: Server, gateway: Server, routed: Start) -> None:
    if RELEASE < (1, 30):
        pytest.skip(f"google-genai {genai.__version__} reads a reply before anybody else can")
    gateway.respond = json_answer(content)
    routed(guard=FakeGuard())
    with pytest.raises(UnreadableError, match="is not JSON, though it says so"):
        ask(make("sync", provider.url))


def test_a_reply_of_more_than_can_be_held(
    provider: Server, gateway: Server, routed: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highflame_middleware.screens.MAX_HELD", 1000)
    gateway.respond = speaking(["word "] * 2000)
    routed(guard=FakeGuard())
    with pytest.raises(UnreadableError, match="longer than 1000 bytes"):
        ask(make("sync", provider.url))
    with pytest.raises(UnreadableError, match="cannot be guarded with the 1000 bytes kept"):
        list(stream(make("sync", provider.url)))


def test_a_stream_of_more_than_can_be_held_passes_where_the_policy_says_so(
    provider: Server, gateway: Server, routed: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highflame_middleware.screens.MAX_HELD", 1000)
    gateway.respond = speaking(["word "] * 100)
    routed(guard=FakeGuard(), fail_open=True)
    assert joined(list(stream(make("sync", provider.url)))) == "word " * 100


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_that_is_cut(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = events(reply(candidate("All is")), cut=True)
    routed(guard=FakeGuard())
    with pytest.raises(Exception) as caught:
        perform(kind, stream, provider)
    assert not isinstance(caught.value, BlockedError)
    (span,) = highflame_spans.finished
    assert span.status.status_code.name == "ERROR"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stopped_stream_is_not_resumed(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    """The SDK goes on with a stream that broke, where it has a token for that: not with one that was stopped."""
    token = {"continuationToken": "dG9rZW4="}
    gateway.respond = events(reply(candidate("All is well. ", **token)), reply(candidate("It is OUT.", **token)))
    routed(guard=FakeGuard(deny=["OUT"]), stream="sentence")
    with pytest.raises(BlockedError):
        perform(kind, stream, provider)
    assert len(gateway.log) == 1
    assert len(highflame_spans.finished) == 1


def endless() -> Respond:
    return events(reply(candidate("One.")), reply(candidate(" Two.")), hang=True)


@pytest.mark.parametrize("guard", [None, "sentences"])
@pytest.mark.parametrize("how", ["break", "close", "exception"])
def test_leaving_a_stream_that_never_ends(
    how: str, guard: str | None, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = endless()
    routed(guard=FakeGuard() if guard else None, stream="sentence")
    client = make("sync", provider.url)

    def leave() -> None:
        chunks = stream(client)
        if how == "exception":
            with pytest.raises(ZeroDivisionError):
                for _ in chunks:
                    raise ZeroDivisionError
            del chunks
        elif how == "close":
            next(chunks)
            chunks.close()
        else:
            for _ in chunks:
                break

    leave()
    gc.collect()
    assert gateway.left.wait(5), "the upstream is closed at once"
    (span,) = highflame_spans.finished
    assert span.status.status_code.name == "UNSET"


@pytest.mark.parametrize("guard", [None, "sentences"])
@pytest.mark.parametrize("how", ["break", "aclose", "cancel"])
def test_leaving_an_asynchronous_stream(
    how: str, guard: str | None, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = endless()
    routed(guard=FakeGuard() if guard else None, stream="sentence")

    async def leave() -> None:
        client = make("async", provider.url)
        if how == "cancel":

            async def read() -> None:
                async for _ in await stream(client):
                    pass

            task = asyncio.ensure_future(read())
            while not gateway.log:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "aclose":
            chunks = await stream(client)
            await anext(chunks)
            await chunks.aclose()
        else:
            async for _ in await stream(client):
                break
        gc.collect()
        assert await asyncio.to_thread(gateway.left.wait, 5), "the upstream is closed while the loop runs"
        await closed(client)

    asyncio.run(leave())
    assert len(highflame_spans.finished) == 1


def test_a_stream_that_is_never_read_makes_no_call(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    routed(guard=FakeGuard())
    del highflame_spans
    chunks = stream(make("sync", provider.url))
    chunks.close()
    assert gateway.log == provider.log == []


# ------------------------------------------------------------------------------------------- as it was, and apart


def test_what_nothing_changes_is_handed_on_as_it_came(provider: Server, gateway: Server, routed: Start) -> None:
    """Object by object, whatever the guard only looks at."""
    made: list[Any] = []
    original = _api_client.BaseApiClient.request_streamed

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        for item in original(self, *args, **kwargs):
            made.append(item)
            yield item

    gateway.respond = speaking()
    _api_client.BaseApiClient.request_streamed = spy
    try:
        routed(guard=FakeGuard())
        client = make("sync", provider.url)._api_client
        path = "models/m:streamGenerateContent?alt=sse"
        # The first call has the seam proven, whose own calls are seen here as well.
        list(client.request_streamed("post", path, {"contents": []}))
        made.clear()
        seen = list(client.request_streamed("post", path, {"contents": [{"parts": [{"text": "Hi"}]}]}))
    finally:
        _api_client.BaseApiClient.request_streamed = original
    assert len(seen) == 3
    assert all(got is given for got, given in zip(seen, made, strict=True))


def test_nothing_is_left_behind(provider: Server, routed: Start) -> None:
    before = {name: vars(_api_client.BaseApiClient)[name] for name in NAMES}
    handle = routed()
    assert all(vars(_api_client.BaseApiClient)[name] is not before[name] for name in NAMES)
    assert handle.status()["google-genai"].state == "patched"
    handle.uninstrument()
    assert {name: vars(_api_client.BaseApiClient)[name] for name in NAMES} == before
    provider.respond = speaking()
    assert ask(make("sync", provider.url)).text == SPOKEN


def test_the_callers_objects_are_not_changed(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()
    routed(guard=FakeGuard(redact=["SECRET"]))
    contents: Any = [{"role": "user", "parts": [{"text": "The SECRET."}]}]
    body = {"contents": contents}
    client = make("sync", provider.url)
    client.models.generate_content(model="m", contents=contents)
    client._api_client.request("post", "models/m:generateContent", body)
    assert all(b"SECRET" not in seen.body for seen in gateway.log)
    assert body == {"contents": [{"role": "user", "parts": [{"text": "The SECRET."}]}]}


def test_threads_do_not_mix_their_calls(provider: Server, gateway: Server, routed: Start) -> None:
    def echo(seen: Seen) -> Answer:
        said = seen.json["contents"][0]["parts"][0]["text"]
        return json_answer(reply(candidate(f"{said} {seen.headers['x-goog-api-key']}")))(seen)

    gateway.respond = echo
    routed(guard=FakeGuard(redact=["SECRET"]))
    wrong: list[str] = []

    def work(number: int) -> None:
        client = make("sync", provider.url, api_key=f"k{number}")
        for turn in range(20):
            said = client.models.generate_content(model="m", contents=f"{number}.{turn} SECRET").text
            if said != f"{number}.{turn} [redacted] k{number}":
                wrong.append(str(said))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(gateway.log) == 160
    assert json.loads(gateway.log[0].body)
