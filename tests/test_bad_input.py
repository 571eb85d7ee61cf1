"""Bad input through real doors: an instrumented SDK against a server on this machine, and the engine by itself.

What else can go wrong has its place already:

* Shield down, slow, answering 500, a page or garbage, 401 twice, 422, no token endpoint: ``shield/test_guard.py``;
* a clock that is wrong: ``shield/test_credentials.py``; Redis gone: ``engine/test_sessions.py``;
* hostile files of policies: ``policies/test_files.py``;
* patterns baited to go round for ever, told by growth: ``engine/test_hostile.py``;
* replies and streams that cannot be read, are too long or too deep: ``test_screens_faults.py`` and
  ``instrumentation/test_faults.py``; any chunking of any stream: ``test_screens_fuzz.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from highflame_middleware import (
    ConfigError,
    DecisionEvent,
    EmbeddedGuard,
    GuardError,
    GuardRequest,
    HighflameError,
    Mode,
    Settings,
    Stage,
    instrument,
)
from tests.engine.samples import streamed
from tests.servers import Answer, Seen, Server, running, stream_answer
from tests.servers import chunk as event

CARD, SHOWN = "4111 1111 1111 1111", "[REDACTED:credit_card]"
TOKEN = "ghp_" + "9fGk2LmQr7TzXc4Vb8Nw1Yd3Hs6Jp5Ka0Me"
HALF = "\ud83d"
MODES = [(mode, fail_open) for mode in Mode for fail_open in ((False, True) if mode is Mode.ENFORCE else (False,))]
MEGABYTES_10 = "All is well. " * 800_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as made:
        yield made


# --- four ways of asking ---


def _client(make: Any, url: str) -> Any:
    return make(api_key="k", base_url=f"{url}/v1", max_retries=0)


def _said(prompt: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


def _delta(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


def blocking(url: str, prompt: str) -> str:
    with _client(openai.OpenAI, url) as client:
        return client.chat.completions.create(**_said(prompt)).choices[0].message.content or ""


def asynchronous(url: str, prompt: str) -> str:
    async def main() -> str:
        async with _client(openai.AsyncOpenAI, url) as client:
            return (await client.chat.completions.create(**_said(prompt))).choices[0].message.content or ""

    return asyncio.run(main())


def streaming(url: str, prompt: str) -> str:
    with _client(openai.OpenAI, url) as client:
        return "".join(map(_delta, client.chat.completions.create(**_said(prompt), stream=True)))


def streaming_asynchronously(url: str, prompt: str) -> str:
    async def main() -> str:
        async with _client(openai.AsyncOpenAI, url) as client:
            return "".join(
                [_delta(one) async for one in await client.chat.completions.create(**_said(prompt), stream=True)]
            )

    return asyncio.run(main())


DOORS = [blocking, asynchronous, streaming, streaming_asynchronously]
each_door = pytest.mark.parametrize("ask", DOORS, ids=lambda ask: ask.__name__)
each_mode = pytest.mark.parametrize(("mode", "fail_open"), MODES)


def saying(text: str, *, size: int = 64) -> Callable[[Seen], Answer]:
    """A server that replies with a text, in events of so many characters where it is to stream."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)] or [""]

    def respond(seen: Seen) -> Answer:
        if seen.json.get("stream"):
            events = [f"data: {json.dumps(event(piece))}\n\n".encode() for piece in pieces]
            return stream_answer([b"".join((*events, b"data: [DONE]\n\n"))])(seen)
        message = {"role": "assistant", "content": text}
        body = {
            "id": "c",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }
        return Answer(chunks=[json.dumps(body).encode()])

    return respond


def outcome(call: Callable[[], Any]) -> tuple[Any, type[BaseException] | None]:
    try:
        return call(), None
    except Exception as error:
        return None, type(error)


# --- prompts ---


@pytest.mark.parametrize(
    ("ask", "mode", "fail_open"),
    # How the reply comes makes no difference to the prompt.
    [(ask, *mode) for ask in DOORS for mode in MODES if ask in DOORS[:2] or mode[0] is Mode.ENFORCE],
)
def test_ten_megabytes_of_prompt(ask: Any, mode: Mode, fail_open: bool, server: Server) -> None:
    """More than the engine reads is a text without a verdict: it is stopped, unless the policy lets it pass."""
    server.log.clear()
    server.respond = saying("Fine.")
    events: list[DecisionEvent] = []
    with instrument(mode=mode, fail_open=fail_open, on_decision=events.append):
        if mode is Mode.ENFORCE and not fail_open:
            with pytest.raises(GuardError, match="longer than max_chars") as caught:
                ask(server.url, MEGABYTES_10)
            assert len(str(caught.value)) < 1_000
            assert server.log == []
        else:
            assert ask(server.url, MEGABYTES_10) == "Fine."
            assert server.log[0].json["messages"][0]["content"] == MEGABYTES_10
    assert events[0].decision == "error"


@pytest.mark.parametrize(
    "prompt",
    ["", " ", "\0", "\0" * 1_000, "\ufffe\uffff", "\r\n" * 500, "\u202e\u2066", "\U0010ffff", "a" * 65_536],
)
@pytest.mark.parametrize("ask", [blocking, streaming_asynchronously])
def test_odd_prompts_arrive(ask: Any, prompt: str, server: Server) -> None:
    server.log.clear()
    server.respond = saying("Fine.")
    with instrument(mode="monitor"):
        assert ask(server.url, prompt) == "Fine."
    assert server.log[0].json["messages"][0]["content"] == prompt
    verdict = EmbeddedGuard().evaluate(GuardRequest(content=prompt))
    assert verdict.allowed
    with instrument():
        ask(server.url, prompt)
    left = prompt if verdict.redacted_content is None else verdict.redacted_content
    assert server.log[1].json["messages"][0]["content"] == left


@each_door
def test_half_of_a_surrogate_pair_in_a_prompt(ask: Any, server: Server) -> None:
    """It cannot be sent as UTF-8: the SDK says so itself, or sends it escaped; either way with us as without us."""
    server.respond = saying("Fine.")
    prompt = f"{HALF} {CARD}"
    server.log.clear()
    without = outcome(lambda: ask(server.url, prompt))
    with instrument(mode="monitor"):
        assert outcome(lambda: ask(server.url, prompt)) == without
    server.log.clear()
    with instrument():
        outcome(lambda: ask(server.url, prompt))
    assert all(CARD.encode() not in seen.body for seen in server.log)


# --- replies ---

RUN = "a1B2" * 16_384  # 64 KB without a break
REPLIES: dict[str, tuple[str, str, str]] = {
    "nothing": ("", "", ""),
    "half of a surrogate pair": (f"{HALF} {CARD}. {HALF}", f"{HALF} {SHOWN}. {HALF}", CARD),
    "a card between surrogate halves": (f"x {HALF}{CARD}{HALF} y", f"x {HALF}{SHOWN}{HALF} y", CARD),
    "an unbroken run": (RUN, RUN, ""),
    "an unbroken run with a key in it": (
        f"{RUN[:32_000]}/{TOKEN}/{RUN[:32_000]}",
        f"{RUN[:32_000]}/[REDACTED:github_token]/{RUN[:32_000]}",
        TOKEN,
    ),
    "an unbroken run that ends in a key": (f"{RUN}={TOKEN}", f"{RUN}=[REDACTED:github_token]", TOKEN),
    "a key that goes on and on": (f"password={RUN} end", "password=[REDACTED:password] end", RUN[:64]),
}


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize(
    ("ask", "size"),
    [(blocking, 0), (asynchronous, 0), *((ask, size) for ask in DOORS[2:] for size in (97, 1_000, 100_000))],
)
def test_a_reply_leaks_nothing_and_loses_nothing(ask: Any, name: str, size: int, server: Server) -> None:
    text, left, secret = REPLIES[name]
    server.respond = saying(text, size=size or 1)
    with instrument():
        assert ask(server.url, "Go on.") == left
    assert not secret or secret not in left
    with instrument(mode="monitor"):
        assert ask(server.url, "Go on.") == text


@pytest.mark.parametrize("ask", [streaming, streaming_asynchronously], ids=lambda ask: ask.__name__)
def test_a_character_at_a_time(ask: Any, server: Server) -> None:
    text = f"Charge {CARD} and use {TOKEN}, password=hunter{22}!x; call +1 212-555-0100. 🙂 你好"
    server.respond = saying(text, size=1)
    with instrument():
        said = ask(server.url, "Go on.")
    assert said == EmbeddedGuard().evaluate(GuardRequest.at(Stage.RESPONSE, text)).redacted_content
    assert SHOWN in said


@each_mode
@each_door
def test_bytes_that_are_no_text(ask: Any, mode: Mode, fail_open: bool, server: Server) -> None:
    """A reply that is no UTF-8 cannot be guarded: stopped with an error of ours, or left to the SDK as it is."""

    def respond(seen: Seen) -> Answer:
        whole = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "@"}}]})
        piece = f"data: {json.dumps(event('@'))}\n\ndata: [DONE]\n\n"
        streams = bool(seen.json.get("stream"))
        content = (piece if streams else whole).encode().replace(b"@", b"\xff\xfe " + CARD.encode())
        return stream_answer([content])(seen) if streams else Answer(chunks=[content])

    server.respond = respond
    without = outcome(lambda: ask(server.url, "Go on."))
    events: list[DecisionEvent] = []
    with instrument(mode=mode, fail_open=fail_open, on_decision=events.append):
        said, error = outcome(lambda: ask(server.url, "Go on."))
    if mode is Mode.ENFORCE and not fail_open:
        assert error is not None
        assert issubclass(error, HighflameError)
    else:
        assert (said, error) == without or SHOWN in (said or "")
    assert any(one.stage is Stage.RESPONSE for one in events)


# --- the engine by itself ---

TEXTS = [
    "",
    "\0",
    HALF,
    f"{HALF} " * 5_000,
    f"{HALF}{CARD}{HALF}",
    RUN,
    f"{RUN}={TOKEN}",
    "\ufdd0\uffff\U0010ffff",
    "\n" * 70_000,
]


@pytest.mark.parametrize("stage", Stage, ids=str)
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:8]))
def test_the_engine_takes_any_text_whole_and_in_pieces(text: str, stage: Stage) -> None:
    guard = EmbeddedGuard()
    verdict = guard.evaluate(GuardRequest.at(stage, text))
    step = 1 if len(text) < 1_000 else 501
    pieces, released, _ = streamed(guard, text, range(step, len(text), step), stage)
    assert (pieces.decision, pieces.redaction_entries) == (verdict.decision, verdict.redaction_entries)
    for secret in (CARD, TOKEN):
        assert secret not in (released or "")
        assert secret not in repr(verdict)


@pytest.mark.parametrize("stage", Stage, ids=str)
def test_the_engine_reads_ten_megabytes_where_it_is_told_to_and_no_more_where_not(stage: Stage) -> None:
    request = GuardRequest.at(stage, MEGABYTES_10)
    with pytest.raises(GuardError, match="max_chars=1000000"):
        EmbeddedGuard().evaluate(request)
    window = EmbeddedGuard().window(GuardRequest.at(stage, ""))
    with pytest.raises(GuardError, match="max_chars=1000000"):
        for at in range(0, len(MEGABYTES_10), 50_000):
            window.feed(MEGABYTES_10[at : at + 50_000])


# --- settings that cannot be used are said before a call is made ---


@pytest.mark.parametrize(
    "text", ["permit(" * 100_000, "\0", "forbid (principal, action, resource) when { " + "(" * 5_000]
)
def test_a_hostile_file_of_policies(text: str, tmp_path: Any, server: Server) -> None:
    pytest.importorskip("cedarpy", reason="the extra policy is not installed")
    path = tmp_path / "own.cedar"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        instrument(settings=Settings(policies=(str(path),)))
    assert "own.cedar" in str(caught.value)
    server.respond = saying("Fine.")
    assert blocking(server.url, "Hello") == "Fine."  # nothing has been patched


@pytest.mark.parametrize(
    "options", [{"guard": EmbeddedGuard}, {"guard_options": {"redact": "x"}}, {"guard_options": {"rdact": ()}}]
)
def test_a_guard_that_cannot_be_made(options: dict[str, Any]) -> None:
    """Said where it is asked for: a log line beside an SDK that is not patched would be a silent allow."""
    with pytest.raises(ConfigError):
        instrument(settings=Settings(**options))
