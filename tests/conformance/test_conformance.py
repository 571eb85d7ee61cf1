"""Decision by stage by mode by outage, at every door, whole and streamed: a user's guard, the embedded engine.

The engine served as Shield is asked over the network at one door: a guard's answers are the same to all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from highflame_middleware import BlockedError, GuardError, Highflame, ShieldApp
from highflame_middleware.testing import serve_on_thread
from highflame_middleware.types import Mode, Stage
from tests.conformance.cases import EDITED, ENGINE, TABLE, TEXT, VALUE, Answering, Case, Served, embedded
from tests.conformance.doors import DOORS, INPUT, STAGES, Seen
from tests.servers import Server, running

MODES = [(mode, fail_open) for mode in Mode for fail_open in ((False, True) if mode is Mode.ENFORCE else (False,))]
GUARDS = [("answering", answer) for answer in TABLE] + [("embedded", answer) for answer in ENGINE]

AT = [pytest.param(door, stage, id=f"{door}-{stage}") for door in DOORS for stage in STAGES.get(door, tuple(Stage))]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def late() -> Iterator[threading.Event]:
    """What a guard that is late waits for: the end of the test."""
    ended = threading.Event()
    yield ended
    ended.set()


@pytest.mark.parametrize(("mode", "fail_open"), MODES)
@pytest.mark.parametrize(("kind", "answer"), GUARDS)
@pytest.mark.parametrize(("door", "stage"), AT)
def test_what_comes_of_it(
    door: str,
    kind: str,
    answer: str,
    mode: Mode,
    fail_open: bool,
    stage: Stage,
    upstream: Server,
    late: threading.Event,
) -> None:
    guard: Any = embedded(answer, stage)
    if kind == "answering":
        guard = Answering(answer, stage, wait=lambda: late.wait(5) and None)
    case = Case(guard, answer, stage, mode, fail_open)
    seen = DOORS[door](case, upstream)
    {"pass": passed, "edit": edited, "stop": stopped}[case.outcome](case, seen)
    recorded(case)


@pytest.fixture(scope="module")
def shield() -> Iterator[tuple[Served, str]]:
    served = Served()
    with serve_on_thread(ShieldApp(guard=served, keys=["zid_sk_mine"])) as url:
        yield served, url


@pytest.mark.parametrize("stage", Stage, ids=str)
@pytest.mark.parametrize(("mode", "fail_open"), MODES)
@pytest.mark.parametrize("answer", ENGINE)
def test_what_comes_of_it_where_shield_is_asked(
    answer: str,
    mode: Mode,
    fail_open: bool,
    stage: Stage,
    upstream: Server,
    shield: tuple[Served, str],
) -> None:
    served, url = shield
    served.answer, served.stage = answer, stage
    with Highflame("zid_sk_mine", base_url=url, token_url=f"{url}/oauth2/token", max_retries=0) as client:
        case = Case(client.as_guard(), answer, stage, mode, fail_open)
        seen = DOORS["sdk"](case, upstream)
    {"pass": passed, "edit": edited, "stop": stopped}[case.outcome](case, seen)
    recorded(case)


def passed(case: Case, seen: Seen) -> None:
    assert seen.stopped is None
    assert TEXT in seen.text


def edited(case: Case, seen: Seen) -> None:
    assert seen.stopped is None
    assert VALUE not in seen.text
    assert TEXT.replace(VALUE, EDITED) in seen.text


def stopped(case: Case, seen: Seen) -> None:
    assert VALUE not in seen.text
    assert seen.upstream == (0 if case.stage in INPUT else 1)
    if isinstance(seen.stopped, BlockedError):
        assert (seen.stopped.decision, seen.stopped.stage) == (case.recorded, case.stage)
        assert VALUE not in str(seen.stopped)
    elif isinstance(seen.stopped, GuardError):
        assert case.recorded == "error"
        assert VALUE not in str(seen.stopped)
    elif seen.stopped != "an error event":
        said = {"modify": "deny"}.get(case.recorded, case.recorded)
        assert seen.stopped == said


def recorded(case: Case) -> None:
    """Each evaluation leaves one event, in monitor and in an outage too, with no text in it."""
    about = [event for event in case.events if event.stage is case.stage and event.decision != "allow"]
    if case.answer == "allow":
        assert about == []
        assert case.stage in {event.stage for event in case.events}
        return
    (event,) = about
    assert (event.decision, event.mode) == (case.recorded, case.mode)
    assert event.enforced is (case.outcome != "pass")
    assert VALUE not in repr(event)
