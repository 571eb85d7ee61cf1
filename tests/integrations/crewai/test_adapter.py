"""The adapter itself: approvals, its proof on the installed version, who is refused, scopes in each other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from crewai import Crew

import highflame_crewai
from highflame_crewai import StepUp, guard_crew, guarded, proof, self_test
from highflame_middleware import BlockedError, ConfigError, GuardError, UnprovenError, bypass
from highflame_middleware.checkpoint import digest_of
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Stage
from tests.integrations.crewai.crews import calling, crew_of, noting
from tests.servers import Server

pytestmark = pytest.mark.filterwarnings("ignore")
Make = Callable[..., Any]


class Careful:
    """Wants somebody to approve what a tool is to be given."""

    name, local = "careful", True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        if request.stage is not Stage.TOOL_CALL:
            return GuardResponse(decision=Decision.ALLOW)
        self.asked.append(request.content)
        return GuardResponse(decision=Decision.STEP_UP, policy_reason="needs approval", request_id="r1")


async def _later(step: StepUp) -> bool:
    await asyncio.sleep(0)
    return True


def _broken(step: StepUp) -> bool:
    raise RuntimeError("nobody is there")


APPROVERS: dict[str, tuple[Any, bool]] = {
    "yes": (lambda step: True, True),
    "later": (_later, True),
    "no": (lambda step: False, False),
    "not quite": (lambda step: "yes", False),
    "broken": (_broken, False),
    "nobody": (None, False),
}


@pytest.mark.parametrize("who", APPROVERS)
def test_an_approval_runs_the_tool_and_nothing_else_does(who: str, llm: Make, model_server: Server) -> None:
    approve, runs = APPROVERS[who]
    tool, guard = noting(), Careful()
    crew = crew_of(llm(calling("pay"), calling("pay"), {"text": "Done."}), tool)
    out = guard_crew(crew, guard=guard, gateway=None, on_step_up=approve).kickoff()
    assert out.raw == "Done."
    assert tool.seen == (["pay"] * len(tool.seen) if runs else [])
    assert bool(tool.seen) is runs
    if not runs:
        assert "needs approval" in model_server.log[1].json["messages"][-1]["content"]


def test_an_approval_is_good_for_these_arguments_only(llm: Make) -> None:
    steps: list[StepUp] = []

    def approve(step: StepUp) -> bool:
        steps.append(step)
        return "one" in str(step.arguments)

    tool = noting()
    crew = crew_of(llm(calling("one"), calling("two"), {"text": "Done."}), tool)
    guard_crew(crew, guard=Careful(), gateway=None, on_step_up=approve).kickoff()
    assert tool.seen == ["one"]
    assert [json.loads(step.arguments)["note"] for step in steps] == ["one", "two"]
    assert steps[0].digest == digest_of("note", steps[0].arguments)
    assert (steps[0].tool, steps[0].reason, steps[0].request_id) == ("note", "needs approval", "r1")
    assert "one" not in repr(steps[0])


def test_a_denial_is_proven_on_the_installed_version() -> None:
    found = self_test()
    assert len(found) >= 12
    assert all(found.values()), found


def test_a_version_that_swallows_an_abort_is_refused(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def swallowing(point: Any, hook: Any, ctx: Any, reducer: Any, verbose: bool) -> bool:
        try:
            return bool(reducer(ctx, hook(ctx)))
        except Exception:
            return False

    monkeypatch.setattr(import_module("crewai.hooks.dispatch"), "_invoke_hook", swallowing)
    monkeypatch.setattr(proof, "_found", None)
    with pytest.raises(UnprovenError, match="tool call, tool result: raise"):
        guarded(guard=FakeGuard(), gateway=None)
    guarded(guard=FakeGuard(), gateway=None, on_unproven="warn")
    guarded(guard=FakeGuard(), gateway=None, mode="monitor")
    assert "does not enforce a denial" in caplog.text
    monkeypatch.setattr(proof, "_found", None)


@pytest.mark.parametrize("version", ["1.9.3", "1.15.0", "1.15.18"])
def test_an_older_crewai_is_refused_with_the_reason(version: str, tmp_path: Path) -> None:
    """Below 1.15.19 a denial is swallowed at one point or another."""
    info = tmp_path / f"crewai-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: crewai\nVersion: {version}\n")
    program = (
        "import sys, highflame_crewai\n"
        "from highflame_crewai import guard_crew, guarded, highflame_llm, self_test\n"
        "for make in (guarded, self_test, lambda: guard_crew(object()), lambda: highflame_llm('openai/m')):\n"
        "    try: make()\n"
        "    except ImportError as error: print(error)\n"
        "assert 'crewai' not in sys.modules\n"
    )
    root = Path(__file__).resolve().parents[3]
    path = os.pathsep.join([str(tmp_path), str(root), str(root / "integrations")])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(f"needs crewai>=1.15.19, and found {version}: pip install" in line for line in lines)


def test_importing_is_light() -> None:
    program = "import sys, highflame_crewai; assert not {'crewai', 'pydantic', 'httpx'} & set(sys.modules)"
    root = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "integrations")])}
    subprocess.run([sys.executable, "-c", program], env=env, check=True)


def test_the_public_names() -> None:
    assert highflame_crewai.__all__ == sorted(highflame_crewai.__all__)
    assert all(getattr(highflame_crewai, name) is not None for name in highflame_crewai.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = highflame_crewai.nothing


def test_what_cannot_be_used_is_said_at_once() -> None:
    for options in ({"on_denied_tool": "ignore"}, {"on_step_up": "yes"}, {"mode": "loud"}, {"unknown": 1}):
        with pytest.raises(ConfigError):
            guarded(guard=FakeGuard(), gateway=None, **options)


def test_what_stands_for_a_crew_is_one(llm: Make) -> None:
    crew = crew_of(llm({"text": "SECRET"}))
    kept = guard_crew(crew, guard=FakeGuard(redact=["SECRET"]), gateway=None)
    assert isinstance(kept, Crew)
    assert kept.id == crew.id
    assert kept.copy().kickoff().raw == "[redacted]", "so is a copy of it"
    assert crew.kickoff().raw == "SECRET"
    assert "SECRET" not in repr(kept)


def test_the_innermost_scope_counts(llm: Make) -> None:
    outer, inner = FakeGuard(redact=["ADA"]), FakeGuard(redact=["BOB"])
    model = llm({"text": "ADA and BOB"})
    with guarded(guard=outer, gateway=None):
        with guarded(guard=inner, gateway=None):
            assert model.call("x") == "ADA and [redacted]"
        assert model.call("x") == "[redacted] and BOB"
    assert len(outer.requests) == len(inner.requests) == 2


def test_one_scope_in_many_threads_and_tasks(llm: Make) -> None:
    model, scope = llm({"text": "SECRET"}), guarded(guard=FakeGuard(redact=["SECRET"]), gateway=None)
    said: list[str] = []

    def work() -> None:
        with scope, scope:
            said.append(model.call("x"))
        said.append(model.call("x"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["SECRET"] * 4 + ["[redacted]"] * 4

    async def main() -> list[str]:
        async def one() -> str:
            with scope:
                return str(await model.acall("x"))

        return list(await asyncio.gather(one(), one(), model.acall("x")))

    assert asyncio.run(main()) == ["[redacted]", "[redacted]", "SECRET"]


def test_a_bypass_is_good_inside_it_only(llm: Make) -> None:
    model = llm({"text": "BAD"})
    with guarded(guard=FakeGuard(deny=["BAD"]), gateway=None):
        with bypass("an incident"):
            assert model.call("x") == "BAD"
        with pytest.raises(BlockedError):
            model.call("x")
        with bypass("the same again"):
            assert model.call("x") == "BAD"


def test_without_a_guard_everything_passes(llm: Make) -> None:
    with guarded(guard=None, gateway=None):
        assert llm({"text": "SECRET"}).call("x") == "SECRET"


def test_a_guard_that_is_shield_s_or_any_is_one_of_the_settings(llm: Make) -> None:
    with guarded(gateway=None):
        assert llm({"text": "Card 4111 1111 1111 1111"}).call("x") == "Card [REDACTED:credit_card]"


def test_errors_leave_their_process_and_come_back() -> None:
    import pickle

    from highflame_crewai import CrewBlockedError, CrewGuardError

    error = CrewBlockedError(GuardResponse(decision=Decision.DENY, policy_reason="no"), Stage.PROMPT)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.reason) == (CrewBlockedError, str(error), "deny: no")
    assert isinstance(pickle.loads(pickle.dumps(CrewGuardError("late"))), GuardError)


def test_doctor_shows_the_proof(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from highflame_middleware.cli import main

    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert f"adapter     crewai {metadata.version('crewai')}: proven" in said
    monkeypatch.setattr(proof, "self_test", lambda: {"tool call": False})
    assert main(["doctor"]) == 1
    assert "NOT proven\n            tool call\n" in capsys.readouterr().out
