"""The guard on a reply's bytes: one table of what comes out, and every way in which bytes may come in."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from highflame_middleware import EmbeddedGuard, GuardRequest, GuardResponse, screens
from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.sse import FRAMING
from highflame_middleware.drivers import aperform, perform
from highflame_middleware.errors import BlockedError, GuardError, UnreadableError
from highflame_middleware.exchange import Exchange
from highflame_middleware.flow import arun, run
from highflame_middleware.screens import EventScreen, JsonScreen, screen_for
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, Mode
from tests.exchanges import (
    Passed,
    Record,
    chat_texts,
    cuts,
    decisions,
    decoded,
    events_of,
    exchange,
    passed,
    screened,
    sse,
)
from tests.windows import WindowedGuard

JSON, EVENTS = "application/json", "text/event-stream"
DONE = b"data: [DONE]\n\n"


def chunk(content: str | None = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """One chat chunk, with fields of no known meaning about it."""
    if content is not None:
        delta["content"] = content
    choice = {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish,
        "x_choice": [1, {"a": None}],
    }
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "x_own": {"é": 1.5}}


def spoken(*pieces: str, index: int = 0) -> list[dict[str, Any]]:
    return [chunk(piece, index=index) for piece in pieces]


def stream(*data: Any, done: bool = True) -> list[bytes]:
    """A chat stream: the role first, the end last."""
    return [*sse(chunk(role="assistant", content=""), *data), *([DONE] if done else [])]


def reply(*contents: str | None, **message: Any) -> bytes:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}
        for index, content in enumerate(contents)
    ]
    return json.dumps(
        {"id": "c-1", "object": "chat.completion", "choices": choices, "x_own": {"é": 1.5}}, indent=1
    ).encode()


def without_text(content: bytes) -> list[Any]:
    """A chat stream's data with its texts blanked: what an edit must not touch."""
    out = decoded(content)
    for data in out:
        for choice in data["choices"]:
            if "content" in choice["delta"]:
                choice["delta"]["content"] = "·"
    return out


CHUNKINGS: dict[str, Any] = {
    "whole": lambda content: [content],
    "by event": lambda content: [event + b"\n\n" for event in content.split(b"\n\n")[:-1]],
    "by byte": lambda content: cuts(content, [1]),
    "at random": lambda content: cuts(content, [3, 50, 1, 7, 400, 2]),
    "with empty chunks": lambda content: [b"", content[:30], b"", b"", content[30:], b""],
}


# ------------------------------------------------------------------------------------------------- the table

SAID = "The SECRET is out."
FAULT = ValueError("the text was: SECRET")
# What the guard says of the reply: how, and what is done about it in enforce (closed, open) and modify.
VERDICTS: dict[str, tuple[dict[str, Any], tuple[str, str, str], str]] = {
    "allow": ({}, ("pass", "pass", "pass"), "allow"),
    "modify": ({"redact": ["SECRET"]}, ("edit", "edit", "edit"), "modify"),
    "deny": ({"deny": ["SECRET"]}, ("stop", "stop", "pass"), "deny"),
    "step_up": ({"step_up": ["SECRET"]}, ("stop", "stop", "pass"), "step_up"),
    "defer": ({"defer": ["SECRET"]}, ("stop", "stop", "pass"), "defer"),
    "fault": ({"fault": FAULT}, ("stop", "pass", "pass"), "error"),
}
COLUMNS = {("enforce", False): 0, ("enforce", True): 1, ("modify", False): 2, ("modify", True): 2}
ROWS = list(itertools.product(VERDICTS, Mode, (False, True)))


def expected_of(verdict: str, mode: Mode, fail_open: bool) -> str:
    column = COLUMNS.get((mode.value, fail_open))
    return "pass" if column is None else VERDICTS[verdict][1][column]


@pytest.mark.parametrize(("verdict", "mode", "fail_open"), ROWS)
@pytest.mark.parametrize("local", [True, False])
def test_a_reply_in_one_piece(verdict: str, mode: Mode, fail_open: bool, local: bool) -> None:
    given, _, decision = VERDICTS[verdict]
    outcome = expected_of(verdict, mode, fail_open)
    content = reply("Hello.", SAID)
    owner = exchange(FakeGuard(**given, local=local), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(content, [40]), JSON)
    if outcome == "pass":
        assert out.content == content
    elif outcome == "edit":
        body = json.loads(content)
        body["choices"][1]["message"]["content"] = "The [redacted] is out."
        assert json.loads(out.content) == body
    else:
        assert out.content == b""
    check_stop(out, verdict, outcome)
    others = "error" if verdict == "fault" else "allow"
    assert decisions(owner) == [
        ("response", others, others != "allow" and outcome != "pass"),
        ("response", decision, outcome != "pass"),
    ]


@pytest.mark.parametrize(("verdict", "mode", "fail_open"), ROWS)
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_a_reply_in_events(verdict: str, mode: Mode, fail_open: bool, chunking: str) -> None:
    given, _, decision = VERDICTS[verdict]
    outcome = expected_of(verdict, mode, fail_open)
    content = b"".join(stream(*spoken("The SEC", "RET is", " out."), chunk(finish="stop")))
    chunks = CHUNKINGS[chunking](content)
    owner = exchange(FakeGuard(**given), mode=mode, fail_open=fail_open)
    out = screened(owner, chunks)
    if outcome == "pass":
        assert out.content == content
    elif outcome == "edit":
        assert chat_texts(out.content) == {0: "The [redacted] is out."}
        assert without_text(out.content) == without_text(content)
        assert out.content.endswith(DONE)
    else:
        assert chat_texts(out.content) in ({}, {0: ""})
        assert b"stop" not in out.content, "not even that it is finished"
        assert out.content == content[: len(out.content)]
    if not mode.edits:
        assert out.pieces == [*chunks, b""], "whoever looks on holds nothing back"
    check_stop(out, verdict, outcome)
    assert decisions(owner) == [("response", decision, outcome != "pass")]


def check_stop(out: Passed, verdict: str, outcome: str) -> None:
    assert (out.stopped is not None) is (outcome == "stop")
    if outcome == "stop" and verdict == "fault":
        assert isinstance(out.stopped, GuardError)
        assert "SECRET" not in str(out.stopped)
    elif outcome == "stop":
        assert isinstance(out.stopped, BlockedError)
        assert (out.stopped.decision, out.stopped.stage.value) == (Decision(verdict), "response")


def test_asynchronous_readers_get_the_same() -> None:
    async def aread(owner: Exchange, chunks: list[bytes]) -> bytes:
        screen = EventScreen(owner, load_codec("openai-chat"), FRAMING)
        out = [await arun(screen.feed(part), aperform) for part in chunks]
        return b"".join([*out, await arun(screen.finish(), aperform)])

    chunks = cuts(b"".join(stream(*spoken("The SEC", "RET is", " out."))), [11])
    for local in (True, False):
        guard = FakeGuard(redact=["SECRET"], local=local)
        assert asyncio.run(aread(exchange(guard), chunks)) == screened(exchange(guard), chunks).content


def test_of_several_texts_the_worst_verdict_counts() -> None:
    guard = FakeGuard(deny=["bomb"], defer=["later"])
    out = screened(exchange(guard), [reply("later", "bomb")], JSON)
    assert isinstance(out.stopped, BlockedError)
    assert out.stopped.decision is Decision.DENY


# ------------------------------------------------------------------------------------------------- bytes that stay

UNTOUCHED: dict[str, list[bytes]] = {
    "LF": stream(*spoken("a", "b"), chunk(finish="stop")),
    "CRLF": [event.replace(b"\n", b"\r\n") for event in stream(*spoken("a", "b"))],
    "CR": [event.replace(b"\n", b"\r") for event in stream(*spoken("a", "b"))],
    "comments, names, ids": [b": hi\n\n", b"event: x\nid: 7\nretry: 5\n" + sse(chunk("a"))[0], b": ping\n\n", DONE],
    "a byte order mark": [b"\xef\xbb\xbf", *stream(*spoken("a"))],
    "odd spacing": [b'data:   {"choices" : [ {"delta":{"content":"a"} } ] }\n\n', DONE],
    "escapes": [b'data: {"choices":[{"index":0,"delta":{"content":"\\u00e9\\ud83d\\ude00\\/"}}]}\n\n', DONE],
    "a lone surrogate": [b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n', DONE],
    "numbers as they are written": [
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"n":1.50e1}\n\n',
        DONE,
    ],
    "lines of data": [b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"a"}}]}\n\n', DONE],
    "no end": stream(*spoken("a"), done=False),
    "cut in the middle": [*stream(*spoken("a"), done=False), b'data: {"choices":[{"index":0,"del'],
    "cut in a field's name": [*stream(*spoken("a"), done=False), b"dat"],
    "cut before the empty line": [*stream(*spoken("a"), done=False), sse(chunk("b"))[0][:-1]],
    "after the end": [*stream(*spoken("a")), *sse(chunk("b"))],
    "bare text": [b"data: hello\n\n", b'data: "quoted"\n\n', DONE],
    "bare text of several lines": [b"data: hello\ndata: there\n\n", DONE],
    "other JSON": [*sse({"error": {"message": "slow down"}}), *sse(["a", 1], 5, None), DONE],
    "nothing but the end": [DONE],
    "empty": [],
    "empty lines": [b"\n\n\r\n\r\n", *stream(*spoken("a"))],
    "usage": stream(*spoken("a"), {"id": "c-1", "choices": [], "usage": {"prompt_tokens": 3}}),
}


@pytest.mark.parametrize("setting", ["buffer", "sentence", "passthrough", "window"])
@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_allowed_comes_out_byte_for_byte(name: str, setting: str) -> None:
    events = UNTOUCHED[name]
    content = b"".join(events)
    rolled = random.Random(name)
    ways = [events, [content], cuts(content, [1])]
    ways += [cuts(content, [rolled.choice((1, 2, 5, 30, 200)) for _ in range(20)]) for _ in range(5)]
    for chunks in ways:
        guard = WindowedGuard(redact=["SECRET"]) if setting == "window" else FakeGuard(redact=["SECRET"])
        owner = exchange(guard, stream="buffer" if setting == "window" else setting)
        out = screened(owner, chunks)
        assert (out.content, out.error) == (content, None)


def test_an_edit_leaves_every_other_event_as_it_came() -> None:
    events = [
        b': hi\r\ndata: {"choices": [{"index": 0, "delta": {"content": "a "}}], "n": 1.50}\r\n\r\n',
        b'id: 7\rdata: {"choices": [{"index": 0, "delta": {"content": "SECRET"}}], "n": 1.50}\r\r',
        b'data: {"choices": [{"index": 0, "delta": {"content": " b"}}], "n": 1.50}\n\n',
        DONE,
    ]
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), events)
    edited = b'id: 7\rdata: {"choices":[{"index":0,"delta":{"content":"[redacted]"}}],"n":1.5}\r\r'
    assert out.content == b"".join([events[0], edited, events[2], events[3]])


def test_a_guard_without_a_window_gives_a_new_text_which_stands_in_its_first_piece() -> None:
    out = screened(exchange(FakeGuard(redact=["SECRET"])), stream(*spoken("a ", "SECRET", " b")))
    pieces = [data["choices"][0]["delta"]["content"] for data in decoded(out.content)]
    assert pieces == ["", "a [redacted] b", "", ""]


# ------------------------------------------------------------------------------------------------- across events


def splits(word: str, parts: int) -> list[list[str]]:
    """Every way of cutting a word into so many parts."""
    places = itertools.combinations(range(1, len(word)), parts - 1)
    return [[word[a:b] for a, b in itertools.pairwise((0, *chosen, len(word)))] for chosen in places]


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
def test_a_secret_in_pieces_is_taken_out_once(guard: Any, parts: int) -> None:
    for pieces in splits("SECRET", parts):
        content = stream(*spoken("The ", *pieces, " is", " out."), chunk(finish="stop"))
        out = screened(exchange(guard(redact=["SECRET"])), content)
        assert chat_texts(out.content) == {0: "The [redacted] is out."}
        assert out.content.count(b"[redacted]") == 1
        assert without_text(out.content) == without_text(b"".join(content))


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_pieces_with_something_else_in_them_keep_it(parts: int) -> None:
    for pieces in splits("SECRET", parts):
        first, *middle, last = pieces
        content = stream(*spoken(f"the {first}", *middle, f"{last}, then SECRET", "!"))
        out = screened(exchange(WindowedGuard(redact=["SECRET"])), content)
        contents = [data["choices"][0]["delta"]["content"] for data in decoded(out.content)]
        assert contents == ["", "the [redacted]", *("" for _ in middle), ", then [redacted]", "!"]


def test_events_between_the_pieces_wait_with_them_in_order() -> None:
    """What follows a text that is not cleared follows it in what comes out, whatever it is."""
    usage = {"id": "c-1", "choices": [], "usage": {"prompt_tokens": 3}}
    events = [
        *sse(chunk("SEC")),
        b": ping\n\n",
        *sse(usage),
        b"\n\n",
        *sse(chunk(" out", index=1)),
        *sse(chunk("ret")),
    ]
    owner = exchange(WindowedGuard(redact=["SECRET"]))
    screen = EventScreen(owner, load_codec("openai-chat"), FRAMING)
    out = [run(screen.feed(event), perform) for event in events]
    assert out == [b"", b"", b"", b"", b"", b"".join(events)]


def test_choices_in_turn_are_judged_apart() -> None:
    data = [
        chunk("the SEC"), chunk("a SEC", index=1), chunk("RET", index=0), chunk("ond", index=1),
        chunk(" is", index=0), chunk(finish="stop", index=0), chunk(" try", index=1), chunk(finish="stop", index=1),
    ]  # fmt: skip
    for guard in (FakeGuard(redact=["SECRET"]), WindowedGuard(redact=["SECRET"])):
        out = screened(exchange(guard), stream(*data))
        assert chat_texts(out.content) == {0: "the [redacted] is", 1: "a SECond try"}


def test_two_choices_in_one_event() -> None:
    both = {"id": "c", "choices": [chunk("SEC")["choices"][0], chunk("fine ", index=1)["choices"][0]]}
    rest = {"id": "c", "choices": [chunk("RET")["choices"][0], chunk("SECRET", index=1)["choices"][0]]}
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), sse(both, rest))
    assert chat_texts(out.content) == {0: "[redacted]", 1: "fine [redacted]"}


def test_one_choice_that_is_denied_ends_the_stream_for_all() -> None:
    data = [chunk("fine"), chunk("a bomb", index=1), chunk(finish="stop"), chunk(finish="stop", index=1)]
    out = screened(exchange(FakeGuard(deny=["bomb"])), stream(*data))
    assert isinstance(out.stopped, BlockedError)
    assert b"bomb" not in out.content


@pytest.mark.parametrize("kind", ["reasoning_content", "refusal", "reasoning"])
def test_other_kinds_of_text_are_guarded_on_their_own(kind: str) -> None:
    pieces = [chunk(**{kind: "the SEC"}), chunk("SEC", **{kind: "RET"}), chunk("ond")]
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), stream(*pieces))
    assert chat_texts(out.content) == {0: "SECond"}
    assert "".join(data["choices"][0]["delta"].get(kind, "") for data in decoded(out.content)) == "the [redacted]"


def test_a_text_that_is_said_twice_is_taken_out_twice() -> None:
    """As Together does: once in the delta and once beside it."""
    events = sse(
        *({"choices": [{"index": 0, "text": text, "delta": {"content": text}}]} for text in ("SEC", "RET"))
    )
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), [*events, DONE])
    first, second = (data["choices"][0] for data in decoded(out.content))
    assert (first["text"], first["delta"]["content"]) == ("[redacted]", "[redacted]")
    assert (second["text"], second["delta"]["content"]) == ("", "")


def test_log_probabilities_of_an_edited_piece_are_taken_out_and_others_stay() -> None:
    logprobs = {"content": [{"token": "SEC", "bytes": [83, 69, 67], "logprob": -0.1}]}
    pieces = [
        {**chunk(text), "choices": [{**chunk(text)["choices"][0], "logprobs": logprobs}]}
        for text in ("a ", "SECRET", " b")
    ]
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), sse(*pieces))
    assert [data["choices"][0]["logprobs"] for data in decoded(out.content)] == [logprobs, None, logprobs]
    body = json.loads(reply("a SECRET"))
    body["choices"][0]["logprobs"] = logprobs
    edited = screened(exchange(FakeGuard(redact=["SECRET"])), [json.dumps(body).encode()], JSON)
    assert json.loads(edited.content)["choices"][0]["logprobs"] is None


def test_an_insertion_at_the_border_of_two_pieces_is_made_once() -> None:
    class Inserting(FakeGuard):
        """Puts a mark before the third character."""

        def evaluate(self, request: GuardRequest) -> GuardResponse:
            return GuardResponse(
                decision=Decision.MODIFY, redacted_content=f"{request.content[:2]}|{request.content[2:]}"
            )

    out = screened(exchange(Inserting(), stream="sentence"), stream(*spoken("ab", "cd")))
    assert chat_texts(out.content) == {0: "ab|cd"}


# ------------------------------------------------------------------------------------------------- hold-back

PIECES = ("One. T", "wo SEC", "ond! Th", "ree")
# How much of the text is out after each piece: setting or window.
HELD: dict[str, list[str]] = {
    "buffer": ["", "", "", ""],
    # A piece leaves as a whole, once its last character is in a sentence that has ended.
    "sentence": ["", "", "One. Two SEC", "One. Two SEC"],
    "passthrough": ["One. T", "One. Two SEC", "One. Two SECond! Th", "One. Two SECond! Three"],
    "window": ["One. T", "One. T", "One. Two SECond! Th", "One. Two SECond! Three"],
}


@pytest.mark.parametrize("setting", HELD)
def test_how_long_a_text_is_held_back(setting: str) -> None:
    windowed = setting == "window"
    guard = WindowedGuard(redact=["SECRET"]) if windowed else FakeGuard(redact=["SECRET"])
    owner = exchange(guard, stream="buffer" if windowed else setting)
    screen = EventScreen(owner, load_codec("openai-chat"), FRAMING)
    out, seen = b"", []
    for event in sse(*spoken(*PIECES)):
        out += run(screen.feed(event), perform)
        seen.append(chat_texts(out).get(0, ""))
    assert seen == HELD[setting]
    out += run(screen.finish(), perform)
    assert chat_texts(out) == {0: "One. Two SECond! Three"}


def test_the_end_of_a_choice_lets_its_text_go_before_the_stream_ends() -> None:
    """The clients stop reading at the end's mark: nothing may be held until after it."""
    screen = EventScreen(exchange(FakeGuard()), load_codec("openai-chat"), FRAMING)
    events = stream(*spoken("a", "b"), chunk(finish="stop"))
    out = [run(screen.feed(event), perform) for event in events]
    assert [bool(part) for part in out] == [True, False, False, True, True]
    assert b"".join(out) == b"".join(events)
    assert run(screen.finish(), perform) == b""


def test_without_a_reason_the_mark_of_the_end_lets_all_go() -> None:
    screen = EventScreen(exchange(FakeGuard()), load_codec("openai-chat"), FRAMING)
    events = stream(*spoken("a", "b"))
    out = b"".join(run(screen.feed(event), perform) for event in events)
    assert out == b"".join(events)


@pytest.mark.parametrize("mode", ["monitor", "alert"])
@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
def test_who_only_looks_on_holds_nothing_back(guard: Any, mode: str) -> None:
    content = b"".join(stream(*spoken("The SEC", "RET is out."), chunk(finish="stop")))
    for chunks in ([content], cuts(content, [1]), cuts(content, [7, 90])):
        owner = exchange(guard(redact=["SECRET"]), mode=mode)
        screen = EventScreen(owner, load_codec("openai-chat"), FRAMING)
        assert [run(screen.feed(part), perform) for part in chunks] == chunks
        assert run(screen.finish(), perform) == b""
        assert decisions(owner) == [("response", "modify", False)]
        held = JsonScreen(exchange(guard(deny=["SECRET"]), mode=mode), load_codec("openai-chat"))
        parts = cuts(reply("SECRET"), [9])
        assert [run(held.feed(part), perform) for part in parts] == parts
        assert run(held.finish(), perform) == b""


# ------------------------------------------------------------------------------------------------- tool calls


def called(*pieces: str, name: str = "pay", number: int = 0, index: int = 0) -> list[dict[str, Any]]:
    """A tool call in pieces: its name first."""
    first = {
        "index": number,
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
    rest = [{"index": number, "function": {"arguments": piece}} for piece in pieces]
    return [chunk(index=index, tool_calls=[part]) for part in (first, *rest)]


class ToolGuard(FakeGuard):
    """Denies calls of one tool, whatever their arguments."""

    def __init__(self, tool: str) -> None:
        super().__init__()
        self._tool = tool

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        self.requests.append(request)
        denied = request.stage == "tool_call" and request.tool is not None and request.tool.name == self._tool
        return GuardResponse(decision=Decision.DENY if denied else Decision.ALLOW)


@pytest.mark.parametrize("setting", ["buffer", "sentence", "passthrough"])
@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
def test_arguments_are_held_until_they_are_whole(guard: Any, setting: str) -> None:
    owner = exchange(guard(), stream=setting)
    screen = EventScreen(owner, load_codec("openai-chat"), FRAMING)
    events = stream(*called('{"to": ', '"ada"', "}"), chunk(finish="tool_calls"))
    out = [run(screen.feed(event), perform) for event in events]
    assert out == [events[0], b"", b"", b"", b"", b"".join(events[1:-1]), DONE]
    (request,) = owner.policy.guard.evaluate.__self__.requests  # type: ignore[union-attr]
    assert (request.content, request.tool.name, request.tool.arguments) == ('{"to": "ada"}', "pay", {"to": "ada"})


DENIED_CALLS: dict[str, list[dict[str, Any]]] = {
    "with arguments": [*called('{"to": "ada"}'), chunk(finish="tool_calls")],
    "with none": [*called(), chunk(finish="tool_calls")],
    "the second of two": [*called("{}", name="find"), *called("{}", number=1), chunk(finish="tool_calls")],
    "two that are both number 0": [
        *called("{}", name="find"),
        chunk(tool_calls=[{"index": 0, "id": "other", "function": {"name": "pay", "arguments": "{}"}}]),
        chunk(finish="tool_calls"),
    ],
    "after a text": [*spoken("I will pay."), *called("{}"), chunk(finish="tool_calls")],
    "without an end": called("{}"),
}


@pytest.mark.parametrize("name", DENIED_CALLS)
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_a_denied_tool_is_not_called(name: str, chunking: str) -> None:
    content = b"".join(stream(*DENIED_CALLS[name]))
    out = screened(exchange(ToolGuard("pay")), CHUNKINGS[chunking](content))
    assert isinstance(out.stopped, BlockedError)
    assert out.stopped.stage == "tool_call"
    assert b'"pay"' not in out.content
    assert b'finish_reason":"tool_calls' not in out.content


@pytest.mark.parametrize("arguments", ['{"to": "ada"}', "{}", "", None, {"to": "ada"}])
def test_a_denied_tool_is_not_called_in_one_piece(arguments: Any) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "pay", "arguments": arguments}}]
    out = screened(exchange(ToolGuard("pay")), [reply(None, tool_calls=calls)], JSON)
    assert isinstance(out.stopped, BlockedError)
    assert out.content == b""


def test_arguments_are_redacted_as_long_as_they_stay_json() -> None:
    content = stream(*called('{"card": "41', '11", "n": 1}'), chunk(finish="tool_calls"))
    out = screened(exchange(FakeGuard(redact=["4111"])), content)
    arguments = "".join(
        call["function"]["arguments"]
        for data in decoded(out.content)
        for call in data["choices"][0]["delta"].get("tool_calls", [])
    )
    assert json.loads(arguments) == {"card": "[redacted]", "n": 1}
    broken = screened(exchange(FakeGuard(redact=['"4111"'])), content)
    assert isinstance(broken.stopped, BlockedError)
    assert b"41" not in broken.content


# ------------------------------------------------------------------------------------------ the responses API


def responses(owner_of: Any, events: list[bytes], **policy: Any) -> tuple[Exchange, Passed]:
    owner = exchange(owner_of, codec="openai-responses", path="/v1/responses", **policy)
    return owner, screened(owner, events)


def event(kind: str, **fields: Any) -> bytes:
    data = {"type": f"response.{kind}", "sequence_number": 1, **fields}
    return f"event: response.{kind}\ndata: {json.dumps(data)}\n\n".encode()


def message(*pieces: str, place: int = 0) -> tuple[list[bytes], dict[str, Any]]:
    """A message as it is streamed, and as it stands in the final response."""
    where = {"item_id": "msg_1", "output_index": place, "content_index": 0}
    whole = "".join(pieces)
    part = {"type": "output_text", "text": whole, "annotations": [], "logprobs": [{"token": whole}]}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    started = {**item, "status": "in_progress", "content": []}
    events = [
        event("output_item.added", output_index=place, item=started),
        event("content_part.added", **where, part={**part, "text": "", "logprobs": []}),
        *(event("output_text.delta", **where, delta=piece, logprobs=[{"token": piece}]) for piece in pieces),
        event("output_text.done", **where, text=whole, logprobs=[{"token": whole}]),
        event("content_part.done", **where, part=part),
        event("output_item.done", output_index=place, item=item),
    ]
    return events, item


def tool_call(
    name: str, arguments: str, *, place: int = 0, deltas: bool = True
) -> tuple[list[bytes], dict[str, Any]]:
    where = {"item_id": f"fc_{place}", "output_index": place}
    item = {"id": f"fc_{place}", "type": "function_call", "call_id": "c", "name": name, "arguments": arguments}
    halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
    events = [
        event("output_item.added", output_index=place, item={**item, "arguments": ""}),
        *(event("function_call_arguments.delta", **where, delta=half) for half in halves if deltas),
        *([event("function_call_arguments.done", **where, arguments=arguments)] if deltas else []),
        event("output_item.done", output_index=place, item=item),
    ]
    return events, item


def whole(*items: dict[str, Any]) -> bytes:
    return event("completed", response={"id": "resp_1", "status": "completed", "output": list(items)})


def texts_in(content: bytes) -> list[str]:
    """Every string of a stream's data."""

    def strings(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [found for item in below for found in strings(item)]

    return [text for data in decoded(content) for text in strings(data)]


@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_what_a_stream_says_again_is_edited_again(guard: Any, chunking: str) -> None:
    events, item = message("The SEC", "RET is", " out.")
    content = b"".join([event("created", response={"id": "resp_1", "output": []}), *events, whole(item)])
    owner, out = responses(guard(redact=["SECRET"]), CHUNKINGS[chunking](content))
    assert out.error is None
    assert b"SECRET" not in out.content
    edited = "The [redacted] is out."
    assert texts_in(out.content).count(edited) == (4 if guard is WindowedGuard else 5), "done, part, item, response"
    deltas = [data["delta"] for data in decoded(out.content) if data["type"] == "response.output_text.delta"]
    assert "".join(deltas) == edited
    done = decoded(out.content)[-1]["response"]["output"][0]["content"][0]
    assert done == {"type": "output_text", "text": edited, "annotations": [], "logprobs": None}
    assert decisions(owner) == [("response", "modify", True)], "judged once, however often it is said"


def test_a_stream_of_which_nothing_is_changed_is_judged_once_and_stays() -> None:
    events, item = message("Hel", "lo")
    calls, call = tool_call("find", '{"q": 1}', place=1)
    content = [*events, *calls, whole(item, call)]
    guard = FakeGuard()
    _, out = responses(guard, content)
    assert out.content == b"".join(content)
    assert [(asked.stage.value, asked.content) for asked in guard.requests] == [
        ("response", "Hello"),
        ("tool_call", '{"q": 1}'),
    ]


def test_a_tool_call_of_the_responses_api_is_held_until_it_is_whole() -> None:
    events, item = tool_call("find", '{"q": 1}')
    screen = EventScreen(exchange(FakeGuard(), codec="openai-responses"), load_codec("openai-responses"), FRAMING)
    out = [run(screen.feed(part), perform) for part in [*events, whole(item)]]
    assert [bool(part) for part in out] == [True, False, False, True, True, True]


FOUND = tool_call("find", "{}")[0]
REPEATED: dict[str, list[bytes]] = {
    "a call with arguments that another was allowed": [*FOUND, *tool_call("pay", "{}", place=1)[0]],
    "the same, not streamed": [*FOUND, *tool_call("pay", "{}", place=1, deltas=False)[0]],
    "the same, in the end only": [*FOUND, whole(tool_call("pay", "{}")[1])],
    "arguments that were said as text": [*message("{}")[0], *tool_call("pay", "{}", place=1, deltas=False)[0]],
    "a call with nothing": tool_call("pay", "", deltas=False)[0],
    "a call with nothing, after another's": [
        *tool_call("find", "", deltas=False)[0],
        *tool_call("pay", "", place=1, deltas=False)[0],
    ],
}


@pytest.mark.parametrize("name", REPEATED)
def test_words_that_were_allowed_elsewhere_are_not_allowed_here(name: str) -> None:
    owner, out = responses(ToolGuard("pay"), REPEATED[name])
    assert isinstance(out.stopped, BlockedError)
    assert decisions(owner)[-1] == ("tool_call", "deny", True)
    ended = [data for data in decoded(out.content) if data["type"].endswith((".done", ".completed"))]
    assert "pay" not in json.dumps(ended)
    assert len(out.content) < len(b"".join(REPEATED[name]))


def test_a_denied_shell_command_is_held_while_it_is_written() -> None:
    where = {"output_index": 0, "command_index": 0}
    item = {"type": "shell_call", "id": "sh", "action": {"commands": ["rm -rf /"]}}
    events = [
        event(
            "output_item.added", output_index=0, item={"type": "shell_call", "id": "sh", "action": {"commands": []}}
        ),
        event("shell_call_command.added", **where, command=""),
        event("shell_call_command.delta", **where, delta="rm -"),
        event("shell_call_command.delta", **where, delta="rf /"),
        event("shell_call_command.done", **where, command="rm -rf /"),
        event("output_item.done", output_index=0, item=item),
    ]
    _, out = responses(FakeGuard(deny=["rm -rf"]), events)
    assert isinstance(out.stopped, BlockedError)
    assert out.stopped.stage == "tool_call"
    assert b"rf" not in out.content


def test_a_text_that_comes_whole_only_is_judged_where_it_stands() -> None:
    item = message("The SECRET")[1]
    for guard, expected in ((FakeGuard(redact=["SECRET"]), "The [redacted]"), (FakeGuard(deny=["SECRET"]), None)):
        _, out = responses(guard, [event("in_progress", response={"id": "r"}), whole(item)])
        if expected is None:
            assert isinstance(out.stopped, BlockedError)
            assert b"completed" not in out.content
        else:
            assert texts_in(out.content).count(expected) == 1
        assert b"SECRET" not in out.content.replace(b'"token": "The SECRET"', b"")


# ------------------------------------------------------------------------------------------ what cannot be read

HTML = b"<html><body>Bad gateway</body></html>"
BODIES: dict[str, bytes] = {
    "HTML": HTML,
    "truncated": reply("Hello")[:-20],
    "not UTF-8": b'{"choices": "\xff"}',
    "two bodies": b"{}{}",
    "too deep": b"[" * 100_000,
    "a number too long": b"1" * 10_000,
    "bytes": bytes(range(256)),
}
READINGS = [
    ("enforce", False, "UnreadableError"),
    ("enforce", True, None),
    ("modify", False, None),
    ("monitor", False, None),
]


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_cannot_be_read(name: str, mode: str, fail_open: bool, error: str | None) -> None:
    owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(BODIES[name], [100]), JSON)
    assert (out.error, out.content) == (error, b"" if error else BODIES[name])
    assert decisions(owner) == [("response", "error", error is not None)], "on record in any case"
    if error:
        assert "is not JSON, though it says so: it could not be guarded" in str(out.stopped)


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"choices": []}', b'{"choices": null}'])
def test_a_body_with_nothing_in_it_passes(content: bytes) -> None:
    owner = exchange(FakeGuard(deny=[""]))
    out = screened(owner, [content], JSON)
    assert (out.content, out.error) == (content, None)


@pytest.mark.parametrize(
    "content",
    [b'"The SECRET"', b'["The SECRET"]', b'{"answer": "The SECRET"}', b'\xef\xbb\xbf{"answer": "The SECRET"}'],
)
def test_a_body_in_another_shape_is_guarded_all_the_same(content: bytes) -> None:
    out = screened(exchange(FakeGuard(deny=["SECRET"])), [content], JSON)
    assert isinstance(out.stopped, BlockedError)
    edited = screened(exchange(FakeGuard(redact=["SECRET"])), [content], JSON)
    assert b"The [redacted]" in edited.content
    assert b"SECRET" not in edited.content


def test_an_edit_of_what_is_nested_too_deeply_is_not_lost() -> None:
    """Some interpreters read deeper than they write: such a reply cannot be edited, and must not pass unedited."""
    depth = 900
    while depth > 10:
        content = (
            b'{"choices": [{"message": {"content": "SECRET", "x": ' + b"[" * depth + b"1" + b"]" * depth + b"}}]}"
        )
        out = screened(exchange(FakeGuard(redact=["SECRET"])), [content], JSON)
        assert b"SECRET" not in out.content
        if out.stopped is None:
            break
        assert isinstance(out.stopped, UnreadableError)
        depth -= 1
    assert depth > 500


STREAMS: dict[str, list[bytes]] = {
    "not UTF-8": [*stream(*spoken("a"), done=False), b"data: \xff\xfe\n\n", DONE],
    "a name that is not UTF-8": [b'event: \xff\ndata: {"choices": []}\n\n', DONE],
    "bytes that say they are events": [bytes(range(256))],
}


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_cannot_be_read(name: str, mode: str, fail_open: bool, error: str | None) -> None:
    content = b"".join(STREAMS[name])
    for chunks in (STREAMS[name], [content], cuts(content, [1])):
        owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
        out = screened(owner, chunks)
        assert out.error == error
        if error is None:
            assert out.content == content
        else:
            assert content.startswith(out.content)
            assert b"\xff" not in out.content
        assert ("response", "error", error is not None) in decisions(owner)
        assert [found for _, found, _ in decisions(owner)].count("error") == 1


BARE: dict[str, bytes] = {
    "a word": b"data: SECRET",
    "a string": b'data: "SECRET"',
    "a list": b'data: ["SECRET"]',
    "broken JSON": b'data: {"choices": [{"delta": {"content": "SECRET"',
    "another API's event": b'data: {"type":"content_block_delta","delta":{"text":"SECRET"}}',
    "an error": b'data: {"error":{"message":"SECRET"}}',
    "lines": b"data: x\ndata: SECRET",
    "something after the end's mark": b"data: [DONE] SECRET",
    "JSON that says it is events": b'{"choices": [{"message": {"content": "SECRET"}}]}',
    "HTML that says it is events": b"<html>SECRET</html>",
    "lines of something else": b"error: SECRET\nnote: x",
}


@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""])
@pytest.mark.parametrize("name", BARE)
def test_an_event_in_another_shape_is_guarded_all_the_same(name: str, end: bytes) -> None:
    content = [*stream(*spoken("a"), done=False), BARE[name] + end]
    denied = screened(exchange(FakeGuard(deny=["SECRET"])), content)
    assert isinstance(denied.stopped, BlockedError)
    assert b"SECRET" not in denied.content
    edited = screened(exchange(FakeGuard(redact=["SECRET"])), content)
    expected = b"".join(content).replace(b"SECRET", b"[redacted]")
    assert edited.content.rstrip(b"\n") == expected.rstrip(b"\n")


KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "JSON": ({}, "JsonScreen"),
    "JSON with a charset": ({"content_type": "application/json; charset=utf-8"}, "JsonScreen"),
    "JSON in capitals": ({"content_type": "Application/JSON"}, "JsonScreen"),
    "a kind of JSON": ({"content_type": "application/problem+json"}, "JsonScreen"),
    "events": ({"content_type": "text/event-stream; charset=utf-8"}, "EventScreen"),
    "no kind": ({"content_type": None}, "JsonScreen"),
    "no kind, of a stream": ({"content_type": "", "stream": True}, "EventScreen"),
    "HTML": ({"content_type": "text/html"}, "_UnreadableScreen"),
    "HTML, failing open": ({"content_type": "text/html", "fail_open": True}, ""),
    "HTML, looked on at": ({"content_type": "text/html", "mode": "monitor"}, ""),
    "HTML, unguarded": ({"content_type": "text/html", "guard": None}, ""),
    "an error": ({"status": 500}, ""),
    "a redirect": ({"status": 307}, ""),
    "nothing": ({"status": 204}, ""),
    "created": ({"status": 201}, "JsonScreen"),
    "no codec": ({"codec": None}, ""),
    "no guard": ({"guard": None}, ""),
    "no guard, but on record": ({"guard": None, "recording": True}, "JsonScreen"),
}


@pytest.mark.parametrize("name", KINDS)
def test_which_screen_a_reply_gets(name: str) -> None:
    fields, expected = KINDS[name]
    given = {"status": 200, "content_type": JSON, "guard": FakeGuard(), "codec": "openai-chat", **fields}
    codec = load_codec(given["codec"]) if given["codec"] else None
    owner = exchange(
        given["guard"],
        mode=given.get("mode", "enforce"),
        fail_open=given.get("fail_open", False),
        recording=given.get("recording", False),
    )
    owner.call = replace(owner.call, stream=given.get("stream", False))
    screen = screen_for(owner, status=given["status"], content_type=given["content_type"], codec=codec)
    assert (type(screen).__name__ if screen else "") == expected
    assert len(events_of(owner)) == ("HTML" in name and "unguarded" not in name), "what is not read is on record"


def test_nothing_of_an_unreadable_kind_passes() -> None:
    out = screened(exchange(FakeGuard()), [HTML[:10], HTML[10:]], "text/html")
    assert (out.content, out.error) == (b"", "UnreadableError")
    assert "is text/html, where openai-chat answers in JSON or events" in str(out.stopped)


def test_what_begins_like_the_mark_of_the_end_ends_the_stream() -> None:
    """As it does to the clients, which read no further: what is held must leave with it."""
    screen = EventScreen(exchange(FakeGuard()), load_codec("openai-chat"), FRAMING)
    events = [*stream(*spoken("a", "b"), done=False), b"data: [DONE] and more\n\n"]
    assert b"".join(run(screen.feed(event), perform) for event in events) == b"".join(events)


def test_after_a_stop_nothing_more_comes_out() -> None:
    for kind, content in (
        (JSON, [reply("SECRET")]),
        (EVENTS, stream(*spoken("SECRET"), chunk(finish="stop"))),
        ("text/html", [HTML]),
    ):
        owner = exchange(FakeGuard(deny=["SECRET"]))
        screen = screen_for(owner, status=200, content_type=kind, codec=load_codec("openai-chat"))
        assert screen is not None
        passed(screen, content)
        stopped, record = screen.stopped, list(events_of(owner))
        assert stopped is not None
        for more in (b"more SECRET", b"data: more\n\n"):
            assert run(screen.feed(more), perform) == b""
        assert run(screen.finish(), perform) == b""
        assert (screen.stopped, events_of(owner)) == (stopped, record)


@pytest.mark.parametrize("codec", ["openai-chat", "openai-responses", "openai-completions"])
def test_a_refusal_is_in_the_replys_own_format(codec: str) -> None:
    owner = exchange(FakeGuard(), codec=codec)
    error = BlockedError(
        GuardResponse(decision=Decision.DENY, policy_reason="ünï \ud800"), stage=screens.Stage.RESPONSE
    )
    body = json.loads(JsonScreen(owner, load_codec(codec)).refusal(error))
    assert [text.value for text in load_codec(codec).read_reply(body).texts] == [str(error)]
    (data,) = decoded(EventScreen(owner, load_codec(codec), FRAMING).refusal(error))
    assert str(error) in json.dumps(data, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------- too much


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """What may be held, made small."""
    monkeypatch.setattr(screens, "MAX_HELD", 2_000)
    return 2_000


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
def test_a_body_that_is_too_long(mode: str, fail_open: bool, error: str | None, limit: int) -> None:
    content = reply("x" * 3_000)
    owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(content, [300]), JSON)
    assert (out.error, out.content) == (error, b"" if error else content)
    assert decisions(owner) == [("response", "error", error is not None)]
    assert str(limit) in events_of(owner)[0].reason  # type: ignore[operator]


LONG: dict[str, list[bytes]] = {
    "a text that nobody clears": stream(*spoken(*["x" * 90] * 30)),
    "one event": stream(chunk("x" * 3_000)),
    "an event that never ends": [*stream(done=False), b"data: " + b"x" * 3_000],
    "bare text for ever": [f"data: {number} {'x' * 40}\n\n".encode() for number in range(60)],
}


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
@pytest.mark.parametrize("name", LONG)
def test_a_stream_that_is_too_long(name: str, mode: str, fail_open: bool, error: str | None, limit: int) -> None:
    content = b"".join(LONG[name])
    owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(content, [100]))
    assert out.error == error
    if error is None:
        assert out.content == content
    else:
        assert content.startswith(out.content)
        assert len(out.content) < 3_000
        assert "cannot be guarded with the 2000 bytes kept for it" in str(out.stopped)
    assert [found for found in decisions(owner) if found[1] == "error"] == [
        ("response", "error", error is not None)
    ]


def test_beyond_the_limit_what_was_found_stays_out(limit: int) -> None:
    """Failing open lets pass what nobody could judge: not what has been judged."""
    content = stream(chunk("wait", index=1), chunk("the SECRET"), *spoken(*["x" * 90] * 30))
    guard = WindowedGuard(redact=["SECRET", "waiting"])
    out = screened(exchange(guard, fail_open=True), content)
    assert out.error is None
    assert chat_texts(out.content) == {0: "the [redacted]" + "x" * 2_700, 1: "wait"}


def test_texts_that_are_cleared_count_towards_the_limit_only_once(limit: int) -> None:
    """They are kept to be compared with what is said again: so a stream may be as long as the limit."""
    content = stream(*spoken(*["y" * 10] * 150), chunk(finish="stop"))
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), content)
    assert (out.content, out.error) == (b"".join(content), None)


# ------------------------------------------------------------------------------------------------- on record


def test_what_a_reply_says_of_itself_goes_on_record() -> None:
    usage = {"id": "c-1", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    for guard, mode in ((FakeGuard(), "enforce"), (FakeGuard(), "monitor"), (None, "enforce")):
        owner = exchange(guard, mode=mode, recording=True)
        content = stream(*spoken("a"), chunk(finish="stop"), usage)
        assert screened(owner, content).content == b"".join(content)
        assert isinstance(owner.recorder, Record)
        found = owner.recorder.summary
        assert (found.id, found.finish_reasons, found.input_tokens, found.output_tokens) == ("c-1", ("stop",), 3, 5)
        body = json.dumps({**usage, "choices": json.loads(reply("a"))["choices"]}).encode()
        owner = exchange(guard, mode=mode, recording=True)
        assert screened(owner, cuts(body, [50]), JSON).content == body
        assert isinstance(owner.recorder, Record)
        assert (owner.recorder.summary.finish_reasons, owner.recorder.summary.output_tokens) == (("stop",), 5)


def test_one_decision_for_each_text() -> None:
    owner = exchange(WindowedGuard(redact=["SECRET"]))
    data = [*spoken("the SEC", "RET"), *spoken("x", index=1), *called("{}"), chunk(finish="stop")]
    screened(owner, stream(*data))
    assert sorted(decisions(owner)) == [
        ("response", "allow", False),
        ("response", "modify", True),
        ("tool_call", "allow", False),
    ]


# ------------------------------------------------------------------------------------------ the embedded engine

CARD = "4111 1111 1111 1111"
TOKEN = "ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2z4A"
SAYINGS: list[str] = [
    "Nothing to see here, move along please.",
    f"My card is {CARD}, thanks!",
    f"Use {TOKEN} and then {CARD}.",
    f"{CARD}",
    f"password: hunter2-and-more\nand {TOKEN}",
    "zero\u200b\u200bwidth and 4111 1111 is no card",
    "äöü " * 40 + CARD + " 😀" * 20,
    "AAAA" * 600 + f" {TOKEN}",
]


def pieces_of(text: str, rolled: random.Random) -> list[str]:
    places = sorted(rolled.choices(range(len(text) + 1), k=rolled.randrange(1, 12)))
    return [text[a:b] for a, b in itertools.pairwise((0, *places, len(text))) if a < b]


@pytest.mark.parametrize("number", range(len(SAYINGS)))
def test_a_stream_says_what_the_engine_makes_of_its_text(number: int) -> None:
    """However the model cuts its text into deltas, and the network the deltas into chunks."""
    text = SAYINGS[number]
    verdict = EmbeddedGuard().evaluate(GuardRequest.at(screens.Stage.RESPONSE, text, role="assistant"))
    expected = text if verdict.redacted_content is None else verdict.redacted_content
    rolled = random.Random(number)
    for _ in range(15):
        content = b"".join(stream(*spoken(*pieces_of(text, rolled)), chunk(finish="stop")))
        sizes: Sequence[int] = [rolled.choice((1, 3, 17, 90, 500)) for _ in range(30)]
        owner = exchange(EmbeddedGuard())
        out = screened(owner, cuts(content, sizes))
        assert out.error is None
        assert chat_texts(out.content) == {0: expected}
        assert without_text(out.content) == without_text(content)
        if expected == text:
            assert out.content == content
        (found,) = decisions(owner)
        assert found == ("response", verdict.decision.value, expected != text)


def test_the_engine_lets_a_stream_flow() -> None:
    """Each word leaves as soon as it is whole: with the blank behind it."""
    screen = EventScreen(exchange(EmbeddedGuard()), load_codec("openai-chat"), FRAMING)
    words = sse(*spoken(*("alpha ", "beta ", "gamma ") * 20))
    assert [run(screen.feed(word), perform) for word in words] == words


def test_the_engine_stops_a_destructive_command() -> None:
    content = stream(
        *called('{"cmd": "rm ', '-rf / --no-preserve-root"}', name="shell"), chunk(finish="tool_calls")
    )
    out = screened(exchange(EmbeddedGuard()), content)
    assert isinstance(out.stopped, BlockedError)
    assert b"rm " not in out.content


@pytest.mark.parametrize("guard", [FakeGuard, WindowedGuard])
def test_any_chunking_of_any_stream_says_the_same(guard: Any) -> None:
    """Random texts over a small alphabet, so that words begin, break off and overlap in every way."""
    rolled = random.Random(41)
    for _ in range(120):
        texts = [
            "".join(rolled.choices("SECRT .", weights=(4, 6, 4, 4, 4, 1, 1), k=rolled.randrange(60)))
            for _ in range(2)
        ]
        texts[0] += "SECRET" * rolled.randrange(2)
        data = [chunk(piece, index=index) for index, text in enumerate(texts) for piece in pieces_of(text, rolled)]
        if rolled.random() < 0.5:
            # In turn, but each choice's own in order.
            firsts = [item for item in data if item["choices"][0]["index"] == 0]
            seconds = [item for item in data if item["choices"][0]["index"] == 1]
            data = [item for pair in itertools.zip_longest(firsts, seconds) for item in pair if item is not None]
        content = b"".join(stream(*data))
        out = screened(
            exchange(guard(redact=["SECRET"])), cuts(content, [rolled.choice((1, 9, 60, 999)) for _ in range(9)])
        )
        expected = {index: text.replace("SECRET", "[redacted]") for index, text in enumerate(texts)}
        said = chat_texts(out.content)
        assert {index: said.get(index, "") for index in (0, 1)} == expected
        assert without_text(out.content) == without_text(content)


# ------------------------------------------------------------------------------------------------- never


def garbled(content: bytes, rolled: random.Random) -> bytes:
    """A body with some of its bytes changed, lost, doubled or put elsewhere."""
    out = bytearray(content)
    for _ in range(rolled.randrange(1, 6)):
        at, length = rolled.randrange(len(out) + 1), rolled.randrange(12)
        part = bytes(out[at : at + length])
        way = rolled.randrange(4)
        if way == 0:
            del out[at : at + length]
        elif way == 1:
            out[at:at] = bytes(rolled.choice(b'\r\n\n :{}[]",\xff\xf0\0a') for _ in range(length))
        elif way == 2:
            out[at:at] = part
        else:
            del out[at : at + length]
            place = rolled.randrange(len(out) + 1)
            out[place:place] = part
    return bytes(out)


def good_bodies(codec: str) -> list[tuple[str, bytes]]:
    if codec == "openai-responses":
        events, item = message("The SEC", "RET is")
        calls, call = tool_call("pay", '{"a": 1}', place=1)
        return [
            (EVENTS, b"".join([*events, *calls, whole(item, call)])),
            (JSON, json.dumps({"output": [item, call]}).encode()),
        ]
    chats = stream(*spoken("The SEC", "RET is"), *called('{"a": ', "1}"), chunk(finish="stop"))
    return [
        (EVENTS, b"".join(chats)),
        (JSON, reply("The SECRET", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])),
    ]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "codec", ["openai-chat", "openai-responses", "openai-completions", "openai-embeddings", "any-json"]
)
def test_no_bytes_make_a_screen_raise_or_lose_any(codec: str, mode: Mode) -> None:
    rolled = random.Random(f"{codec} {mode}")
    for kind, good in good_bodies(codec):
        for turn in range(60):
            content = garbled(good, rolled)
            chunks = cuts(content, [rolled.choice((1, 7, 60, 999)) for _ in range(9)])
            guard = (FakeGuard, WindowedGuard)[turn % 2](redact=["SECRET"])
            out = screened(exchange(guard, mode=mode, codec=codec), chunks, kind)
            if not mode.edits:
                assert out.pieces == [*chunks, b""]
            if out.stopped is None:
                if b"[redacted]" not in out.content:
                    assert out.content == content
            else:
                assert isinstance(out.stopped, UnreadableError)
                assert mode is Mode.ENFORCE


@pytest.mark.parametrize("codec", ["openai-chat", "openai-completions"])
def test_where_nobody_judges_only_telling_events_are_read(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, and those that say why it ended or what it cost: the same summary as from all of them."""
    said = [{"id": "c", "model": "m", "choices": [{"index": 0, "text": "a", "delta": {}, "finish_reason": None}]}]
    ends = {"id": "c", "model": "m", "choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": "stop"}]}
    counts = {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    owner = exchange(None, codec=codec, recording=True)
    parsed: list[bytes] = []
    framing = replace(FRAMING, parse=lambda raw: (parsed.append(raw), FRAMING.parse(raw))[1])
    chunks = sse(*said * 50, ends, counts, "[DONE]")
    out = passed(EventScreen(owner, load_codec(codec), framing), chunks)
    assert out.content == b"".join(chunks)
    assert len(parsed) == 4
    assert isinstance(owner.recorder, Record)
    found = owner.recorder.summary
    assert (found.id, found.finish_reasons, found.input_tokens, found.output_tokens) == ("c", ("stop",), 3, 5)
