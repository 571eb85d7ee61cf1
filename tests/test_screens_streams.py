"""Texts that a stream says in pieces: what is taken out across events, and how long a text is held back."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from highflame_middleware import GuardRequest, GuardResponse
from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.sse import FRAMING
from highflame_middleware.drivers import perform
from highflame_middleware.errors import BlockedError
from highflame_middleware.flow import run
from highflame_middleware.screens import EventScreen, JsonScreen
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision
from tests.chats import DONE, JSON, chunk, reply, spoken, stream, without_text
from tests.exchanges import (
    chat_texts,
    cuts,
    decisions,
    decoded,
    exchange,
    screened,
    sse,
)
from tests.windows import WindowedGuard

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
