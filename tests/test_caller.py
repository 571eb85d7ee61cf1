"""Who is calling: contexts nest, stay in their task or thread, and are checked where they are given."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from highflame_middleware import ConfigError, bypass, context, current_context
from highflame_middleware.caller import CallContext

FIELDS = ["user", "role", "session", "account", "application", "route", "request_id"]


def test_outside_of_every_block_nobody_calls() -> None:
    assert current_context() == CallContext()
    assert current_context().metadata == {}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_carried_and_taken_back(name: str) -> None:
    with context(**{name: "x"}) as inside:  # type: ignore[arg-type]
        assert getattr(current_context(), name) == "x"
        assert inside is current_context()
    assert getattr(current_context(), name) is None


def test_blocks_nest_and_what_the_inner_one_omits_stays() -> None:
    with context(user="ada", route="cheap", metadata={"team": "core", "tier": 1}):
        with context(user="bob", metadata={"tier": 2}):
            here = current_context()
            assert (here.user, here.route, here.metadata) == ("bob", "cheap", {"team": "core", "tier": 2})
        assert (current_context().user, current_context().metadata) == ("ada", {"team": "core", "tier": 1})


def test_none_changes_nothing() -> None:
    with context(user="ada"), context(user=None, metadata=None):
        assert current_context().user == "ada"


def test_an_error_leaves_the_block() -> None:
    with pytest.raises(ValueError, match="x"), context(user="ada"):
        raise ValueError("x")
    assert current_context() == CallContext()


def test_metadata_of_the_caller_is_not_changed_by_nesting() -> None:
    mine = {"team": "core"}
    with context(metadata=mine), context(metadata={"more": 1}):
        pass
    assert mine == {"team": "core"}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [7, b"ada", ["ada"], object()])
def test_a_value_that_is_no_text_is_refused_where_it_is_given(name: str, value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"context\({name}=…\) was given {type(value).__name__}: it must be a string"
    ):
        context(**{name: value})


def test_metadata_must_be_a_mapping() -> None:
    with pytest.raises(ConfigError, match="a mapping"):
        context(metadata=[("a", 1)])  # type: ignore[arg-type]


def test_asynchronous_blocks() -> None:
    async def main() -> tuple[str | None, str | None]:
        async with context(user="ada") as inside:
            assert inside.user == "ada"
            await asyncio.sleep(0)
            within = current_context().user
        return within, current_context().user

    assert asyncio.run(main()) == ("ada", None)


SHARED = context(user="shared")


def test_tasks_do_not_see_each_other_even_with_one_scope() -> None:
    """Entered by one task and left by another in between: each has what it set, and has it back."""

    async def task(name: str, *, turns: int) -> list[str | None]:
        seen = []
        with context(session=name):
            with SHARED:
                for _ in range(turns):
                    await asyncio.sleep(0)
                seen.append(current_context().user)
                seen.append(current_context().session)
            seen.append(current_context().user)
        return seen

    async def main() -> list[list[str | None]]:
        return await asyncio.gather(*(task(str(number), turns=number + 1) for number in range(5)))

    assert asyncio.run(main()) == [["shared", str(number), None] for number in range(5)]


def test_threads_do_not_see_each_other_even_with_one_scope() -> None:
    entered = threading.Barrier(4, timeout=5)
    seen: list[tuple[str | None, str | None]] = []

    def work() -> None:
        with SHARED:
            entered.wait()
            inside = current_context().user
        seen.append((inside, current_context().user))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [("shared", None)] * 4


def test_one_scope_may_be_entered_within_itself() -> None:
    with SHARED, context(user="other"), SHARED:
        assert current_context().user == "shared"
    assert current_context().user is None


def test_leaving_in_another_copy_of_the_context_changes_nothing_there() -> None:
    """As frameworks do that run a dependency's two halves on threads of a pool."""
    scope = context(user="ada")
    contextvars.copy_context().run(scope.__enter__)
    with context(user="bob"):
        contextvars.Context().run(scope.__exit__, None, None, None)
        assert current_context().user == "bob"
    assert current_context() == CallContext()


def test_a_task_inherits_the_context_that_it_was_made_in() -> None:
    async def child() -> str | None:
        await asyncio.sleep(0)
        return current_context().user

    async def main() -> str | None:
        with context(user="ada"):
            task = asyncio.create_task(child())
        return await task

    assert asyncio.run(main()) == "ada"


class TestBypass:
    def test_it_carries_its_reason(self) -> None:
        with context(user="ada"), bypass("  replaying last night's set "):
            here = current_context()
            assert (here.bypass, here.user) == ("replaying last night's set", "ada")
        assert current_context().bypass is None

    def test_a_context_inside_keeps_it(self) -> None:
        with bypass("evaluation"), context(user="ada"):
            assert current_context().bypass == "evaluation"

    @pytest.mark.parametrize("reason", ["", "   ", "\n", None, True, 1])
    def test_a_reason_is_required(self, reason: Any) -> None:
        with pytest.raises(ConfigError, match="needs a reason in words"):
            bypass(reason)

    def test_it_cannot_be_had_by_context(self) -> None:
        with pytest.raises(TypeError):
            context(bypass="because")  # type: ignore[call-arg]
