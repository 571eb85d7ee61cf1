"""The ways in which gateways say no, told from what looks like them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware.route import Refusal, bears_traces, decision_in, may_refuse, refusal_in
from highflame_middleware.types import Decision, Stage

WORDS = "Highflame Security: Enterprise Policies Triggered: no-cards"
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
}
FLAGGED = {"processor_outputs": {"request.chain.promptinjectiondetection_1": {"flagged": True}}}
PASSED = {"correlation_id": "c", "processor_outputs": {"request.chain.trustsafety": {"flagged": False}}}
REJECTED = [{"message": {"content": "Rejected from prompt safety policy."}}]


def saying(text: str, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {**COMPLETION, "choices": [choice], **fields}


# dialect, status, headers, body; the decision and the reason, or nothing
ANSWERS: dict[str, tuple[str, int, dict[str, str], Any, tuple[str, str] | None]] = {
    "a completion": ("highflame", 200, {}, COMPLETION, None),
    "the header": ("highflame", 200, {"x-highflame-policy-decision": "deny"}, saying(WORDS), ("deny", WORDS)),
    "the header, of capitals": (
        "highflame",
        200,
        {"x-highflame-policy-decision": " DENY "},
        saying(WORDS),
        ("deny", WORDS),
    ),
    "the header, to wait": (
        "highflame",
        200,
        {"x-highflame-policy-decision": "step_up"},
        saying("Approve it."),
        ("step_up", "Approve it."),
    ),
    "the header, of unknown meaning": (
        "highflame",
        200,
        {"x-highflame-policy-decision": "perhaps"},
        {},
        ("deny", "the gateway gave no reason"),
    ),
    "the header lets it pass, whatever is said": (
        "highflame",
        200,
        {"x-highflame-policy-decision": "allow"},
        saying(WORDS, id="chatcmpl-blocked-1"),
        None,
    ),
    "the header, redacted": ("highflame", 200, {"x-highflame-policy-decision": "modify"}, COMPLETION, None),
    "the header on an error": (
        "highflame",
        403,
        {"x-highflame-policy-decision": "deny"},
        {"error": {"message": "No."}},
        ("deny", "No."),
    ),
    "the header, no JSON": (
        "highflame",
        200,
        {"x-highflame-policy-decision": "deny"},
        None,
        ("deny", "the gateway gave no reason"),
    ),
    "the id": ("highflame", 200, {}, saying("No.", id="chatcmpl-blocked-1"), ("deny", "No.")),
    "the id, no decision": (
        "highflame",
        200,
        {},
        saying("", id="chatcmpl-validation-error-1"),
        ("deny", "no decision could be had"),
    ),
    "the id of a response": (
        "highflame",
        200,
        {},
        {"id": "resp_blocked_1", "output": [{"content": [{"text": "No."}]}]},
        ("deny", "No."),
    ),
    "the id of a message": (
        "highflame",
        200,
        {},
        {"id": "msg_blocked_1", "content": [{"type": "text", "text": "No."}]},
        ("deny", "No."),
    ),
    "the id in a stream's first event": (
        "highflame",
        200,
        {},
        {"type": "message_start", "message": {"id": "msg_blocked_1"}},
        ("deny", "the gateway gave no reason"),
    ),
    "an id that holds the word elsewhere": ("highflame", 200, {}, saying("x", id="chatcmpl-unblocked-1"), None),
    "an id of another type": ("highflame", 200, {}, saying("x blocked", id=["chatcmpl-blocked-1"]), None),
    "the words": ("highflame", 200, {}, saying(WORDS), ("deny", WORDS)),
    "the words in a delta": (
        "highflame",
        200,
        {},
        {"id": "c", "choices": [{"delta": {"content": WORDS}}]},
        ("deny", WORDS),
    ),
    "words about the words": ("highflame", 200, {}, saying(f"It answers {WORDS!r}."), None),
    "an error of the provider's": ("highflame", 401, {}, {"error": {"message": "Bad key."}}, None),
    "the words in an error": ("highflame", 429, {}, saying(WORDS), None),
    "an older gateway's": (
        "javelin",
        200,
        {},
        {"choices": REJECTED, "javelin": PASSED},
        ("deny", REJECTED[0]["message"]["content"]),
    ),
    "the one after it": (
        "highflame-v2",
        200,
        {},
        {"choices": REJECTED, "highflame": FLAGGED},
        ("deny", REJECTED[0]["message"]["content"]),
    ),
    "its object beside a completion": ("javelin", 200, {}, {**COMPLETION, "javelin": PASSED}, None),
    "beside what is hardly a completion": (
        "javelin",
        200,
        {},
        {"id": "c", "choices": [{"message": {"content": "Hi."}}], "javelin": PASSED},
        None,
    ),
    "flagged, but only inspected": ("javelin", 200, {}, {**COMPLETION, "javelin": FLAGGED}, None),
    "beside Bedrock's reply": (
        "javelin",
        200,
        {},
        {"output": {"message": {"content": [{"text": "Hi."}]}}, "stopReason": "end_turn", "javelin": FLAGGED},
        None,
    ),
    "beside embeddings": ("javelin", 200, {}, {"data": [], "model": "m", "javelin": PASSED}, None),
    "beside choices of a model on Bedrock": (
        "javelin",
        200,
        {},
        {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "javelin": FLAGGED},
        None,
    ),
    "as an error": (
        "javelin",
        400,
        {},
        {"error": "Prompt rejected.", "javelin": FLAGGED},
        ("deny", "Prompt rejected."),
    ),
    "as an error with a completion": (
        "javelin",
        403,
        {},
        {"choices": REJECTED, "javelin": {}},
        ("deny", REJECTED[0]["message"]["content"]),
    ),
    "an error that nothing was found in": ("javelin", 404, {}, {"error": "No route.", "javelin": PASSED}, None),
    "an error of a provider's through it": ("javelin", 400, {}, {"error": {"message": "Bad model."}}, None),
    "portkey's status": (
        "portkey",
        446,
        {},
        {
            "error": {"message": "The guardrail checks failed."},
            "hook_results": {"before_request_hooks": [{"verdict": False}]},
        },
        ("deny", "The guardrail checks failed."),
    ),
    "portkey's words of others": ("portkey", 200, {}, saying(WORDS, id="chatcmpl-blocked-1"), None),
    "a list": ("highflame", 200, {}, [WORDS], None),
    "a string": ("javelin", 200, {}, "javelin", None),
    "an object of another type": ("javelin", 200, {}, {"choices": REJECTED, "javelin": "yes"}, None),
    "outputs of another type": ("javelin", 400, {}, {"javelin": {"processor_outputs": ["x"]}}, None),
    "choices of another type": ("javelin", 200, {}, {"choices": "x", "javelin": FLAGGED}, None),
    "an output of another type": ("javelin", 400, {}, {"javelin": {"processor_outputs": {"a": 1}}}, None),
}


def look(dialect: str, status: int, headers: dict[str, str], body: Any) -> Refusal | None:
    assert may_refuse(dialect, status) or dialect == "portkey"
    found = refusal_in(dialect, status, headers, body)
    assert found is None or bears_traces(status, headers, json.dumps(body).encode()), "it would be read"
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_a_refusal(name: str) -> None:
    dialect, status, headers, body, expected = ANSWERS[name]
    found = look(dialect, status, headers, body)
    verdict = found.verdict if found is not None else None
    assert (verdict and (verdict.decision.value, verdict.policy_reason)) == expected


STAGES: dict[str, tuple[str, int, Any, Stage]] = {
    "before the model": ("javelin", 400, {"javelin": FLAGGED}, Stage.PROMPT),
    "after it": (
        "javelin",
        400,
        {"javelin": {"processor_outputs": {"response.chain.dlp_gcp": {"flagged": True}}}},
        Stage.RESPONSE,
    ),
    "portkey, before": (
        "portkey",
        446,
        {"hook_results": {"before_request_hooks": [{"verdict": False}]}},
        Stage.PROMPT,
    ),
    "portkey, after": (
        "portkey",
        446,
        {
            "hook_results": {
                "before_request_hooks": [{"verdict": True}],
                "after_request_hooks": [{"verdict": False}],
            }
        },
        Stage.RESPONSE,
    ),
    "unsaid": ("highflame", 200, {"id": "chatcmpl-blocked-1"}, Stage.PROMPT),
}


@pytest.mark.parametrize("name", STAGES)
def test_where_it_fell(name: str) -> None:
    dialect, status, body, stage = STAGES[name]
    found = look(dialect, status, {}, body)
    assert found is not None
    assert found.stage is stage


def test_what_was_found_is_signalled() -> None:
    found = look("javelin", 400, {}, {"javelin": FLAGGED})
    assert found is not None
    assert [signal.name for signal in found.verdict.signals] == ["request.chain.promptinjectiondetection_1"]
    headers = {"x-highflame-policy-decision": "deny", "x-highflame-highest-severity": "critical"}
    found = look("highflame", 200, headers, {})
    assert found is not None
    assert [signal.severity for signal in found.verdict.signals] == ["critical"]


@pytest.mark.parametrize("words", ["a\r\nb\x00c\x1b[31m", "x" * 10_000, "\u2028" * 500 + "x"])
def test_a_gateways_words_are_one_short_printable_line(words: str) -> None:
    found = look("highflame", 200, {}, saying(words, id="chatcmpl-blocked-1"))
    assert found is not None
    reason = found.verdict.policy_reason or ""
    assert reason.isprintable()
    assert 0 < len(reason) <= 300
    assert found.verdict.decision is Decision.DENY


def test_which_answers_may_be_refusals() -> None:
    for dialect in ("highflame", "highflame-v2", "javelin"):
        assert [may_refuse(dialect, status) for status in (200, 207, 302, 400, 429, 446, 500)] == [
            True,
            True,
            False,
            True,
            True,
            True,
            False,
        ]
    assert [may_refuse("portkey", status) for status in (200, 246, 400, 446)] == [False, False, False, True]
    for dialect in ("openai-compatible", "embedded"):
        assert not any(may_refuse(dialect, status) for status in (200, 400, 446))


def test_what_the_headers_say() -> None:
    header = "x-highflame-policy-decision"
    said = {"deny": "deny", "allow": "allow", "MODIFY": "allow", "": None, "defer": "defer"}
    assert {value: decision_in({header: value}) for value in said} == said
    assert decision_in({}) is None
