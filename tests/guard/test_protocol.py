"""What counts as a guard and what as its answer; whatever is neither is a clear error, never an allow."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from highflame_middleware import ConfigError, Decision, EmbeddedGuard, GuardError, GuardRequest, GuardResponse
from highflame_middleware.guard.protocol import Binding, Guard, bind, fault_of, read_answer
from highflame_middleware.testing import FakeGuard

REQUEST = GuardRequest(content="x")
ALLOW = GuardResponse(decision=Decision.ALLOW)


@pytest.mark.parametrize(
    ("error", "forgivable"), [(RuntimeError("x"), True), (ConfigError("x"), False), (ValueError("x"), True)]
)
def test_what_is_wrong_with_its_set_up_is_no_outage(error: Exception, forgivable: bool) -> None:
    assert fault_of("mine", error).forgivable is forgivable


class Blocking:
    def evaluate(self, request: GuardRequest) -> GuardResponse:
        return ALLOW


class Asynchronous:
    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        return ALLOW


class AsynchronousByAnotherName:
    """Its ``evaluate`` is a coroutine function: an easy mistake, and clear what is meant."""

    async def evaluate(self, request: GuardRequest) -> GuardResponse:
        return ALLOW


class Both(Blocking, Asynchronous):
    name = "both"
    local = True

    def window(self, request: GuardRequest) -> Any:
        return None


class Callable:
    def __call__(self, request: GuardRequest) -> bool:
        return True


class CallableLater:
    async def __call__(self, request: GuardRequest) -> bool:
        return True


async def later(request: GuardRequest) -> bool:
    return True


def now(request: GuardRequest) -> str:
    return "allow"


def answer_of(binding: Binding) -> GuardResponse:
    """What a binding answers, in each way that it can be asked."""
    found = []
    if binding.evaluate is not None:
        found.append(binding.evaluate(REQUEST))
    if (aevaluate := binding.aevaluate) is not None:

        async def ask() -> GuardResponse:
            return await aevaluate(REQUEST)

        found.append(asyncio.run(ask()))
    assert found
    assert all(item == found[0] for item in found)
    return found[0]


# name, whether it blocks, whether it is asynchronous, local, with a window
GUARDS: dict[str, tuple[Any, tuple[str, bool, bool, bool, bool]]] = {
    "an object that blocks": (Blocking(), ("Blocking", True, False, False, False)),
    "an asynchronous object": (Asynchronous(), ("Asynchronous", False, True, False, False)),
    "an asynchronous evaluate": (
        AsynchronousByAnotherName(),
        ("AsynchronousByAnotherName", False, True, False, False),
    ),
    "an object with all of it": (Both(), ("both", True, True, True, True)),
    "a function": (now, ("now", True, False, False, False)),
    "a lambda": (lambda request: True, ("<lambda>", True, False, False, False)),
    "an asynchronous function": (later, ("later", False, True, False, False)),
    "a partial": (functools.partial(now), ("partial", True, False, False, False)),
    "a partial of an asynchronous one": (functools.partial(later), ("partial", False, True, False, False)),
    "a callable object": (Callable(), ("Callable", True, False, False, False)),
    "an asynchronous callable object": (CallableLater(), ("CallableLater", False, True, False, False)),
    "the embedded engine": (EmbeddedGuard(), ("embedded", True, True, True, True)),
    "the fake one": (FakeGuard(local=False), ("fake", True, True, False, False)),
}


@pytest.mark.parametrize("name", GUARDS)
def test_what_is_bound(name: str) -> None:
    guard, expected = GUARDS[name]
    binding = bind(guard)
    assert (
        binding.name,
        binding.evaluate is not None,
        binding.aevaluate is not None,
        binding.local,
        binding.window is not None,
    ) == expected
    if name != "the embedded engine":
        assert answer_of(binding) == ALLOW


@pytest.mark.parametrize("guard", [None, 5, "a word", object(), [FakeGuard()], {"evaluate": now}])
def test_what_cannot_be_bound(guard: Any) -> None:
    with pytest.raises(ConfigError, match="cannot judge a text: give 'embedded', None, a callable"):
        bind(guard)


@pytest.mark.parametrize("guard", [EmbeddedGuard, FakeGuard, Asynchronous, Callable])
def test_a_class_is_not_a_guard(guard: type) -> None:
    """Each of its evaluations would fail: better say so at once."""
    with pytest.raises(ConfigError, match=rf"guard={guard.__name__} is a class: give an object of it"):
        bind(guard)


def test_the_protocol_can_be_checked_at_run_time() -> None:
    assert isinstance(EmbeddedGuard(), Guard)
    assert isinstance(Both(), Guard)
    assert not isinstance(Blocking(), Guard)


ANSWERS: dict[str, tuple[Any, Decision]] = {
    "a response": (GuardResponse(decision=Decision.DEFER), Decision.DEFER),
    "true": (True, Decision.ALLOW),
    "false": (False, Decision.DENY),
    "a decision": (Decision.STEP_UP, Decision.STEP_UP),
    "a decision's word": ("allow", Decision.ALLOW),
    "an unknown word": ("yes", Decision.DENY),
    "an empty word": ("", Decision.DENY),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer(name: str) -> None:
    given, expected = ANSWERS[name]
    assert read_answer(given).decision is expected


@pytest.mark.parametrize("given", [None, 1, 0, 1.0, {}, {"decision": "allow"}, [], b"allow", object()])
def test_what_is_no_answer_is_a_fault_and_never_an_allow(given: Any) -> None:
    with pytest.raises(GuardError, match="return a GuardResponse, a Decision or a bool"):
        read_answer(given)


def test_a_blocking_callable_that_forgets_to_await_is_a_fault() -> None:
    coroutine = later(REQUEST)
    with pytest.raises(GuardError, match="returned coroutine"):
        read_answer(coroutine)
    coroutine.close()


def test_a_fault_names_the_guard_and_hides_what_it_said() -> None:
    cause = ValueError("cannot read 'my secret text'")
    fault = fault_of("mine", cause)
    assert str(fault) == "The guard 'mine' raised ValueError; its cause is attached"
    assert fault.__cause__ is cause
    own = GuardError("too long")
    assert fault_of("mine", own) is own
