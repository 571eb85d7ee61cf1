"""The whole failure policy in one expectation table, through an exchange: what is done, and what is on record."""

from __future__ import annotations

import hashlib
import itertools
import logging
import pickle
from dataclasses import replace
from typing import Any

import pytest

from highflame_middleware.codecs.parts import Text
from highflame_middleware.errors import (
    APIError,
    AuthenticationError,
    BlockedError,
    GuardError,
    GuardTimeoutError,
    HighflameError,
    RateLimitError,
    UnreadableError,
)
from highflame_middleware.guard.verdict import Answer, DecisionEvent, rule, worst
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardResponse, Mode, RedactionEntry, Signal, Stage
from tests.exchanges import events_of, exchange

CONTENT = '{"card": "4111"}'
ENTRY = RedactionEntry(type="card", start_pos=10, end_pos=14, replacement="#", original="4111")
EDITED = '{"card": "#"}'

# What a guard may answer: with which decision it goes on record, and the answer itself.
ANSWERS: dict[str, tuple[str, Answer]] = {
    "allow": ("allow", GuardResponse(decision=Decision.ALLOW)),
    "allow with entries": ("allow", GuardResponse(decision=Decision.ALLOW, redaction_entries=(ENTRY,))),
    "modify by entries": ("modify", GuardResponse(decision=Decision.MODIFY, redaction_entries=(ENTRY,))),
    "modify by text": ("modify", GuardResponse(decision=Decision.MODIFY, redacted_content=EDITED)),
    "modify that changes nothing": ("modify", GuardResponse(decision=Decision.MODIFY, redacted_content=CONTENT)),
    "modify without a change": ("modify", GuardResponse(decision=Decision.MODIFY)),
    "modify out of range": (
        "modify",
        GuardResponse(decision=Decision.MODIFY, redaction_entries=(replace(ENTRY, end_pos=99),)),
    ),
    "modify that breaks the JSON": (
        "modify",
        GuardResponse(decision=Decision.MODIFY, redacted_content='{"card": '),
    ),
    "deny": ("deny", GuardResponse(decision=Decision.DENY, policy_reason="no")),
    "deny with entries": ("deny", GuardResponse(decision=Decision.DENY, redaction_entries=(ENTRY,))),
    "step_up": ("step_up", GuardResponse(decision=Decision.STEP_UP)),
    "step_up with entries": ("step_up", GuardResponse(decision=Decision.STEP_UP, redaction_entries=(ENTRY,))),
    "defer": ("defer", GuardResponse(decision=Decision.DEFER)),
    "defer with entries": ("defer", GuardResponse(decision=Decision.DEFER, redaction_entries=(ENTRY,))),
    "unknown": ("deny", GuardResponse(decision=Decision("quarantine"))),
    "fault": ("error", GuardError("the guard broke")),
    "timeout": ("error", GuardTimeoutError("too late")),
    "a key that is not taken": ("error", AuthenticationError()),
    "a question that is refused": ("error", APIError("refused", status=422)),
    "asked too often": ("error", RateLimitError()),
}

# What is done in enforce (fail closed, fail open) and in modify; monitor and alert always pass.
TABLE: dict[str, tuple[str, str, str]] = {
    "allow": ("pass", "pass", "pass"),
    "allow with entries": ("pass", "pass", "pass"),
    "modify by entries": ("edit", "edit", "edit"),
    "modify by text": ("edit", "edit", "edit"),
    "modify that changes nothing": ("pass", "pass", "pass"),
    "modify without a change": ("stop", "stop", "pass"),
    "modify out of range": ("stop", "stop", "pass"),
    "modify that breaks the JSON": ("stop", "stop", "pass"),
    "deny": ("stop", "stop", "pass"),
    "deny with entries": ("stop", "stop", "edit"),
    "step_up": ("stop", "stop", "pass"),
    "step_up with entries": ("stop", "stop", "edit"),
    "defer": ("stop", "stop", "pass"),
    "defer with entries": ("stop", "stop", "edit"),
    "unknown": ("stop", "stop", "pass"),
    "fault": ("stop", "pass", "pass"),
    "timeout": ("stop", "pass", "pass"),
    "a key that is not taken": ("stop", "stop", "pass"),
    "a question that is refused": ("stop", "stop", "pass"),
    "asked too often": ("stop", "pass", "pass"),
}
COLUMNS = {("enforce", False): 0, ("enforce", True): 1, ("modify", False): 2, ("modify", True): 2}
CASES = list(itertools.product(ANSWERS, Mode, (False, True)))


def expected(name: str, mode: Mode, fail_open: bool) -> str:
    column = COLUMNS.get((mode.value, fail_open))
    return "pass" if column is None else TABLE[name][column]


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(ANSWERS)


@pytest.mark.parametrize(("name", "mode", "fail_open"), CASES)
def test_what_is_done_and_what_is_on_record(name: str, mode: Mode, fail_open: bool) -> None:
    decision, answer = ANSWERS[name]
    owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
    text = Text(("x",), CONTENT, Stage.TOOL_CALL, "assistant", "pay", None, is_json=True)
    ruling = owner.settle(text, answer)
    outcome = expected(name, mode, fail_open)

    assert ruling.text == (EDITED if outcome == "edit" else None)
    assert (ruling.error is not None) is (outcome == "stop")
    if isinstance(ruling.error, BlockedError):
        assert isinstance(answer, GuardResponse)
        assert (ruling.error.decision, ruling.error.stage) == (answer.decision, Stage.TOOL_CALL)
        assert ruling.error.response == answer.without_content()
    elif ruling.error is not None:
        assert ruling.error is answer

    (event,) = events_of(owner)
    assert event.decision == decision
    assert event.enforced is (outcome != "pass")
    assert (event.mode, event.stage, event.tool, event.guard) == (mode, Stage.TOOL_CALL, "pay", "fake")
    assert event.content_hash == hashlib.sha256(CONTENT.encode()).hexdigest()
    assert event.notable is (decision != "allow")
    assert "4111" not in f"{event} {ruling}"
    if isinstance(answer, GuardError):
        assert event.reason == str(answer)


def test_text_that_is_no_json_may_become_anything() -> None:
    broken = GuardResponse(decision=Decision.MODIFY, redacted_content="{")
    ruling = rule(CONTENT, broken, stage=Stage.PROMPT, mode=Mode.ENFORCE, fail_open=False)
    assert ruling.text == "{"


# ------------------------------------------------------------------------------------------------- the worst


def blocked(decision: Decision) -> BlockedError:
    return BlockedError(GuardResponse(decision=decision), Stage.PROMPT)


# From the one that counts most to the one that counts least; those of one row are equal, and the first counts.
ORDER: list[list[HighflameError]] = [
    [blocked(Decision.DENY), blocked(Decision.MODIFY)],
    [GuardError("down"), GuardTimeoutError("late"), UnreadableError("unread")],
    [blocked(Decision.STEP_UP)],
    [blocked(Decision.DEFER)],
]


@pytest.mark.parametrize(
    ("better", "worse"),
    [(ORDER[low][i], ORDER[high][j]) for high in range(4) for low in range(high + 1, 4)
     for i in range(len(ORDER[low])) for j in range(len(ORDER[high]))],
)  # fmt: skip
def test_the_worst_of_two_counts_in_either_order(better: HighflameError, worse: HighflameError) -> None:
    assert worst([better, worse]) is worse
    assert worst([worse, better]) is worse


def test_among_equals_the_first_counts() -> None:
    for row in ORDER:
        assert worst(row) is row[0]
        assert worst(reversed(row)) is row[-1]
    assert worst([]) is None


# ------------------------------------------------------------------------------------------------- the record


def event(**fields: Any) -> DecisionEvent:
    given = {
        "guard": "g",
        "stage": Stage.PROMPT,
        "mode": Mode.ENFORCE,
        "decision": "deny",
        "enforced": True,
        "content": CONTENT,
    }
    return DecisionEvent(**{**given, **fields})


@pytest.mark.parametrize(
    ("decision", "enforced", "notable"),
    [
        ("allow", False, False),
        ("allow", True, True),
        ("deny", False, True),
        ("error", False, True),
        ("modify", True, True),
    ],
)
def test_what_is_notable(decision: str, enforced: bool, notable: bool) -> None:
    assert event(decision=decision, enforced=enforced).notable is notable


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_record_that_leaves_the_process_takes_the_hash_and_not_the_text(protocol: int) -> None:
    """As the handlers do that send log records to a queue or a socket, with all that hangs on them."""
    full = event(reason="card", signals=("pii:90",), tool="pay")
    sent = pickle.dumps(full, protocol)
    assert b"4111" not in sent
    again = pickle.loads(sent)
    assert again.content_hash == full.content_hash
    assert (again.content, replace(again, content=CONTENT)) == ("", full)
    assert pickle.loads(pickle.dumps(again)).content_hash == full.content_hash


def test_the_hash_of_a_lone_surrogate() -> None:
    assert len(event(content="\ud800").content_hash) == 64


def test_a_log_line_holds_no_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "highflame_middleware.guard")
    owner = exchange(FakeGuard(), mode=Mode.ENFORCE)
    signal = Signal(name="pii", score=90)
    answer = GuardResponse(decision=Decision.MODIFY, redaction_entries=(ENTRY,), signals=(signal,))
    owner.settle(Text((), CONTENT, Stage.PROMPT), answer)
    assert "enforced modify at the prompt stage (mode enforce, guard fake): pii:90" in caplog.text
    assert "4111" not in caplog.text
    assert all("4111" not in str(vars(record)) for record in caplog.records)
