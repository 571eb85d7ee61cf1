"""What decorated functions return and yield."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from highflame_middleware import (
    BlockedError,
    GuardError,
    Shield,
)
from tests.decorators.kit import CARD, SECRET, SHOWN, Watching


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
