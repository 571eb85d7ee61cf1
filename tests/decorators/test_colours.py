"""Functions of every colour, guarded by decorating them, whatever the decision and the mode."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from highflame_middleware import (
    BlockedError,
    Decision,
    DecisionEvent,
    Shield,
    Stage,
)
from highflame_middleware.errors import HighflameError
from tests.decorators.kit import CARD, SECRET, SHOWN, Watching, coroutine, generator, plain


def asynchronous_generator(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    async def act(text: str) -> AsyncIterator[str]:
        yield "<"
        for character in text:
            await asyncio.sleep(0)
            yield character
        yield ">"

    assert inspect.isasyncgenfunction(act)

    async def main(text: str) -> str:
        return "".join([piece async for piece in act(text)])

    return lambda text: asyncio.run(main(text))


def method(shield: Shield, kind: str) -> Callable[[str], Any]:
    class Bot:
        @getattr(shield, kind)
        def act(self, text: str) -> str:
            assert isinstance(self, Bot)
            return f"<{text}>"

    return Bot().act  # type: ignore[no-any-return]


def asynchronous_method(shield: Shield, kind: str) -> Callable[[str], Any]:
    class Bot:
        @getattr(shield, kind)
        async def act(self, text: str) -> str:
            return f"<{text}>"

    return lambda text: asyncio.run(Bot().act(text))


def static_method(shield: Shield, kind: str) -> Callable[[str], Any]:
    class Bot:
        @getattr(shield, kind)
        @staticmethod
        def act(text: str) -> str:
            return f"<{text}>"

    return Bot().act  # type: ignore[no-any-return]


def class_method(shield: Shield, kind: str) -> Callable[[str], Any]:
    class Bot:
        @getattr(shield, kind)
        @classmethod
        def act(cls, text: str) -> str:
            assert cls is Bot
            return f"<{text}>"

    return Bot.act  # type: ignore[no-any-return]


def returned_iterator(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    def act(text: str) -> Iterator[str]:
        return iter(f"<{text}>")

    return lambda text: "".join(act(text))


def returned_awaitable(shield: Shield, kind: str) -> Callable[[str], Any]:
    async def later(text: str) -> str:
        return f"<{text}>"

    @getattr(shield, kind)
    def act(text: str) -> Any:
        return later(text)

    async def main(text: str) -> Any:
        return await act(text)

    return lambda text: asyncio.run(main(text))


def callable_object(shield: Shield, kind: str) -> Callable[[str], Any]:
    class Act:
        async def __call__(self, text: str) -> str:
            return f"<{text}>"

    act = getattr(shield, kind)(Act())
    return lambda text: asyncio.run(act(text))


def partial(shield: Shield, kind: str) -> Callable[[str], Any]:
    def act(before: str, text: str) -> str:
        return f"{before}{text}>"

    decorator = getattr(shield, kind)
    if kind == "prompt":
        decorator = shield.prompt(content_arg="text")
    return functools.partial(decorator(act), "<")


COLOURS = (
    plain,
    coroutine,
    generator,
    asynchronous_generator,
    method,
    asynchronous_method,
    static_method,
    class_method,
    returned_iterator,
    returned_awaitable,
    callable_object,
    partial,
)
KINDS = {
    "prompt": (Stage.PROMPT, "prompt", "process_prompt"),
    "tool": (Stage.TOOL_CALL, "tool_call", "call_tool"),
    "toolresponse": (Stage.TOOL_RESULT, None, None),
    "modelresponse": (Stage.RESPONSE, "response", "process_response"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_colour = pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.__name__)


class TestEveryColour:
    @each_kind
    @each_colour
    def test_what_is_left_is_what_is_received_or_returned(
        self, colour: Callable[..., Any], kind: str, guard: Watching
    ) -> None:
        """Defects A, F, G, H: never the original; whatever kind of function it is."""
        act = colour(Shield(guard), kind)
        assert act(f"the {SECRET}!") == "<the ****!>"
        stage, content_type, action = KINDS[kind]
        (asked,) = [request for request in guard.asked if SECRET in request.content]
        assert asked.stage is stage
        if content_type is not None:
            assert (asked.content_type, asked.action) == (content_type, action)

    @each_kind
    @each_colour
    def test_a_no_stops(self, colour: Callable[..., Any], kind: str) -> None:
        act = colour(Shield(Watching(Decision.DENY)), kind)
        with pytest.raises(BlockedError) as caught:
            act(SECRET)
        assert (caught.value.decision, caught.value.stage) == (Decision.DENY, KINDS[kind][0])
        assert act("else") == "<else>"

    @each_kind
    @each_colour
    def test_with_the_embedded_guard(self, colour: Callable[..., Any], kind: str) -> None:
        """Which has a window: a stream is guarded as it runs, in pieces of one character too."""
        act = colour(Shield("embedded"), kind)
        assert act(f"Charge {CARD}, please") == f"<Charge {SHOWN}, please>"

    @each_colour
    def test_nothing_to_judge_is_not_judged(self, colour: Callable[..., Any], guard: Watching) -> None:
        assert colour(Shield(guard), "prompt")("") == "<>"
        assert guard.asked == []


OUTCOMES: dict[tuple[str, str], str] = {
    **{(decision, mode): "<the swordfish>" for decision in Decision for mode in ("monitor", "alert")},
    **{(decision, "modify"): "<the swordfish>" for decision in Decision},
    **{(decision, "enforce"): "stopped" for decision in Decision},
    ("allow", "enforce"): "<the swordfish>",
    ("modify", "enforce"): "<the ****>",
    ("modify", "modify"): "<the ****>",
    **{("fault", mode): "<the swordfish>" for mode in ("monitor", "alert", "modify")},
    ("fault", "enforce"): "stopped",
    ("fault", "fail_open"): "<the swordfish>",
}


@pytest.mark.parametrize(("case", "outcome"), OUTCOMES.items(), ids=lambda item: "-".join(item))
@pytest.mark.parametrize("colour", [plain, coroutine, generator, asynchronous_generator], ids=lambda c: c.__name__)
@each_kind
def test_what_a_decision_means(kind: str, colour: Callable[..., Any], case: tuple[str, str], outcome: str) -> None:
    """The table of `guard.verdict`, at this door."""
    decision, mode = case
    guard = Watching(fault=RuntimeError("down")) if decision == "fault" else Watching(Decision(decision))
    events: list[DecisionEvent] = []
    fail_open = mode == "fail_open"
    shield = Shield(guard, mode="enforce" if fail_open else mode, fail_open=fail_open, on_decision=events.append)
    act = colour(shield, kind)
    if outcome == "stopped":
        with pytest.raises(HighflameError):
            act(f"the {SECRET}")
    else:
        assert act(f"the {SECRET}") == outcome
    (event,) = events
    assert event.decision == ("error" if decision == "fault" else decision)
    assert event.enforced is (outcome in ("stopped", "<the ****>"))
