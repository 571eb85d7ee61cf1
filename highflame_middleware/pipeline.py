"""The product on one page: guard ▸ route ▸ guard, recorded.

Every door builds an `Exchange` and drives `guarded` with it. What the texts
are, the codec knows; what a verdict means, `guard.verdict`; where the call
goes, `route`; how its reply is guarded while it is read, `screens`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .caller import CallContext
from .codecs.parts import Codec, edits_of, rewrite
from .exchange import Call, Exchange, Invoke, Policy, judge
from .flow import Flow
from .guard.verdict import worst
from .telemetry import CallFacts, Recorder

__all__ = ["admit", "guarded", "open_exchange", "read_call"]


def guarded(exchange: Exchange, invoke: Callable[[Any], Any]) -> Flow[Any]:
    """Guard the call's texts, make the call with what they became, and stand by its reply.

    ``invoke`` takes the body to send; asynchronous drivers await what it
    returns. The reply's own texts are guarded by the screen that the door puts
    around its bytes; what that screen refused while the reply was read inside
    ``invoke`` is raised here.
    """
    try:
        body = yield from admit(exchange)
        try:
            reply = yield from Invoke(partial(invoke, body))
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


def admit(exchange: Exchange) -> Flow[Any]:
    """The body to send: the caller's, edited where the guard says so. Raises where it says no."""
    call = exchange.call
    rulings = yield from judge(exchange, call.texts)
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


def open_exchange(call: Call, policy: Policy, *, server: str | None = None, port: int | None = None) -> Exchange:
    """Begin a call: start its span, and take the guard off where the caller has a reason on record."""
    codec = call.codec
    name = f"{codec.operation} {call.model}" if codec and call.model else codec.operation if codec else None
    recorder = Recorder(
        CallFacts(
            name=name or f"{call.method} {call.path}",
            provider=call.provider,
            operation=codec.operation if codec else None,
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
    return Policy(guard=None, mode=policy.mode, fail_open=policy.fail_open, deadline=policy.deadline)
