"""Whose call a decorated function is, how decorators are set up, and Shield as their guard."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio

from highflame_middleware import (
    ConfigError,
    Decision,
    GuardError,
    GuardRequest,
    GuardResponse,
    Mode,
    ModelContext,
    Settings,
    Shield,
    bypass,
    context,
)
from highflame_middleware.errors import APIError
from tests.decorators.kit import SECRET, Watching, coroutine, generator, plain
from tests.servers import Answer, json_answer
from tests.shield.kit import problem, shield


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
