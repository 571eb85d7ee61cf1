"""What Shield answers, by question: values in, replies out. What waits here waits for a guard, with a deadline."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any

import anyio

from ..caller import CallContext
from ..drivers import aperform
from ..errors import GuardError
from ..exchange import Evaluate, Policy
from ..guard.verdict import Answer, DecisionEvent
from ..shield.fields import plain
from ..shield.wire import CHALLENGE, STATUSES, write_response
from ..telemetry import Recorder
from ..types import Challenge, Decision, GuardRequest, GuardResponse, Mode
from .approvals import Approvals, PendingApproval
from .memory import Answers
from .modes import overridden
from .questions import read_detect, read_guard, read_usage
from .receipts import ReceiptSigner
from .replies import ProblemError, Reply, event, json_reply, oauth_error, problem
from .showing import Shown
from .spending import Ledger
from .tokens import Caller, Issuer

__all__ = ["OnStepUp", "Places", "Service"]

_log = logging.getLogger("highflame_middleware.shield_server")

#: Told of a text that waits for a person; what it returns, if it is a bool, is the decision.
OnStepUp = Callable[[PendingApproval], "bool | Awaitable[bool | None] | None"]

_CIBA = "urn:openid:params:grant-type:ciba"
_KEY = 256  # characters of an Idempotency-Key
_SPENT = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
_POLLED = {
    "authorization_pending": "nobody has decided yet",
    "slow_down": "asked too often: wait five seconds longer each time",
    "access_denied": "it was refused",
    "expired_token": "nobody has decided in time",
    "invalid_grant": "there is no such request, or its token has been used",
}


class Places:
    """How many texts may be looked at at a time; who comes when all places are taken comes again."""

    __slots__ = ("_free",)

    def __init__(self, most: int) -> None:
        self._free = most

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a place for as long as it lasts."""
        if self._free <= 0:
            raise problem(503, "too many questions at a time", headers=(("retry-after", "1"),))
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything that is needed to answer; `ShieldApp` puts it together.

    ``default_mode`` is that of questions that name none. ``originals`` says
    whether what was taken out of a text is told beside what was put in its place.
    """

    policy: Policy
    shown: Shown
    issuer: Issuer
    approvals: Approvals
    answers: Answers
    ledger: Ledger
    actions: Collection[str]
    default_mode: Mode = Mode.ENFORCE
    max_chars: int = 1_000_000
    originals: bool = False
    signer: ReceiptSigner | None = None
    on_step_up: OnStepUp | None = None
    places: Places

    # --- the questions ---------------------------------------------------------------------------------------

    async def guard(self, caller: Caller, payload: dict[str, Any], *, key: str | None) -> Reply:
        """The verdict on a text; the same again where a question is repeated under its key."""
        request = self._guarded(payload)
        if request.optimize and request.dryrun:
            return json_reply(200, self._planned(request))
        question = json.dumps(payload, sort_keys=True).encode()
        if key is not None:
            if not 0 < len(key) <= _KEY:
                raise problem(422, f"validation failed: Idempotency-Key must have 1 to {_KEY} characters")
            try:
                known = self.answers.find(caller.tenant, key, question)
            except KeyError:
                raise problem(422, "this Idempotency-Key has been used for another question") from None
            if known is not None:
                return known
        verdict, body = await self._judged(caller, request)
        self._spend(caller, request, key or verdict.request_id)
        headers = (("www-authenticate", CHALLENGE),) if verdict.decision is Decision.STEP_UP else ()
        reply = json_reply(STATUSES.get(verdict.decision, 200), body, headers=headers)
        if key is not None and reply.status == 200:
            # What waits is asked again under the same key, and must then be looked at again.
            self.answers.keep(caller.tenant, key, question, reply)
        return reply

    def stream(self, caller: Caller, payload: dict[str, Any]) -> AsyncIterator[bytes]:
        """The same as events: what each detector found, then the verdict; or what went wrong."""
        request = self._guarded(payload)
        return self._events(caller, request)

    async def detect(self, caller: Caller, payload: dict[str, Any]) -> Reply:
        """What the detectors find in a text; no rule decides anything, and nothing is taken out."""
        request = self._bounded(read_detect(payload))
        verdict = await self._ask(caller, replace(request, mode=Mode.MODIFY))
        inventory = self.shown.inventory
        results = inventory.results(verdict.context, verdict.latency_ms, asked=request.detectors)
        merged: dict[str, Any] = {}
        for result in results:
            merged |= result["context"]
        body = {
            "context": merged,
            "detectors": results,
            "latency_ms": round(verdict.latency_ms),
            "tiers_evaluated": inventory.tiers,
        }
        return json_reply(200, plain(body))

    def usage(self, caller: Caller, payload: dict[str, Any]) -> Reply:
        """Count what a model call has cost."""
        used = read_usage(payload)
        found = self.ledger.record(caller.tenant, f"usage:{used.usage_id}", used.model)
        return json_reply(
            200, {"cost_micros": found.cost_micros, "priced": found.priced, "recorded": found.recorded}
        )

    def detectors(self) -> Reply:
        """The detectors that there are."""
        return json_reply(200, self.shown.inventory.listed())

    def policies(self, product: str) -> Reply:
        """The rules in force. There is one set of them, whatever the product."""
        return json_reply(200, plain(self.shown.listed(product)))

    def health(self) -> Reply:
        """Whether questions can be answered."""
        ready = self.shown.rules is None or self.shown.listed("guardrails")["has_policies"]
        return json_reply(
            200,
            {
                "status": "healthy" if ready else "degraded",
                "evaluator": "ready" if ready else "no_policies",
                "detectors": {row.name: "healthy" for row in self.shown.inventory.rows},
            },
        )

    def grant(self, asked: dict[str, str]) -> Reply:
        """A token, for a key or for an approval."""
        kind = asked.get("grant_type", "")
        if kind == "api_key":
            caller = self.issuer.exchange(asked.get("api_key", ""))
            if caller is None:
                raise oauth_error(400, "invalid_grant", "there is no such key")
            return json_reply(200, self.issuer.issue(caller))
        if kind == _CIBA:
            state, found, approval = self.approvals.poll(asked.get("auth_req_id", ""))
            if state != "approved" or found is None:
                raise oauth_error(400, state, _POLLED[state])
            return json_reply(200, self.issuer.issue(found, approval=approval))
        raise oauth_error(400, "unsupported_grant_type", f"grant_type must be api_key or {_CIBA}")

    # --- what they have in common ----------------------------------------------------------------------------

    def _guarded(self, payload: dict[str, Any]) -> GuardRequest:
        request = self._bounded(read_guard(payload, actions=self.actions, default_mode=self.default_mode))
        if request.detectors and len(self.shown.inventory.unknown(request.detectors)) == len(request.detectors):
            raise problem(422, "validation failed: none of these detectors is here (see /v1/shield/detectors)")
        if request.optimize and not request.detectors:
            return replace(request, detectors=self.shown.needed())
        return request

    def _bounded(self, request: GuardRequest) -> GuardRequest:
        if len(request.content) > self.max_chars:
            raise problem(413, f"the content is longer than {self.max_chars} characters")
        return request

    def _planned(self, request: GuardRequest) -> dict[str, Any]:
        """What would be done; nothing has been looked at, so this is no verdict on the text."""
        verdict = GuardResponse(
            decision=Decision.ALLOW,
            policy_reason="a dry run: nothing was evaluated",
            effective_mode=request.mode.value,
            request_id=_new_id(),
            extra={"optimization": self.shown.plan()},
        )
        return write_response(verdict, request.content)

    async def _events(self, caller: Caller, request: GuardRequest) -> AsyncIterator[bytes]:
        # An iterator that is not read to its end leaves nothing behind: all it waits for is the guard.
        try:
            verdict = await self._ask(caller, request)
            for result in self.shown.inventory.results(
                verdict.context, verdict.latency_ms, asked=request.detectors
            ):
                yield event("detector_result", plain(result))
            _, body = await self._decided(caller, request, verdict)
            yield event("decision", body)
        except ProblemError as refused:
            yield event("error", json.loads(refused.reply.body))

    async def _judged(self, caller: Caller, request: GuardRequest) -> tuple[GuardResponse, dict[str, Any]]:
        return await self._decided(caller, request, await self._ask(caller, request))

    async def _ask(self, caller: Caller, request: GuardRequest) -> GuardResponse:
        """The guard's own verdict; where it gives none that is a 503, and the client's policy speaks."""
        session = request.session_id
        if session and self.issuer.asks_for_keys:
            # What one tenant calls a session is not what another does.
            session = hashlib.sha256(json.dumps([caller.tenant, session]).encode()).hexdigest()[:32]
        with self.places.taken():
            asked = [replace(request, session_id=session)]
            answers: Sequence[Answer] = await aperform(Evaluate(self.policy, asked))
        answer = answers[0]
        self._note(caller, request, answer)
        if isinstance(answer, GuardError):
            raise problem(503, "the guard gave no verdict", headers=(("retry-after", "1"),))
        return replace(answer, request_id=answer.request_id or _new_id())

    async def _decided(
        self, caller: Caller, request: GuardRequest, verdict: GuardResponse
    ) -> tuple[GuardResponse, dict[str, Any]]:
        """The verdict that is answered: under its mode, approved or waiting for approval, explained and signed."""
        at = datetime.now(UTC)
        verdict = overridden(request, verdict)
        if missing := self.shown.inventory.unknown(request.detectors):
            told = f"not run, for they are not here: {', '.join(sorted(missing))[:500]}"
            errors = f"{verdict.eval_errors}; {told}" if verdict.eval_errors else told
            verdict = replace(verdict, eval_errors=errors)
        if verdict.decision is Decision.STEP_UP:
            verdict = await self._stepped_up(caller, request, verdict)
        entries = tuple(
            replace(entry, original=request.content[entry.start_pos : entry.end_pos] if self.originals else "")
            for entry in verdict.redaction_entries
        )
        verdict = replace(verdict, redaction_entries=entries)
        verdict = self.shown.told(request, verdict, caller)
        if self.signer is not None:
            verdict = replace(verdict, receipt=self.signer.sign(request, verdict, at=at))
        return verdict, write_response(verdict, request.content, at=at)

    async def _stepped_up(self, caller: Caller, request: GuardRequest, verdict: GuardResponse) -> GuardResponse:
        digest = _digest(caller, request)
        if caller.approval and self.approvals.use(caller.approval, digest):
            return replace(
                verdict,
                decision=Decision.ALLOW,
                actual_decision=Decision.STEP_UP,
                mode_reason="approved by a person, for this once",
                challenge=None,
            )
        ids = tuple(policy.rule_id for policy in verdict.determining_policies)
        asked = PendingApproval(
            auth_req_id="",
            digest=digest,
            account_id=caller.account_id,
            project_id=caller.project_id,
            caller=caller.name,
            action=request.action,
            tool=request.tool.name if request.tool is not None else None,
            session_id=request.session_id,
            reason=verdict.policy_reason,
            policies=ids,
            expires_at=0.0,
        )
        pending, new = self.approvals.ask(caller, asked)
        if new and self.on_step_up is not None:
            await self._tell(pending)
        details = {"type": "urn:highflame:aarm:step_up", "action": request.action, "content_sha256": digest}
        challenge = Challenge(
            auth_req_id=pending.auth_req_id,
            interval=self.approvals.interval,
            expires_in=self.approvals.left(pending),
            binding_message=f"Highflame {digest[:8]}",
            authorization_details=({**details, "policies": list(ids)},),
            www_authenticate=CHALLENGE,
        )
        return replace(verdict, challenge=challenge)

    async def _tell(self, pending: PendingApproval) -> None:
        """Tell the application; it may decide at once, or later."""
        assert self.on_step_up is not None
        try:
            with anyio.move_on_after(self.policy.deadline):
                said = await anyio.to_thread.run_sync(self.on_step_up, pending, abandon_on_cancel=True)
                if isawaitable(said):
                    said = await said
                if isinstance(said, bool):
                    self.approvals.settle(pending.auth_req_id, approved=said)
        except Exception:  # noqa: BLE001 - whatever it is
            # Whoever only listens has no say in the call: it goes on waiting.
            _log.exception("on_step_up raised; the approval is still open")

    def _spend(self, caller: Caller, request: GuardRequest, usage_id: str) -> None:
        """Count what the model has used, where a question says so."""
        if request.model is not None and any(getattr(request.model, name) for name in _SPENT):
            self.ledger.record(caller.tenant, f"guard:{usage_id}", request.model)

    def _note(self, caller: Caller, request: GuardRequest, answer: Answer) -> None:
        """Leave the record of one evaluation, as every door does."""
        verdict = answer if isinstance(answer, GuardResponse) else None
        assert self.policy.guard is not None
        assert request.stage is not None
        record = DecisionEvent(
            guard=self.policy.guard.name,
            stage=request.stage,
            mode=request.mode,
            decision=verdict.decision.value if verdict is not None else "error",
            enforced=verdict is not None and verdict.decision is not Decision.ALLOW and request.mode.blocks,
            reason=verdict.policy_reason if verdict is not None else str(answer),
            signals=tuple(f"{signal.name}:{signal.score}" for signal in verdict.signals) if verdict else (),
            request_id=verdict.request_id if verdict is not None else "",
            latency_ms=verdict.latency_ms if verdict is not None else 0.0,
            tool=request.tool.name if request.tool is not None else None,
            session=request.session_id,
            user=caller.name or None,
            policies=tuple(policy.rule_id for policy in verdict.determining_policies) if verdict else (),
            content=request.content,
        )
        Recorder(None, CallContext()).decide(record)
        if self.policy.on_decision is not None:
            try:
                self.policy.on_decision(record)
            except Exception:  # noqa: BLE001 - whatever it is
                _log.exception("on_decision raised; the decision stands")


def _digest(caller: Caller, request: GuardRequest) -> str:
    """What an approval is bound to: who asks, and everything that was to be judged."""
    tool = request.tool
    bound = [
        caller.tenant,
        request.action,
        request.content_type,
        request.session_id or "",
        request.content,
        tool.name if tool is not None else "",
        plain(tool.arguments) if tool is not None else {},
        request.mcp.server_name if request.mcp is not None else "",
        request.file.path if request.file is not None else "",
    ]
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


def _new_id() -> str:
    return uuid.uuid4().hex
