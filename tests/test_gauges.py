"""How far a growing text is let go, by every gauge, and what a faulty window comes to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from highflame_middleware.codecs.parts import Text
from highflame_middleware.drivers import perform
from highflame_middleware.errors import BlockedError, GuardError
from highflame_middleware.exchange import Exchange
from highflame_middleware.flow import run
from highflame_middleware.gauges import Step, gauge_for
from highflame_middleware.guard.protocol import Progress
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Mode, RedactionEntry, Stage
from tests.exchanges import decisions, events_of, exchange
from tests.windows import WindowedGuard

SPOKEN = Text(("x",), "", Stage.RESPONSE, "assistant")
CALLED = Text(("x",), "", Stage.TOOL_CALL, "assistant", "pay", None, is_json=True)


class Growing:
    """A text under its gauge: what each piece made of it."""

    def __init__(self, owner: Exchange, text: Text = SPOKEN) -> None:
        self._written: list[str] = []
        self._gauge = gauge_for(owner, text, self._written)

    def feed(self, piece: str) -> Step:
        self._written.append(piece)
        return run(self._gauge.feed(piece), perform)

    def finish(self) -> Step:
        return run(self._gauge.finish(), perform)

    def grow(self, *pieces: str) -> list[tuple[int, list[tuple[int, int, str]], str | None]]:
        """How far it is cleared, what is taken out, and what stops it, after each piece and at the end."""
        steps = [*(self.feed(piece) for piece in pieces), self.finish()]
        return [
            (
                step.cleared,
                [(entry.start_pos, entry.end_pos, entry.replacement) for entry in step.entries],
                type(step.error).__name__ if step.error else None,
            )
            for step in steps
        ]


def cleared(*pieces: str, guard: Any, text: Text = SPOKEN, **policy: Any) -> list[int]:
    return [step[0] for step in Growing(exchange(guard, **policy), text).grow(*pieces)]


PIECES = ("One. T", "wo! Th", "ree")
# setting, whether the guard has a window, text: how far it is cleared after each of the pieces and at the end
GAUGES: dict[str, tuple[str, bool, Text, list[int]]] = {
    "buffer": ("buffer", False, SPOKEN, [-1, -1, -1, 15]),
    "sentence": ("sentence", False, SPOKEN, [4, 9, 9, 15]),
    "passthrough": ("passthrough", False, SPOKEN, [6, 12, 15, 15]),
    "a window": ("buffer", True, SPOKEN, [6, 12, 15, 15]),
    "a window before any setting": ("sentence", True, SPOKEN, [6, 12, 15, 15]),
    "a tool call": ("buffer", False, CALLED, [-1, -1, -1, 15]),
    "a tool call, by sentence": ("sentence", False, CALLED, [-1, -1, -1, 15]),
    "a tool call, passed through": ("passthrough", False, CALLED, [-1, -1, -1, 15]),
    "a tool call under a window": ("passthrough", True, CALLED, [-1, -1, -1, 15]),
}


@pytest.mark.parametrize("name", GAUGES)
def test_how_far_a_text_is_let_go(name: str) -> None:
    stream, windowed, text, expected = GAUGES[name]
    guard = WindowedGuard(redact=["SECRET"]) if windowed else FakeGuard()
    assert cleared(*PIECES, guard=guard, text=text, stream=stream) == expected


ASKED: dict[str, tuple[str, Text, list[str]]] = {
    "buffer": ("buffer", SPOKEN, ["One. Two! Three"]),
    "sentence": ("sentence", SPOKEN, ["One.", " Two!", " Three"]),
    "passthrough": ("passthrough", SPOKEN, ["One. Two! Three"]),
    "a tool call": ("sentence", CALLED, ["One. Two! Three"]),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_the_guard_is_asked(name: str) -> None:
    stream, text, expected = ASKED[name]
    guard = FakeGuard()
    Growing(exchange(guard, stream=stream), text).grow(*PIECES)
    assert [request.content for request in guard.requests] == expected
    assert {request.stage for request in guard.requests} == {text.stage}


def test_a_window_is_told_where_the_text_stands_and_nothing_of_it() -> None:
    guard = WindowedGuard()
    Growing(exchange(guard), SPOKEN._replace(value="first piece")).grow(*PIECES)
    (asked,) = guard.opened
    assert (asked.content, asked.stage, asked.role) == ("", Stage.RESPONSE, "assistant")
    assert guard.requests == []


# ------------------------------------------------------------------------------------------------- sentences


SENTENCES: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "ends": (("A. B! C? D",), ["A. B! C?", " D"]),
    "an end that needs the next character": (("A.", " B"), ["A.", " B"]),
    "no end after all": (("3.", "5 is a number"), ["3.5 is a number"]),
    "an end at the very end": (("A.",), ["A."]),
    "one character at a time": (tuple("A. B"), ["A.", " B"]),
    "lines": (("a\nb\n",), ["a\nb\n"]),
    "other scripts": (("好。是\uff01",), ["好。是\uff01"]),
    "several in one piece are one": (("A. B. C", ". D"), ["A. B.", " C.", " D"]),
    "nothing": ((), []),
    "no end": (("a b", " c"), ["a b c"]),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_sentences(name: str) -> None:
    pieces, expected = SENTENCES[name]
    guard = FakeGuard()
    steps = Growing(exchange(guard, stream="sentence")).grow(*pieces)
    assert [request.content for request in guard.requests] == expected
    assert steps[-1][0] == len("".join(pieces)), "all of it in the end"


def test_a_sentence_is_changed_where_it_stands() -> None:
    steps = Growing(exchange(FakeGuard(redact=["card"]), stream="sentence")).grow("Hi. My card", ". Bye.")
    assert steps == [(3, [], None), (12, [(3, 12, " My [redacted].")], None), (17, [], None)]


def test_a_sentence_that_is_denied_stops_there() -> None:
    growing = Growing(exchange(FakeGuard(deny=["bomb"]), stream="sentence"))
    assert growing.feed("Hi. A bomb").error is None
    step = growing.feed(". Bye.")
    assert isinstance(step.error, BlockedError)


def test_a_long_text_without_an_end_costs_no_more_than_its_length() -> None:
    """A picture in base64, say: copying all of it for every piece would take minutes."""
    growing = Growing(exchange(FakeGuard(), stream="sentence"))
    began = time.perf_counter()
    for _ in range(100_000):
        growing.feed("QUJD" * 4)
    assert growing.finish().cleared == 1_600_000
    assert time.perf_counter() - began < 5


# ------------------------------------------------------------------------------------------------- passthrough


@pytest.mark.parametrize("mode", ["enforce", "modify"])
def test_what_is_passed_through_is_reported_and_never_enforced(mode: str) -> None:
    owner = exchange(FakeGuard(deny=["bomb"]), stream="passthrough", mode=mode)
    assert Growing(owner).grow("a bomb") == [(6, [], None), (6, [], None)]
    assert decisions(owner) == [("response", "deny", False)]


def test_an_alert_stays_one() -> None:
    owner = exchange(FakeGuard(deny=["bomb"]), stream="passthrough", mode="alert")
    Growing(owner).grow("a bomb")
    assert [event.mode for event in events_of(owner)] == [Mode.ALERT]


# ------------------------------------------------------------------------------------------------- tool calls


@pytest.mark.parametrize("stream", ["buffer", "sentence", "passthrough"])
@pytest.mark.parametrize("windowed", [True, False])
def test_a_tool_that_is_called_with_nothing_is_judged(stream: str, windowed: bool) -> None:
    guard = WindowedGuard() if windowed else FakeGuard()
    owner = exchange(guard, stream=stream)
    assert Growing(owner, CALLED).grow("") == [(-1, [], None), (0, [], None)]
    assert [(request.content, request.tool and request.tool.name) for request in guard.requests] == [("", "pay")]


def test_nobody_is_asked_about_an_empty_text() -> None:
    guard = FakeGuard()
    assert Growing(exchange(guard)).grow("") == [(-1, [], None), (0, [], None)]
    assert guard.requests == []


def test_arguments_that_would_break_stop_the_call() -> None:
    owner = exchange(FakeGuard(redact=['"4111"'], replacement="#"))
    (_, step) = Growing(owner, CALLED).grow('{"card": "4111", "n": 1}')
    assert step == (24, [], "BlockedError")


# ------------------------------------------------------------------------------------------------- windows


def test_a_window_takes_out_what_it_finds_across_pieces() -> None:
    owner = exchange(WindowedGuard(redact=["SECRET"]))
    assert Growing(owner).grow("the SEC", "RET is", " S") == [
        (4, [], None),
        (13, [(4, 10, "[redacted]")], None),
        (14, [], None),
        (15, [], None),
    ]
    assert decisions(owner) == [("response", "modify", True)]


# What is done once a window denies in the middle: error, how far cleared then and later, on record.
DENIED: dict[str, tuple[str | None, int, list[tuple[str, str, bool]]]] = {
    "enforce": ("BlockedError", 7, [("response", "deny", True)]),
    "modify": (None, 7, [("response", "deny", False)]),
    "monitor": (None, 7, [("response", "deny", False)]),
    "alert": (None, 7, [("response", "deny", False)]),
}


@pytest.mark.parametrize("mode", DENIED)
def test_a_window_that_denies_is_heard_once(mode: str) -> None:
    """And where nothing is stopped, nothing of the text stays behind either."""
    error, length, record = DENIED[mode]
    owner = exchange(WindowedGuard(deny=["bomb"]), mode=mode)
    growing = Growing(owner)
    growing.feed("a b")
    step = growing.feed("omb.")
    assert (step.cleared, type(step.error).__name__ if step.error else None) == (length, error)
    if error is None:
        assert growing.feed(" More").cleared == 12
        assert growing.finish() == Step(12)
    assert decisions(owner) == record


class Scripted:
    """A window that does as it is told."""

    def __init__(self, feed: Callable[[], Any], finish: Callable[[], Any]) -> None:
        self._feed, self._finish = feed, finish

    def feed(self, text: str) -> Any:
        return self._feed()

    def finish(self) -> Any:
        return self._finish()


class ScriptedGuard(FakeGuard):
    """A guard whose window is made, fed and finished by these."""

    def __init__(self, feed: Any = None, finish: Any = None, opening: Any = None) -> None:
        super().__init__()
        self._feed, self._finish, self._opening = feed, finish, opening

    def window(self, request: GuardRequest) -> Scripted:
        answer(self._opening)
        return Scripted(lambda: answer(self._feed), lambda: answer(self._finish))


def answer(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


NOTHING_YET = Progress(0)
WHOLE = Progress(3, (), GuardResponse(decision=Decision.ALLOW))
ENTRY = RedactionEntry(type="t", start_pos=0, end_pos=3, replacement="#")
FAULTY: dict[str, ScriptedGuard] = {
    "it cannot be made": ScriptedGuard(opening=ValueError("the text: abc")),
    "it raises": ScriptedGuard(feed=ValueError("the text: abc")),
    "it raises at the end": ScriptedGuard(NOTHING_YET, ValueError("the text: abc")),
    "it gives nothing": ScriptedGuard(None),
    "it gives something else": ScriptedGuard({"cleared": 3}),
    "it gives no verdict": ScriptedGuard(NOTHING_YET, Progress(3)),
    "it gives something else at the end": ScriptedGuard(NOTHING_YET, GuardResponse(decision=Decision.ALLOW)),
}
POLICIES = [
    ("enforce", False, "GuardError"),
    ("enforce", True, None),
    ("modify", False, None),
    ("monitor", False, None),
]


@pytest.mark.parametrize(("mode", "fail_open", "error"), POLICIES)
@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_window_is_a_missing_verdict(name: str, mode: str, fail_open: bool, error: str | None) -> None:
    owner = exchange(FAULTY[name], mode=mode, fail_open=fail_open)
    growing = Growing(owner)
    step = growing.feed("abc")
    if step == Step(0):
        step = growing.finish()
    assert (step.cleared, type(step.error).__name__ if step.error else None) == (3, error)
    assert "abc" not in str(step.error)
    assert decisions(owner) == [("response", "error", error is not None)]
    if error is None:
        assert growing.feed("de").cleared == 5
        assert growing.finish().cleared == 5
        assert len(events_of(owner)) == 1


def test_a_windows_own_fault_is_told_as_it_is() -> None:
    fault = GuardError("longer than I can read")
    step = Growing(exchange(ScriptedGuard(feed=fault))).feed("abc")
    assert step.error is fault


VERDICTS: dict[str, tuple[ScriptedGuard, str, tuple[int, str | None, list[tuple[str, str, bool]]]]] = {
    "allowed": (ScriptedGuard(NOTHING_YET, WHOLE), "enforce", (3, None, [("response", "allow", False)])),
    "less cleared than there is": (
        ScriptedGuard(NOTHING_YET, Progress(1, (), GuardResponse(decision=Decision.ALLOW))),
        "enforce",
        (3, None, [("response", "allow", False)]),
    ),
    "changed on the way": (
        ScriptedGuard(Progress(3, (ENTRY,)), Progress(3, (), GuardResponse(decision=Decision.MODIFY))),
        "enforce",
        (3, None, [("response", "modify", True)]),
    ),
    "changed on the way, looked on at": (
        ScriptedGuard(Progress(3, (ENTRY,)), Progress(3, (), GuardResponse(decision=Decision.MODIFY))),
        "monitor",
        (3, None, [("response", "modify", False)]),
    ),
    "changed at the end": (
        ScriptedGuard(NOTHING_YET, Progress(3, (ENTRY,), GuardResponse(decision=Decision.MODIFY))),
        "enforce",
        (3, None, [("response", "modify", True)]),
    ),
    "to be changed, but how": (
        ScriptedGuard(Progress(3), Progress(3, (), GuardResponse(decision=Decision.MODIFY, redacted_content="#"))),
        "enforce",
        (3, "BlockedError", [("response", "modify", True)]),
    ),
    "to be changed, but how, in modify": (
        ScriptedGuard(Progress(3), Progress(3, (), GuardResponse(decision=Decision.MODIFY, redacted_content="#"))),
        "modify",
        (3, None, [("response", "modify", False)]),
    ),
    "denied at the end": (
        ScriptedGuard(Progress(3), Progress(3, (), GuardResponse(decision=Decision.DENY))),
        "enforce",
        (3, "BlockedError", [("response", "deny", True)]),
    ),
    "denied with entries, in modify": (
        ScriptedGuard(
            Progress(3), Progress(3, (), GuardResponse(decision=Decision.DENY, redaction_entries=(ENTRY,)))
        ),
        "modify",
        (3, None, [("response", "deny", False)]),
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_a_windows_last_word(name: str) -> None:
    guard, mode, (length, error, record) = VERDICTS[name]
    owner = exchange(guard, mode=mode)
    growing = Growing(owner)
    assert growing.feed("abc").error is None
    step = growing.finish()
    assert (step.cleared, type(step.error).__name__ if step.error else None) == (length, error)
    assert decisions(owner) == record


def test_a_window_that_allows_too_early_is_not_believed() -> None:
    """An allow is for the whole text: what is still to come has been seen by nobody."""
    early = Progress(1, (), GuardResponse(decision=Decision.ALLOW))
    owner = exchange(ScriptedGuard(early, Progress(6, (), GuardResponse(decision=Decision.DENY))))
    growing = Growing(owner)
    assert growing.feed("abc") == Step(1)
    assert growing.feed("def") == Step(1)
    assert isinstance(growing.finish().error, BlockedError)
    assert decisions(owner) == [("response", "deny", True)]


def test_a_fault_in_a_long_stream_costs_no_more_than_its_length() -> None:
    growing = Growing(exchange(ScriptedGuard(feed=ValueError()), fail_open=True))
    began = time.perf_counter()
    for _ in range(50_000):
        growing.feed("abcd")
    assert growing.finish().cleared == 200_000
    assert time.perf_counter() - began < 5
