"""Which argument of a decorated function is the text, and what tools are called with."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Optional

import pytest

from highflame_middleware import (
    BlockedError,
    ConfigError,
    Decision,
    EmbeddedGuard,
    GuardError,
    Mode,
    Shield,
)
from tests.decorators.kit import SECRET, Watching


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
