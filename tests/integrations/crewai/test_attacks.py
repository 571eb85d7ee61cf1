"""What breaks inside, hangs, is cancelled or runs at once: it comes to the configured decision, and stays apart."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from crewai import LLM
from crewai.hooks import InterceptionPoint, register_hook
from crewai.hooks.dispatch import clear_all, get_scoped_hooks, scoped_hooks, unregister

from highflame_crewai import StepUp, guard_crew, guarded
from highflame_crewai.running import current_run
from highflame_middleware import BlockedError, ConfigError, DecisionEvent, GuardError, context
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Stage
from tests.integrations.crewai.crews import calling, crew_of, noting
from tests.servers import Answer, Seen, Server, running, scripted

pytestmark = pytest.mark.filterwarnings("ignore")

DENIED, SECRET = "FORBIDDEN", "SECRET"
Make = Callable[..., Any]


def fake() -> FakeGuard:
    return FakeGuard(deny=[DENIED], redact=[SECRET])


def sent_to(server: Server) -> str:
    return "".join(seen.body.decode() for seen in server.log)


def nothing_left() -> bool:
    return current_run() is None and not any(get_scoped_hooks(point) for point in InterceptionPoint)


class Breaking:
    """Raises, or answers what is no answer, at one stage."""

    name, local = "breaking", True

    def __init__(self, stage: Stage, what: Any) -> None:
        self._stage, self._what = stage, what

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        if request.stage is not self._stage:
            return GuardResponse(decision=Decision.ALLOW)
        if isinstance(self._what, Exception):
            raise self._what
        return self._what  # type: ignore[no-any-return]


FAULTS = [RuntimeError("x"), RecursionError(), MemoryError(), StopIteration(), KeyError("x"), None, 3]


@pytest.mark.parametrize("what", FAULTS, ids=repr)
@pytest.mark.parametrize("stage", Stage, ids=str)
def test_a_guard_that_breaks(stage: Stage, what: Any, llm: Make, model_server: Server) -> None:
    tool = noting("the result")
    crew = crew_of(llm(calling("x"), {"text": "Done."}), tool)
    kept = guard_crew(crew, guard=Breaking(stage, what), gateway=None)
    if stage in (Stage.TOOL_CALL, Stage.TOOL_RESULT):
        assert kept.kickoff().raw == "Done."
        assert tool.seen == (["x"] if stage is Stage.TOOL_RESULT else [])
        assert "the guard gave no verdict" in sent_to(model_server)
        assert "the result" not in sent_to(model_server)
    else:
        with pytest.raises(GuardError):
            kept.kickoff()
        assert len(model_server.log) == (0 if stage is Stage.PROMPT else 2)
    assert nothing_left()


def test_a_listener_of_decisions_that_raises_changes_none(llm: Make, model_server: Server) -> None:
    def broken(event: DecisionEvent) -> None:
        raise RuntimeError("broken")

    for mode, seen, said in (("enforce", ["a [redacted]"], "the [redacted]"), ("monitor", [f"a {SECRET}"], SECRET)):
        tool = noting(f"the {DENIED}")
        options: dict[str, Any] = {"guard": fake(), "gateway": None, "on_decision": broken, "mode": mode}
        crew = crew_of(llm(calling(f"a {SECRET}"), {"text": f"the {SECRET}"}), tool)
        model_server.log.clear()
        assert said in guard_crew(crew, **options).kickoff().raw
        assert tool.seen == seen
        assert (DENIED in sent_to(model_server)) is (mode == "monitor")
    with pytest.raises(BlockedError):
        guard_crew(crew_of(llm({"text": DENIED})), guard=fake(), gateway=None, on_decision=broken).kickoff()


@contextmanager
def _registered(point: InterceptionPoint, hook: Any) -> Iterator[None]:
    register_hook(point, hook)
    try:
        yield
    finally:
        unregister(point, hook)


@pytest.mark.parametrize("where", ["registered", "around", "inside", "all cleared"])
def test_hooks_of_somebody_else_that_raise(where: str, llm: Make, model_server: Server) -> None:
    def broken(ctx: Any) -> None:
        raise RuntimeError("broken")

    tool = noting(f"the {DENIED}")
    crew = crew_of(llm(calling(f"a {SECRET}"), {"text": f"the {SECRET}"}), tool)
    every = {point: [broken] for point in InterceptionPoint}
    with ExitStack() as stack:
        if where == "registered":
            for point in InterceptionPoint:
                stack.enter_context(_registered(point, broken))
        elif where == "around":
            stack.enter_context(scoped_hooks(every))
        stack.enter_context(guarded(guard=fake(), gateway=None))
        if where == "inside":
            stack.enter_context(scoped_hooks(every))
        elif where == "all cleared":
            clear_all()
        assert crew.kickoff().raw == "the [redacted]"
    assert tool.seen == ["a [redacted]"]
    assert DENIED not in sent_to(model_server)
    assert nothing_left()


class Careful:
    """Wants every call of a tool approved."""

    name, local = "careful", True

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        return GuardResponse(decision=Decision.STEP_UP if request.stage is Stage.TOOL_CALL else Decision.ALLOW)


@contextmanager
def _hanging(how: str) -> Iterator[Callable[[StepUp], Any]]:
    over = threading.Event()

    def blocking(step: StepUp) -> bool:
        return over.wait(20)

    async def later(step: StepUp) -> bool:
        await asyncio.sleep(20)
        return True

    def leaving(step: StepUp) -> bool:
        raise SystemExit(3)

    hanging: dict[str, Callable[[StepUp], Any]] = {"blocks": blocking, "awaits": later, "given": lambda s: later(s)}
    try:
        yield {**hanging, "leaves": leaving}[how]
    finally:
        over.set()


@pytest.mark.parametrize("how", ["blocks", "awaits", "given", "leaves"])
def test_an_approval_that_does_not_come_is_none(how: str, llm: Make, model_server: Server) -> None:
    begun = time.monotonic()
    options: dict[str, Any] = {"guard": Careful(), "gateway": None, "step_up_seconds": 0.2}
    with _hanging(how) as ask:
        tool = noting()
        crew = crew_of(llm(calling("pay"), {"text": "Done."}), tool)
        assert guard_crew(crew, **options, on_step_up=ask).kickoff().raw == "Done."
        assert tool.seen == []
        model = llm(calling("pay"))
        with guarded(**options, on_step_up=ask), pytest.raises(BlockedError):
            asyncio.run(model.acall("x", tools=[{"type": "function", "function": {"name": "note"}}]))
    assert time.monotonic() - begun < 10


def test_the_limit_of_an_approval_is_a_number() -> None:
    for wrong in (0, -1, "5", True):
        with pytest.raises(ConfigError, match="step_up_seconds"):
            guarded(guard=FakeGuard(), gateway=None, step_up_seconds=wrong)
    guarded(guard=FakeGuard(), gateway=None, step_up_seconds=None)


def test_an_approval_is_good_for_one_call(llm: Make) -> None:
    """Not for the same again, whether an agent runs the tool or whoever called the model."""
    steps: list[StepUp] = []

    def approve(step: StepUp) -> bool:
        steps.append(step)
        return len(steps) < 3

    tool = noting()
    crew = crew_of(llm(calling("pay"), calling("pay"), calling("pay"), {"text": "Done."}), tool, cache=False)
    options: dict[str, Any] = {"guard": Careful(), "gateway": None, "on_step_up": approve}
    assert guard_crew(crew, **options).kickoff().raw == "Done."
    assert tool.seen == ["pay", "pay"]
    assert len(steps) == 3
    steps.clear()
    definition = {"type": "function", "function": {"name": "note"}}
    model = llm(calling("pay"))
    ran: list[str] = []
    with guarded(**options):
        for _ in range(2):
            model.call("x", tools=[definition])
        with pytest.raises(BlockedError):
            model.call("x", tools=[definition])
    steps.clear()
    with guarded(**options):
        for _ in range(3):
            model.call("x", tools=[definition], available_functions={"note": lambda note: ran.append(note) or "ok"})
    assert ran == ["pay", "pay"]


@pytest.mark.parametrize("way", ["acall", "akickoff", "kickoff_async"])
def test_who_is_cancelled_leaves_nothing_behind(way: str, llm: Make) -> None:
    over = threading.Event()

    def slow(request: GuardRequest) -> bool:
        return over.wait(10)

    async def main() -> None:
        model = llm({"text": "ok"})
        with guarded(guard=slow, gateway=None, deadline=9):
            begun = model.acall("x") if way == "acall" else getattr(crew_of(model), way)()
            task = asyncio.create_task(begun)
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert current_run() is not None, "the block is still open"
        over.set()
        assert nothing_left()
        assert await model.acall("x") == "ok"

    asyncio.run(main())
    assert nothing_left()


def test_many_at_once_are_apart() -> None:
    """Six users, each with a guard and a session, one model, in threads and on one loop."""
    users = [f"u{at}" for at in range(6)]
    everybody = " ".join(f"<{user}>" for user in users)

    def respond(seen: Seen) -> Answer:
        body = seen.json
        user = re.search(r"for (u\d)\.", str(body["messages"]))
        assert user is not None
        told = any(message["role"] == "tool" for message in body["messages"])
        return scripted([{"text": f"{user[1]}: {everybody}"} if told else calling(everybody)])(seen)

    class Own:
        """Takes its own user out of calls, results and replies."""

        name = "own"

        def __init__(self, user: str, *, local: bool) -> None:
            self.local, self.requests = local, list[GuardRequest]()
            self._guard = FakeGuard(redact=[f"<{user}>"])

        def evaluate(self, request: GuardRequest) -> GuardResponse:
            self.requests.append(request)
            time.sleep(0.002)
            return self._guard.evaluate(request)

    guards = {user: Own(user, local=at % 2 == 0) for at, user in enumerate(users)}
    tools = {user: noting(everybody) for user in users}
    events: dict[str, list[DecisionEvent]] = {user: [] for user in users}
    answers: dict[str, str] = {}

    with running() as server:
        server.respond = respond
        model = LLM(model="openai/gpt-4o", base_url=f"{server.url}/v1", api_key="k")

        def crew(user: str) -> Any:
            return guard_crew(
                crew_of(model, tools[user], says=f"Go on for {user}."),
                guard=guards[user],
                gateway=None,
                user=user,
                session=f"s-{user}",
                on_decision=events[user].append,
            )

        def work(user: str) -> None:
            answers[user] = crew(user).kickoff().raw

        async def begin(user: str, way: str) -> None:
            answers[user] = (await getattr(crew(user), way)()).raw

        async def main() -> None:
            await asyncio.gather(
                begin(users[3], "akickoff"), begin(users[4], "kickoff_async"), begin(users[5], "akickoff")
            )

        threads = [threading.Thread(target=work, args=(user,)) for user in users[:3]]
        for thread in threads:
            thread.start()
        asyncio.run(main())
        for thread in threads:
            thread.join()
        log = list(server.log)

    for user in users:
        left = everybody.replace(f"<{user}>", "[redacted]")
        assert answers[user] == f"{user}: {left}"
        assert tools[user].seen == [left]
        assert {request.session_id for request in guards[user].requests} == {f"s-{user}"}
        assert {(event.user, event.session) for event in events[user]} == {(user, f"s-{user}")}
        assert len(guards[user].requests) == len({(item.stage, item.content) for item in guards[user].requests})
        own = [seen.body.decode() for seen in log if f"for {user}." in seen.body.decode()]
        assert len(own) == 2
        assert f"<{user}>" not in "".join(own)


def test_tenants_that_each_begin_several_at_once(llm: Make) -> None:
    model = llm({"text": f"the {SECRET}"})
    crew = crew_of(model, says="Say {word}.")
    guards = {who: fake() for who in "abc"}
    said: dict[str, list[str]] = {}

    def work(who: str) -> None:
        with context(user=who, session=who):
            each = guard_crew(crew, guard=guards[who], gateway=None).kickoff_for_each(
                [{"word": SECRET}, {"word": f"word of {who}"}]
            )
        said[who] = [out.raw for out in each]

    threads = [threading.Thread(target=work, args=(who,)) for who in guards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {who: ["the [redacted]"] * 2 for who in guards}
    for who, guard in guards.items():
        assert {request.session_id for request in guard.requests} == {who}
        texts = "".join(request.content for request in guard.requests)
        assert {other for other in "abc" if f"word of {other}" in texts} == {who}
