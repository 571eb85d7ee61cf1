"""Functions that are guarded by decorating them: every colour, every stage, every mode; any guard."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import functools
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Optional

import pytest
import trio

from highflame_middleware import (
    BlockedError,
    ConfigError,
    Decision,
    DecisionEvent,
    EmbeddedGuard,
    GuardError,
    GuardRequest,
    GuardResponse,
    Mode,
    ModelContext,
    Settings,
    Shield,
    Stage,
    bypass,
    context,
)
from highflame_middleware.errors import APIError, HighflameError
from tests.servers import Answer, json_answer
from tests.shield.kit import problem, shield

CARD = "4111 1111 1111 1111"
SHOWN = "[REDACTED:credit_card]"
SECRET = "swordfish"


class Watching:
    """Takes a word out, or says what it was told to, and remembers what it was asked."""

    name = "watching"

    def __init__(self, decision: Decision = Decision.MODIFY, *, fault: Exception | None = None) -> None:
        self.asked: list[GuardRequest] = []
        self.decision, self.fault = decision, fault

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        self.asked.append(request)
        if self.fault is not None:
            raise self.fault
        if SECRET not in request.content:
            return GuardResponse(decision=Decision.ALLOW)
        changed = request.content.replace(SECRET, "****") if self.decision is Decision.MODIFY else None
        return GuardResponse(decision=self.decision, policy_reason="a word", redacted_content=changed)


@pytest.fixture
def guard() -> Watching:
    return Watching()


# --- the table: each colour with each decorator, and the same guard ---


def plain(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    def act(text: str) -> str:
        return f"<{text}>"

    return act  # type: ignore[no-any-return]


def coroutine(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    async def act(text: str) -> str:
        await asyncio.sleep(0)
        return f"<{text}>"

    return lambda text: asyncio.run(act(text))


def generator(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    def act(text: str) -> Iterator[str]:
        yield "<"
        yield from text
        yield ">"

    assert inspect.isgeneratorfunction(act)
    return lambda text: "".join(act(text))


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


class TestTheArgument:
    @pytest.mark.parametrize(
        "annotation",
        [str, str | None, Optional[str], "str", "str | None", "Optional[Missing] | str", Annotated[str, "x"]],  # noqa: UP045
    )
    def test_texts_by_annotation(self, annotation: Any, guard: Watching) -> None:
        """Defect G: ``str | None`` too, and never the first of several."""

        def act(limit: int, text: str | None = None, *, flag: bool = False) -> str | None:
            return text

        act.__annotations__["text"] = annotation
        if annotation == "Optional[Missing] | str":
            with pytest.raises(ConfigError, match="takes no text"):
                Shield(guard).prompt(act)
            return
        guarded = Shield(guard).prompt(act)
        assert guarded(1, SECRET) == "****"
        assert guarded(1, None) is None
        assert guarded(limit=1) is None
        assert len(guard.asked) == 1

    @pytest.mark.parametrize(
        ("content_arg", "words"),
        [
            (None, r"takes several texts \(tenant, message\): say which"),
            ("massage", "content_arg='massage' is no argument of act, which takes tenant, message"),
        ],
    )
    def test_a_doubt_is_told_when_decorating(self, content_arg: str | None, words: str, guard: Watching) -> None:
        def act(tenant: str, message: str) -> str:
            return message

        with pytest.raises(ConfigError, match=words):
            Shield(guard).prompt(content_arg=content_arg)(act)
        with pytest.raises(ConfigError, match=words):
            Shield(guard)(content_type="prompt", action="process_prompt", content_arg=content_arg)(act)

    def test_no_text_at_all(self, guard: Watching) -> None:
        with pytest.raises(ConfigError, match="takes no text"):
            Shield(guard).prompt(lambda: None)
        with pytest.raises(ConfigError, match="takes no text"):

            @Shield(guard).prompt
            def act(*args: str, **given: str) -> None: ...

    def test_the_object_is_never_the_text(self, guard: Watching) -> None:
        class Bot:
            @Shield(guard).prompt
            def act(self, message):  # type: ignore[no-untyped-def]
                return message

        assert Bot().act(SECRET) == "****"
        assert Bot().act(message=SECRET) == "****"

    def test_keywords_only_and_defaults(self, guard: Watching) -> None:
        @Shield(guard).prompt
        def act(*, message: str = f"default {SECRET}") -> str:
            return message

        assert (act(), act(message=SECRET)) == ("default ****", "****")

    @pytest.mark.parametrize("mode", list(Mode))
    def test_what_is_no_text_though_it_should_be(self, mode: Mode, guard: Watching) -> None:
        """It could not be guarded: in enforce that stops, whatever ``fail_open`` says; it is never a TypeError."""

        @Shield(guard, mode=mode, fail_open=True).prompt
        def act(message: str) -> Any:
            return message

        if mode is Mode.ENFORCE:
            with pytest.raises(GuardError, match="act was given list as message, which is no text"):
                act([SECRET])  # type: ignore[arg-type]
        else:
            assert act([SECRET]) == [SECRET]  # type: ignore[arg-type]

    def test_a_call_that_does_not_fit_is_a_type_error_as_ever(self, guard: Watching) -> None:
        @Shield(guard).tool
        def act(path: str) -> None: ...

        with pytest.raises(TypeError, match="missing a required argument"):
            act()  # type: ignore[call-arg]


class TestTools:
    def test_all_arguments_are_judged_by_their_names(self, guard: Watching) -> None:
        class Mailer:
            @Shield(guard).tool(tool_name="mail.send")
            def send(self, to: str, *cc: str, body: str = "", **headers: str) -> Any:
                return to, cc, body, headers

        assert Mailer().send("ada", "bob", SECRET, body=f"x {SECRET}", subject=SECRET) == (
            "ada",
            ("bob", "****"),
            "x ****",
            {"subject": "****"},
        )
        (asked,) = guard.asked
        assert asked.tool is not None
        assert (asked.tool.name, asked.tool.arguments["to"], asked.tool.arguments["cc"]) == (
            "mail.send",
            "ada",
            ["bob", SECRET],
        )

    def test_whatever_an_argument_is_it_comes_through(self, guard: Watching) -> None:
        """Defect F: dates, bytes and objects are no TypeError, and are what they were."""
        when, thing = datetime.date(2026, 1, 2), object()

        @Shield(guard).tool
        def act(when: Any, raw: Any, thing: Any, text: str, nested: Any) -> Any:
            return when, raw, thing, text, nested

        nested = {"a": [1, (SECRET, None)], 3: 2.5}
        assert act(when, b"x", thing, SECRET, nested) == (
            when,
            b"x",
            thing,
            "****",
            {"a": [1, ("****", None)], 3: 2.5},
        )
        assert "2026-01-02" in guard.asked[0].content

    @pytest.mark.parametrize("value", [SECRET.encode(), {SECRET: 1}, frozenset({SECRET})])
    def test_an_edit_that_cannot_be_made_stops(self, value: Any, guard: Watching) -> None:
        @Shield(guard).tool
        def act(value: Any) -> Any:
            raise AssertionError("it ran")

        with pytest.raises(BlockedError) as caught:
            act(value)
        assert caught.value.decision is Decision.MODIFY

    def test_a_number_that_is_a_card_stops(self) -> None:
        @Shield("embedded").tool
        def act(card: int) -> Any:
            raise AssertionError("it ran")

        with pytest.raises(BlockedError):
            act(4111111111111111)

    def test_long_arguments_are_judged_to_their_end(self, guard: Watching) -> None:
        @Shield(guard).tool
        def act(text: str) -> str:
            return text

        assert act("x" * 50_000 + SECRET) == "x" * 50_000 + "****"

    def test_a_tool_that_may_not_be_called(self) -> None:
        @Shield(EmbeddedGuard(deny_tools=["rm_*"])).tool
        def rm_all() -> None:
            raise AssertionError("it ran")

        with pytest.raises(BlockedError):
            rm_all()


class TestResults:
    def test_what_is_no_string_is_judged_as_json(self, guard: Watching) -> None:
        @Shield(guard).toolresponse
        def act(value: Any) -> Any:
            return value

        assert act({"rows": [SECRET, 1]}) == {"rows": ["****", 1]}
        assert act([1, None, "a"]) == [1, None, "a"]
        assert act(None) is None
        assert act(7) == 7
        assert guard.asked[0].tool is not None
        assert guard.asked[0].tool.name == "act"

    def test_the_fields_of_objects_are_seen(self, guard: Watching) -> None:
        @dataclasses.dataclass
        class Row:
            text: str

        @Shield(guard).toolresponse
        def act(value: Any) -> Any:
            return value

        row = Row("else")
        assert act(row) is row
        for hidden in (Row(SECRET), [Row(SECRET)], {"a": Row(SECRET)}):
            with pytest.raises(BlockedError):
                act(hidden)

    def test_a_generator_is_read_as_it_runs(self) -> None:
        """Text comes out before the last of it is there."""
        asked: list[int] = []

        @Shield("embedded").modelresponse
        def act() -> Iterator[str]:
            for word in range(100):
                asked.append(word)
                yield f"word{word} "

        items = act()
        next(items)
        assert len(asked) < 10
        items.close()  # type: ignore[attr-defined]

    def test_a_secret_in_pieces_never_gets_out(self) -> None:
        text = f"a {CARD} b " * 20

        @Shield("embedded").modelresponse
        def act(size: int) -> Iterator[str]:
            yield from (text[at : at + size] for at in range(0, len(text), size))

        for size in (1, 2, 3, 5, 7, 11, 1000):
            assert "".join(act(size)) == text.replace(CARD, SHOWN)

    def test_other_items_keep_their_place(self) -> None:
        @Shield("embedded").modelresponse
        def act() -> Iterator[Any]:
            yield "one "
            yield {"n": 1}
            yield f"card {CARD[:9]}"
            yield {"note": f"my {CARD}"}
            yield f"{CARD[9:]} end"
            yield 3

        items = list(act())
        assert [item for item in items if not isinstance(item, str)] == [{"n": 1}, {"note": f"my {SHOWN}"}, 3]
        assert "".join(item for item in items if isinstance(item, str)) == f"one card {SHOWN} end"
        assert items.index({"n": 1}) == 1

    def test_a_generator_keeps_its_end_and_its_result(self, guard: Watching) -> None:
        closed = []

        @Shield(guard).modelresponse
        def act() -> Any:
            try:
                yield "a"
                yield "b"
                return SECRET
            finally:
                closed.append(True)

        def outer() -> Any:
            result = yield from act()
            yield result

        assert "".join(outer()) == "ab****"
        items = Shield(guard, mode="monitor").modelresponse(act)()
        next(items)
        items.close()
        assert closed == [True, True]

    def test_a_prompt_on_a_generator_leaves_the_rest_of_it_alone(self, guard: Watching) -> None:
        @Shield(guard).prompt
        def act(message: str) -> Any:
            got = yield message
            yield f"got {got}"

        items = act(SECRET)
        assert guard.asked == []
        assert next(items) == "****"
        assert items.send("this") == "got this"

    def test_what_is_sent_or_thrown_into_an_asynchronous_generator_reaches_it(self, guard: Watching) -> None:
        @Shield(guard).prompt
        async def act(message: str) -> Any:
            got = yield message
            try:
                yield f"got {got}"
            except LookupError:
                yield "caught"

        async def main() -> list[Any]:
            items = act(SECRET)
            found = [await anext(items), await items.asend("this"), await items.athrow(LookupError())]
            return [*found, await anext(items, "over")]

        assert asyncio.run(main()) == ["****", "got this", "caught", "over"]

    def test_in_monitor_nothing_is_held(self, guard: Watching) -> None:
        @Shield(guard, mode="monitor").modelresponse
        def act() -> Iterator[str]:
            yield "sword"
            yield "fish"

        assert list(act()) == ["sword", "fish"]
        assert [request.content for request in guard.asked] == ["swordfish"]

    def test_too_much_to_hold(self, guard: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("highflame_middleware.decorators.streams.MAX_HELD", 100)

        def act() -> Iterator[str]:
            for _ in range(100):
                yield "x" * 10

        with pytest.raises(GuardError, match="more than 100 characters were held back"):
            list(Shield(guard).modelresponse(act)())
        assert "".join(Shield(guard, fail_open=True).modelresponse(act)()) == "x" * 1000

    def test_sentence_by_sentence(self, guard: Watching) -> None:
        @Shield(guard, stream="sentence").modelresponse
        def act() -> Iterator[str]:
            yield from ("One. ", f"{SECRET}. ", "Three")

        assert list(act()) == ["One.", " ****.", " Three"]


class TestWho:
    def test_sessions_are_those_of_the_call(self, guard: Watching) -> None:
        """Defect S: not of the moment when it was decorated."""
        sessions = iter(["s1", "s2"])
        shield = Shield(guard)

        @shield.prompt(session_id=lambda: next(sessions))
        def called(message: str) -> None: ...

        @shield.prompt(session_id="fixed")
        def fixed(message: str) -> None: ...

        @shield.prompt
        def of_the_context(message: str) -> None: ...

        called("x")
        called("x")
        fixed("x")
        with context(session="here", user="ada", metadata={"team": "core"}):
            of_the_context("x")
        assert [request.session_id for request in guard.asked] == ["s1", "s2", "fixed", "here"]
        assert guard.asked[-1].metadata == {"team": "core"}

    def test_options_reach_the_guard(self, guard: Watching) -> None:
        @Shield(guard).modelresponse(mode="modify", model=ModelContext(model="m"), metadata={"a": 1}, optimize=True)
        def act() -> str:
            return SECRET

        act()
        (asked,) = guard.asked
        assert (asked.mode, asked.model, asked.metadata, asked.optimize) == (
            Mode.MODIFY,
            ModelContext(model="m"),
            {"a": 1},
            True,
        )

    def test_the_generic_form(self, guard: Watching) -> None:
        @Shield(guard)(content_type="file", action="write_file", content_arg="content")
        def write(path: str, content: str) -> str:
            return content

        assert write("/x", SECRET) == "****"
        assert (guard.asked[0].content_type, guard.asked[0].action) == ("file", "write_file")

    def test_bypass(self, guard: Watching, caplog: pytest.LogCaptureFixture) -> None:
        act = plain(Shield(guard), "prompt")
        with bypass("an evaluation"), caplog.at_level(logging.WARNING):
            assert act(SECRET) == f"<{SECRET}>"
        assert guard.asked == []
        assert "an evaluation" in caplog.text

    def test_the_record_holds_no_text(self, guard: Watching, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            plain(Shield(guard), "prompt")(SECRET)
        assert "enforced modify at the prompt stage" in caplog.text
        assert SECRET not in caplog.text

    def test_a_function_keeps_its_name_and_words(self, guard: Watching) -> None:
        @Shield(guard).prompt
        def act(message: str) -> str:
            """Say."""
            return message

        assert (act.__name__, act.__doc__) == ("act", "Say.")
        assert str(inspect.signature(act)) == "(message: 'str') -> 'str'"

    def test_stacked(self, guard: Watching) -> None:
        shield = Shield(guard)

        @shield.prompt
        @shield.modelresponse
        async def act(message: str) -> str:
            return f"{message} {SECRET}"

        assert inspect.iscoroutinefunction(act)
        assert asyncio.run(act(SECRET)) == "**** ****"

    def test_on_trio(self, guard: Watching) -> None:
        @Shield(guard).modelresponse
        async def act() -> str:
            await trio.sleep(0)
            return SECRET

        assert trio.run(act) == "****"

    @pytest.mark.parametrize("kind", ["prompt", "modelresponse"])
    def test_a_slow_guard_does_not_hold_up_the_loop(self, kind: str) -> None:
        """Defect H: nor on an asynchronous generator."""

        class Slow:
            def evaluate(self, request: GuardRequest) -> GuardResponse:
                time.sleep(0.5)
                return GuardResponse(decision=Decision.ALLOW)

        @getattr(Shield(Slow()), kind)
        async def act(text: str) -> AsyncIterator[str]:
            yield text

        async def main() -> tuple[list[str], int]:
            async def collect() -> list[str]:
                return [item async for item in act("x")]

            asking, ticks = asyncio.ensure_future(collect()), 0
            while not asking.done():
                await asyncio.sleep(0.01)
                ticks += 1
            return await asking, ticks

        found, ticks = asyncio.run(main())
        assert found == ["x"]
        assert ticks >= 15

    @pytest.mark.parametrize("colour", [plain, coroutine], ids=lambda colour: colour.__name__)
    def test_a_guard_that_hangs_is_left_behind(self, colour: Callable[..., Any]) -> None:
        class Hanging:
            def evaluate(self, request: GuardRequest) -> GuardResponse:
                time.sleep(3)
                return GuardResponse(decision=Decision.ALLOW)

        began = time.monotonic()
        with pytest.raises(GuardError, match="gave no verdict within"):
            colour(Shield(Hanging(), deadline=0.2), "prompt")("x")
        assert time.monotonic() - began < 1.5


class TestSetUp:
    def test_settings_say_what_is_omitted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIGHFLAME_MODE", "monitor")
        assert repr(Shield()) == "Shield('embedded', mode='monitor')"
        assert repr(Shield(mode="alert")) == "Shield('embedded', mode='alert')"
        assert repr(Shield(settings=Settings(guard=None))) == "Shield(None, mode='enforce')"
        assert plain(Shield(None), "prompt")(SECRET) == f"<{SECRET}>"

    @pytest.mark.parametrize(
        ("use", "words"),
        [
            (lambda shield: shield(lambda x: x), "no decorator by itself"),
            (lambda shield: shield(content_type="prompt"), "no decorator by itself"),
            (lambda shield: shield(content_type="poem", action="a"), "content_type='poem' is unknown"),
            (lambda shield: shield.prompt(mode="watch")(lambda x: x), "mode='watch' is unknown"),
            (lambda shield: shield.prompt(session=1)(lambda x: x), "'session' is no option"),
            (lambda shield: shield.prompt(session_id=7)(lambda x: x), "session_id=7 cannot be used"),
            (lambda shield: shield.prompt(model="m")(lambda x: x), "model is a ModelContext"),
            (lambda shield: shield.modelresponse("text"), "cannot be decorated"),
            (lambda shield: shield.tool(int), "cannot be decorated"),
        ],
    )
    def test_what_cannot_be_used(self, use: Callable[[Shield], Any], words: str, guard: Watching) -> None:
        with pytest.raises(ConfigError, match=words):
            use(Shield(guard))

    def test_a_session_that_is_none(self, guard: Watching) -> None:
        act = Shield(guard).prompt(session_id=lambda: 7)(lambda message: message)
        with pytest.raises(ConfigError, match="it must be a string"):
            act("x")


class TestWithShield:
    """Over the network, with the client for a guard."""

    @pytest.mark.parametrize("colour", [plain, coroutine, generator], ids=lambda colour: colour.__name__)
    def test_a_client_is_a_guard(self, colour: Callable[..., Any]) -> None:
        with shield() as there, there.client() as client:
            there.answers = [json_answer({"decision": "modify", "redacted_content": "the ****"})]
            assert colour(Shield(client), "prompt")(f"the {SECRET}") == "<the ****>"
            assert there.asked[0].json["mode"] == "enforce"

    def test_the_deadline_is_the_decorators(self) -> None:
        with shield() as there, there.client() as client:
            there.answers = [lambda seen: Answer(200, hang=True)]
            began = time.monotonic()
            with pytest.raises(GuardError):
                plain(Shield(client, deadline=0.2), "prompt")("x")
            assert time.monotonic() - began < 1.0
            # … and the question is not left running behind it.
            assert there.server.left.wait(1.0)

    def test_a_key_that_is_not_taken_stops_although_it_is_to_fail_open(self) -> None:
        with shield() as there, there.client() as client:
            there.answers = [problem(401)]
            act = plain(Shield(client, fail_open=True), "prompt")
            with pytest.raises(APIError):
                act("x")
            there.answers = [problem(500)]
            assert plain(Shield(client, fail_open=True), "prompt")("x") == "<x>"
