"""The product on one page: guard ▸ route ▸ guard, recorded.

Every door builds an `Exchange` and drives `guarded` with it. What the texts
are, the codec knows; what a verdict means, `guard.verdict`; where the call
goes, `route`; how its reply is guarded while it is read, `screens`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .caller import CallContext
from .codecs import codec_for_body
from .codecs.parts import Codec, edits_of, rewrite
from .exchange import Call, Exchange, Invoke, Leave, Policy, Race, judge
from .flow import Flow
from .guard.verdict import Answer, worst
from .telemetry import CallFacts, Recorder, SilentRecorder
from .types import Decision, GuardResponse

__all__ = ["admit", "guarded", "open_exchange", "read_call"]


def guarded(exchange: Exchange, invoke: Callable[[Any], Any]) -> Flow[Any]:
    """Guard the call's texts, make the call with what they became, and stand by its reply.

    ``invoke`` takes the body to send; asynchronous drivers await what it
    returns. The reply's own texts are guarded by the screen that the door puts
    around its bytes; what that screen refused while the reply was read inside
    ``invoke`` is raised here.
    """
    policy = exchange.policy
    go = _race if policy.races and policy.guard is not None and exchange.call.texts else _take_turns
    try:
        try:
            reply = yield from go(exchange, invoke)
        finally:
            # Even over an error: an SDK may stumble over what stands in the place of a refused reply.
            if exchange.refused is not None:
                raise exchange.refused
    except BaseException as error:
        exchange.recorder.fail(error)
        raise
    exchange.returned = True
    if not exchange.reading:
        exchange.recorder.end()
    return reply


def _take_turns(exchange: Exchange, invoke: Callable[[Any], Any]) -> Flow[Any]:
    """First the guard, then the call with what the guard made of its texts."""
    body = yield from admit(exchange)
    return (yield from Invoke(partial(invoke, body)))


def _race(exchange: Exchange, invoke: Callable[[Any], Any]) -> Flow[Any]:
    """The guard and the call at once: the reply waits for the verdict. What has left cannot be edited any more."""
    call = exchange.call
    raced = yield from Race(
        exchange.policy,
        [exchange.question(text, sent=True) for text in call.texts],
        partial(invoke, call.body),
        lambda answers: any(
            exchange.rule(text, _too_late(answer)).error is not None
            for text, answer in zip(call.texts, answers, strict=True)
        ),
    )
    rulings = [
        exchange.settle(text, _too_late(answer)) for text, answer in zip(call.texts, raced.answers, strict=True)
    ]
    if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
        yield from Leave(exchange.body)
        # What was found in a reply that should never have been asked for is beside the point.
        exchange.refused = None
        raise error
    if raced.error is not None:
        raise raced.error
    return raced.reply


def _too_late(answer: Answer) -> Answer:
    """A verdict on a text that has left: it can be stopped, but not be changed."""
    if isinstance(answer, GuardResponse) and answer.decision is Decision.MODIFY:
        return replace(answer, redacted_content=None, redaction_entries=())
    return answer


def admit(exchange: Exchange) -> Flow[Any]:
    """The body to send: the caller's, edited where the guard says so. Raises where it says no."""
    call = exchange.call
    rulings = yield from judge(exchange, call.texts, sent=True)
    if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
        raise error
    edits = [
        (text, ruling.text) for text, ruling in zip(call.texts, rulings, strict=False) if ruling.text is not None
    ]
    return rewrite(call.body, edits_of(edits)) if edits else call.body


def read_call(
    *,
    provider: str,
    method: str,
    path: str,
    codec: Codec | None,
    body: Any,
    caller: CallContext,
    model: str | None = None,
) -> Call:
    """The call that a body makes; ``model`` where the URL says it and not the body."""
    if codec is None:
        return Call(provider=provider, method=method, path=path, body=body, model=model, caller=caller)
    codec = codec_for_body(codec, path, body)
    read, addressed = codec.read_call(body), codec.read_path(path)
    return Call(
        provider=provider,
        method=method,
        path=path,
        codec=codec,
        body=body,
        model=model or addressed.model or read.model,
        stream=read.stream or addressed.stream,
        texts=read.texts,
        caller=caller,
    )


def open_exchange(
    call: Call, policy: Policy, *, server: str | None = None, port: int | None = None, quiet: bool = False
) -> Exchange:
    """Begin a call: start its span, and take the guard off where the caller has a reason on record."""
    if quiet:
        return Exchange(call, policy, SilentRecorder())
    codec = call.codec
    operation = codec.operation_of(call.method, call.path) if codec is not None else None
    name = f"{operation} {call.model}" if operation and call.model else operation
    recorder = Recorder(
        CallFacts(
            name=name or f"{call.method} {call.path}",
            provider=call.provider,
            operation=operation,
            api_type=codec.api_type if codec else None,
            model=call.model,
            stream=call.stream,
            server=server,
            port=port,
        ),
        call.caller,
    )
    if codec is not None and recorder.recording:
        recorder.describe(codec.read_params(call.body))
    return Exchange(call, audited(policy, recorder, call.caller), recorder)


def audited(policy: Policy, recorder: Recorder, caller: CallContext) -> Policy:
    """The policy for one call: without its guard inside `bypass`, which is put on record."""
    if caller.bypass is None or policy.guard is None:
        return policy
    recorder.audit_bypass(caller.bypass)
    return replace(policy, guard=None)
