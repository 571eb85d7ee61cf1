"""The error tree: drawn as it is, catchable as promised, and without a word of what was blocked."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import traceback
from typing import Any

import pytest

from highflame_middleware import errors
from highflame_middleware.types import Decision, GuardResponse, RedactionEntry, Signal, Stage

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and found.__module__ == errors.__name__
}
RAW = "4111 1111 1111 1111"


def drawn() -> dict[str, str | None]:
    """Each class in the docstring's tree, and the one above it."""
    above: dict[str, str | None] = {}
    line_of: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^    ([ │├└─]*)(\w+Error)\b", line):
            depth, name = len(found[1]), found[2]
            line_of = [(at, known) for at, known in line_of if at < depth]
            above[name] = line_of[-1][1] if line_of else None
            line_of.append((depth, name))
    return above


def test_the_tree_is_drawn_as_it_is() -> None:
    assert set(drawn()) == set(CLASSES) == set(errors.__all__)
    for name, above in drawn().items():
        bases = [base.__name__ for base in CLASSES[name].__bases__ if base.__module__ == errors.__name__]
        assert bases == ([above] if above else []), name


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("MissingExtraError", ImportError),
        ("GuardTimeoutError", TimeoutError),
        ("UpstreamTimeoutError", TimeoutError),
        ("InvalidRequestError", ValueError),
        ("HighflameError", Exception),
    ],
)
def test_each_can_be_caught_as_what_it_is(name: str, builtin: type) -> None:
    assert issubclass(CLASSES[name], builtin)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"BlockedError"}))
def test_every_error_pickles(name: str) -> None:
    error = CLASSES[name]("what, which, what to do")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize(
    ("error", "forgivable"),
    [
        (errors.GuardError("x"), True),
        (errors.GuardTimeoutError("x"), True),
        (errors.APIConnectionError("x"), True),
        (errors.InvalidResponseError("x"), True),
        (errors.RateLimitError(), True),
        (errors.AuthenticationError(), False),
        (errors.AuthenticationError(status=400, title="invalid_grant"), False),
        *(
            (errors.APIError(status=status), status in (408, 425, 429) or status >= 500)
            for status in range(300, 600)
        ),
    ],
)
def test_only_what_may_pass_by_itself_is_forgivable(error: errors.GuardError, forgivable: bool) -> None:
    """What ``fail_open`` is for: an outage; never a key or a question that will be refused for ever."""
    assert error.forgivable is forgivable
    assert pickle.loads(pickle.dumps(error)).forgivable is forgivable


def test_what_a_service_wrote_is_in_no_message() -> None:
    error = errors.APIError("Shield answered 422", status=422, title="Unprocessable", detail=RAW)
    assert (error.status, error.title, error.detail) == (422, "Unprocessable", RAW)
    assert RAW not in f"{error} {error!r} {traceback.format_exception(error)}"


def blocked(decision: Decision = Decision.DENY, **fields: Any) -> errors.BlockedError:
    entry = RedactionEntry(type="card", start_pos=0, end_pos=19, replacement="[card]", original=RAW)
    given: dict[str, Any] = {
        "policy_reason": "card number",
        "signals": (Signal(name="pii", score=90),),
        "redacted_content": RAW,
        "redaction_entries": (entry,),
        "request_id": "r-1",
        **fields,
    }
    return errors.BlockedError(GuardResponse(decision=decision, **given), Stage.TOOL_CALL)


class TestBlockedError:
    def test_it_says_where_what_and_why(self) -> None:
        error = blocked(Decision.STEP_UP)
        assert str(error) == "Blocked at the tool call stage (step_up): card number"
        assert (error.decision, error.stage) == (Decision.STEP_UP, Stage.TOOL_CALL)
        assert "no reason" in str(blocked(policy_reason=None))

    def test_nothing_of_the_text_is_kept_whoever_raises_it(self) -> None:
        error = blocked()
        assert error.response.redacted_content is None
        assert [entry.original for entry in error.response.redaction_entries] == [""]
        trace = "".join(traceback.format_exception(error))
        shown = [str(error), repr(error), repr(error.response), repr(error.args), repr(vars(error)), trace]
        assert all(RAW not in text for text in shown)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_pickles_without_the_text(self, protocol: int) -> None:
        content = pickle.dumps(blocked(), protocol)
        assert RAW.encode() not in content
        again = pickle.loads(content)
        assert again.response == blocked().response
        assert (again.stage, again.decision, str(again)) == (Stage.TOOL_CALL, Decision.DENY, str(blocked()))

    @pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
    def test_it_copies(self, way: Any) -> None:
        error = blocked()
        assert (way(error).response, str(way(error))) == (error.response, str(error))

    def test_a_subclass_stays_one(self) -> None:
        again = pickle.loads(pickle.dumps(Custom(blocked().response, Stage.PROMPT)))
        assert type(again) is Custom


class Custom(errors.BlockedError):
    """One that an application derives."""
