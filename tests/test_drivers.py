"""Asking guards: each kind by each driver, with a deadline on every wait and a bound on every thread."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from highflame_middleware import GuardError, GuardRequest, GuardResponse, GuardTimeoutError
from highflame_middleware.drivers import aperform, perform
from highflame_middleware.exchange import Evaluate, Invoke, Policy
from highflame_middleware.guard.protocol import bind
from highflame_middleware.types import Decision

DRIVERS = ["blocking", "asyncio", "trio"]
LONG = 20_001
_place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(driver: str, guard: Any, *texts: str, deadline: float = 5.0) -> list[Any]:
    """The guard's answers about some texts."""
    op = Evaluate(Policy(guard=bind(guard), deadline=deadline), [GuardRequest(content=text) for text in texts])
    return list(perform(op) if driver == "blocking" else anyio.run(aperform, op, backend=driver))


def judged(request: GuardRequest) -> GuardResponse:
    """A verdict that can be told from the others: its reason is the text."""
    decision = Decision.DENY if "no" in request.content else Decision.ALLOW
    return GuardResponse(decision=decision, policy_reason=request.content)


class Both:
    """A guard with both methods; notes on which thread it was asked."""

    local = False

    def __init__(self) -> None:
        self.threads: list[str] = []

    def evaluate(self, request: GuardRequest) -> Any:
        self.threads.append(threading.current_thread().name)
        return self.judge(request)

    async def aevaluate(self, request: GuardRequest) -> Any:
        self.threads.append(threading.current_thread().name)
        await anyio.sleep(0)
        return self.judge(request)

    def judge(self, request: GuardRequest) -> Any:
        return judged(request)


class Local(Both):
    local = True


class Blocking(Both):
    aevaluate = None  # type: ignore[assignment]


class Asynchronous(Both):
    evaluate = None  # type: ignore[assignment]


class Mislabelled(Both):
    """Says that it is local, though it is only asynchronous."""

    local = True
    evaluate = None  # type: ignore[assignment]


async def afunction(request: GuardRequest) -> GuardResponse:
    await anyio.sleep(0)
    return judged(request)


GUARDS: dict[str, Callable[[], Any]] = {
    "both": Both,
    "local": Local,
    "blocking only": Blocking,
    "asynchronous only": Asynchronous,
    "local, asynchronous only": Mislabelled,
    "a function": lambda: judged,
    "an asynchronous function": lambda: afunction,
}


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("count", [1, 2, 30])
def test_every_guard_answers_every_driver(name: str, count: int, driver: str) -> None:
    texts = [f"{'no' if number % 3 == 0 else 'yes'} {number}" for number in range(count)]
    answers = ask(driver, GUARDS[name](), *texts)
    assert [answer.policy_reason for answer in answers] == texts
    assert [answer.decision.value for answer in answers] == ["deny" if "no" in text else "allow" for text in texts]


MAIN = "MainThread"
GUARD = "highflame-guard"


@pytest.mark.parametrize(
    ("guard", "driver", "length", "thread"),
    [
        (Local, "blocking", 10, MAIN),
        (Local, "blocking", LONG, MAIN),
        (Local, "asyncio", 10, MAIN),
        (Local, "asyncio", LONG, GUARD),
        (Both, "blocking", 10, GUARD),
        (Both, "asyncio", 10, MAIN),
        (Both, "trio", 10, MAIN),
        (Blocking, "asyncio", 10, GUARD),
        (Asynchronous, "blocking", 10, GUARD),
        (Asynchronous, "asyncio", 10, MAIN),
    ],
)
def test_where_a_guard_is_asked(guard: Any, driver: str, length: int, thread: str) -> None:
    """What may block an event loop is kept off it; what may hang is kept off the caller's thread."""
    made = guard()
    ask(driver, made, "x" * length)
    assert made.threads == [thread]


@pytest.mark.parametrize("guard", [Local, Blocking])
def test_on_trio_it_is_kept_off_too(guard: Any) -> None:
    made = guard()
    ask("trio", made, "x" * LONG)
    assert made.threads != [MAIN]


class Hanging:
    """Hangs over one text until it is let go; asked in whatever way."""

    def __init__(self, *, blocks: bool, over: str = "hang") -> None:
        self.let_go = threading.Event()
        self.over = over
        self.inside: set[int] = set()
        if blocks:
            self.evaluate = self._block
        else:
            self.aevaluate = self._wait

    def _block(self, request: GuardRequest) -> GuardResponse:
        me = threading.get_ident()
        self.inside.add(me)
        if self.over in request.content:
            self.let_go.wait(10)
        self.inside.discard(me)
        return judged(request)

    async def _wait(self, request: GuardRequest) -> GuardResponse:
        if self.over in request.content:
            while not self.let_go.is_set():
                await anyio.sleep(0.01)
        return judged(request)


@pytest.fixture(params=[True, False], ids=["blocking", "asynchronous"])
def hanging(request: pytest.FixtureRequest) -> Iterator[Hanging]:
    guard = Hanging(blocks=request.param)
    yield guard
    guard.let_go.set()
    _until(lambda: not guard.inside)


def _until(met: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not met():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_hung_guard_is_waited_for_as_long_as_was_said(hanging: Hanging, driver: str) -> None:
    begun = time.perf_counter()
    (answer,) = ask(driver, hanging, "hang", deadline=0.1)
    took = time.perf_counter() - begun
    assert isinstance(answer, GuardTimeoutError)
    assert "0.1 s" in str(answer)
    assert 0.1 <= took < 1.0


def test_one_hung_text_does_not_take_the_others_along(hanging: Hanging, driver: str) -> None:
    texts = [f"yes {number}" for number in range(20)]
    answers = ask(driver, hanging, *texts[:10], "hang", *texts[10:], deadline=0.1)
    assert isinstance(answers.pop(10), GuardTimeoutError)
    assert [answer.policy_reason for answer in answers] == texts


def test_all_hung_texts_together_are_bounded(hanging: Hanging, driver: str) -> None:
    """Eight at a time: twenty take three deadlines."""
    begun = time.perf_counter()
    answers = ask(driver, hanging, *["hang"] * 20, deadline=0.05)
    assert all(isinstance(answer, GuardTimeoutError) for answer in answers)
    assert time.perf_counter() - begun < 1.0


class Raising(Both):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def judge(self, request: GuardRequest) -> Any:
        raise self.error


class Nonsense(Both):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def judge(self, request: GuardRequest) -> Any:
        return self.answer


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_what_a_guard_raises_is_a_missing_verdict(local: bool, count: int, driver: str) -> None:
    guard = Raising(ValueError("the text was: SECRET"))
    guard.local = local
    answers = ask(driver, guard, *["SECRET"] * count)
    assert [type(answer) for answer in answers] == [GuardError] * count
    assert "SECRET" not in str(answers[0])
    assert "Raising" in str(answers[0])
    assert answers[0].__cause__ is guard.error


@pytest.mark.parametrize("error", [GuardError("as it says"), GuardTimeoutError("its own deadline")])
def test_a_fault_that_says_what_it_is_stays(error: GuardError, driver: str) -> None:
    assert ask(driver, Raising(error), "x") == [error]


@pytest.mark.parametrize("answer", [None, 1, "", [], object, 0.5])
def test_what_is_no_verdict_is_no_allow(answer: Any, driver: str) -> None:
    (found,) = ask(driver, Nonsense(answer), "x")
    assert isinstance(found, GuardError) or found.decision is Decision.DENY


@pytest.mark.parametrize("error", [TimeoutError(), OSError(), RuntimeError("x"), RecursionError(), StopIteration()])
def test_no_error_of_a_guard_looks_like_ours(error: Exception, driver: str) -> None:
    (found,) = ask(driver, Raising(error), "x")
    assert type(found) is GuardError


def test_an_interrupt_is_not_swallowed() -> None:
    guard = Raising(KeyboardInterrupt())
    guard.local = True
    with pytest.raises(KeyboardInterrupt):
        ask("blocking", guard, "x")


@pytest.mark.parametrize("name", ["both", "blocking only", "asynchronous only", "local"])
def test_context_variables_reach_the_guard(name: str, driver: str) -> None:
    """So that a guard knows who asks, and its spans join the caller's trace."""
    seen = []

    class Seeing(GUARDS[name]().__class__):  # type: ignore[misc]
        def judge(self, request: GuardRequest) -> Any:
            seen.append(_place.get())
            return judged(request)

    token = _place.set("here")
    try:
        ask(driver, Seeing(), "a", "b", "x" * LONG)
    finally:
        _place.reset(token)
    assert seen == ["here"] * 3


def test_several_texts_are_judged_side_by_side(driver: str) -> None:
    eight = threading.Barrier(8)
    lock = threading.Lock()
    now, most = 0, 0

    def guard(request: GuardRequest) -> GuardResponse:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        # Nobody goes on before eight are here: fewer at a time, and this breaks.
        eight.wait(timeout=10)
        with lock:
            now -= 1
        return judged(request)

    answers = ask(driver, guard, *map(str, range(24)), deadline=20)
    assert [answer for answer in answers if not isinstance(answer, GuardResponse)] == []
    assert (len(answers), most) == (24, 8)


@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_hung_guards_take_a_bounded_number_of_threads(driver: str) -> None:
    guard = Hanging(blocks=True)
    try:
        for _ in range(12):
            ask(driver, guard, *["hang"] * 8, deadline=0.02)
        assert 0 < len(guard.inside) <= 64
        begun = time.perf_counter()
        (answer,) = ask(driver, judged, "yes", deadline=0.05)
        assert isinstance(answer, GuardTimeoutError), "no place for it"
        assert time.perf_counter() - begun < 1.0
        if hasattr(os, "fork"):
            assert _child_says(lambda: ask(driver, judged, "yes", deadline=2.0)[0].allowed), "a child has its own"
    finally:
        guard.let_go.set()
    (answer,) = ask(driver, judged, "yes", deadline=5.0)
    assert answer.allowed, "places come back"


def _child_says(question: Callable[[], bool]) -> bool:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        yes = False
        try:
            yes = question()
        finally:
            os._exit(0 if yes else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_a_process_without_threads_to_spare(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing verdict like any other, at once; and no place is lost by it."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(70):
        answers = ask(driver, judged, "yes", "yes", deadline=2.0)
        assert [type(answer) for answer in answers] == [GuardError, GuardError]
    monkeypatch.setattr(threading.Thread, "start", before)
    assert ask(driver, judged, "yes", deadline=2.0)[0].allowed


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_caller_waits_for_no_guard(backend: str, hanging: Hanging) -> None:
    async def run() -> float:
        op = Evaluate(Policy(guard=bind(hanging), deadline=5.0), [GuardRequest(content="hang")] * 3)
        begun = time.perf_counter()
        with anyio.move_on_after(0.05):
            await aperform(op)
        return time.perf_counter() - begun

    assert anyio.run(run, backend=backend) < 1.0


def test_an_event_loop_goes_on_while_a_guard_thinks() -> None:
    ticks = []

    def guard(request: GuardRequest) -> bool:
        time.sleep(0.05)
        return True

    async def run() -> None:
        async def tick() -> None:
            while True:
                ticks.append(time.perf_counter())
                await asyncio.sleep(0.001)

        ticking = asyncio.ensure_future(tick())
        await aperform(Evaluate(Policy(guard=bind(guard)), [GuardRequest(content="x")]))
        ticking.cancel()

    asyncio.run(run())
    assert len(ticks) > 5


def test_blocking_code_inside_an_event_loop_may_ask_an_asynchronous_guard() -> None:
    async def run() -> Any:
        return ask("blocking", afunction, "yes", "no")

    assert [answer.allowed for answer in asyncio.run(run())] == [True, False]


def test_an_answer_that_comes_after_its_loop_has_closed() -> None:
    """Nobody waits any more: the thread ends without a word."""
    guard = Hanging(blocks=True)
    (answer,) = ask("asyncio", guard, "hang", deadline=0.02)
    assert isinstance(answer, GuardTimeoutError)
    guard.let_go.set()
    _until(lambda: not guard.inside)


def test_invoking_is_left_to_what_is_invoked(driver: str) -> None:
    async def later() -> str:
        await anyio.sleep(0)
        return "later"

    if driver == "blocking":
        assert perform(Invoke(lambda: "now")) == "now"
    else:
        assert anyio.run(aperform, Invoke(later), backend=driver) == "later"


@pytest.mark.parametrize("guard", ["blocking", "asynchronous"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_hung_guard_does_not_keep_the_interpreter(driver: str, guard: str) -> None:
    program = textwrap.dedent(
        f"""
        import time, anyio
        from highflame_middleware import GuardRequest
        from highflame_middleware.drivers import aperform, perform
        from highflame_middleware.exchange import Evaluate, Policy
        from highflame_middleware.guard.protocol import bind

        def blocking(request):
            time.sleep(60)

        async def asynchronous(request):
            await anyio.sleep(60)

        op = Evaluate(Policy(guard=bind({guard}), deadline=0.05), [GuardRequest(content="x")] * 2)
        answers = perform(op) if "{driver}" == "blocking" else anyio.run(aperform, op, backend="{driver}")
        print([type(answer).__name__ for answer in answers], flush=True)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "['GuardTimeoutError', 'GuardTimeoutError']"
