"""What can be asked of Shield, each question with its asynchronous twin: ``client.guard``, ``client.detect``…

Every answer is a frozen value, every fault a `HighflameError`; ``timeout``, in
seconds, is the total for one call, its retries included.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from ..contexts import ModelContext
from ..errors import InvalidRequestError
from ..flow import Flow
from ..types import Challenge, GuardRequest, GuardResponse, Secret
from .answers import verdict_of
from .fields import plain, written
from .questions import prompt_of, refuse_unknown, request_of, tool_call_of
from .replies import (
    Detection,
    Detector,
    LoadedPolicies,
    Recorded,
    StreamEvent,
    read_detection,
    read_detectors,
    read_policies,
    read_recorded,
)
from .service import Service, aread_events, checked, opened, read_events
from .stepup import answered
from .wire import write_request

__all__ = ["DebugResource", "DetectResource", "DetectorsResource", "GuardResource", "UsageResource"]

_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")


class _Resource:
    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service


class GuardResource(_Resource):
    """Verdicts on texts."""

    __slots__ = ()

    def evaluate(
        self,
        request: GuardRequest | None = None,
        *,
        timeout: float | None = None,
        token: Secret | str | None = None,
        **given: Any,
    ) -> GuardResponse:
        """The verdict on a text. A deny, step_up or defer is an answer like any other: see ``allowed``.

        Either a `GuardRequest`, or its fields by name, or both: what is named counts. ``token`` is one that a
        step_up was answered with (`await_step_up`), in the place of the client's own.
        """
        verdict: GuardResponse = self._service.run(self._asking(request, given, timeout, token))
        return verdict

    async def aevaluate(
        self,
        request: GuardRequest | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds the retries too
        token: Secret | str | None = None,
        **given: Any,
    ) -> GuardResponse:
        """The same, asynchronously."""
        verdict: GuardResponse = await self._service.arun(self._asking(request, given, timeout, token))
        return verdict

    def evaluate_prompt(self, content: str, **given: Any) -> GuardResponse:
        """The verdict on a user's prompt; ``given`` as for `evaluate`."""
        return self.evaluate(**prompt_of(content, given))

    async def aevaluate_prompt(self, content: str, **given: Any) -> GuardResponse:
        """The same, asynchronously."""
        return await self.aevaluate(**prompt_of(content, given))

    def evaluate_tool_call(
        self, tool_name: str, arguments: Mapping[str, Any] | None = None, **given: Any
    ) -> GuardResponse:
        """The verdict on the call of a tool; ``given`` as for `evaluate`."""
        return self.evaluate(**tool_call_of(tool_name, arguments, given))

    async def aevaluate_tool_call(
        self, tool_name: str, arguments: Mapping[str, Any] | None = None, **given: Any
    ) -> GuardResponse:
        """The same, asynchronously."""
        return await self.aevaluate(**tool_call_of(tool_name, arguments, given))

    def stream(
        self, request: GuardRequest | None = None, *, timeout: float | None = None, **given: Any
    ) -> Generator[StreamEvent, None, None]:
        """What the detectors find, as they find it, and then the decision.

        A stream that ends without a decision is an `InvalidResponseError`, never an allow.
        """
        asked = request_of(request, given)
        return self._events(asked, timeout)

    def astream(
        self,
        request: GuardRequest | None = None,
        *,
        timeout: float | None = None,
        **given: Any,
    ) -> AsyncGenerator[StreamEvent, None]:
        """The same, asynchronously."""
        asked = request_of(request, given)
        return self._aevents(asked, timeout)

    def await_step_up(self, challenge: Challenge | GuardResponse, *, timeout: float | None = None) -> Secret:
        """Wait until somebody has answered a step_up; the token to ask again with, as ``token=``.

        Asks the token endpoint as often as the challenge says (CIBA), until it expires or ``timeout`` is over:
        `GuardTimeoutError`. Whoever refuses, or lets it expire, makes it an `AuthenticationError`.
        """
        token: Secret = self._service.run(answered(self._service, challenge, timeout))
        return token

    async def aawait_step_up(
        self,
        challenge: Challenge | GuardResponse,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Secret:
        """The same, asynchronously."""
        token: Secret = await self._service.arun(answered(self._service, challenge, timeout))
        return token

    def _asking(
        self,
        request: GuardRequest | None,
        given: dict[str, Any],
        seconds: float | None,
        token: Secret | str | None,
    ) -> Flow[GuardResponse]:
        asked = request_of(request, given)
        body = write_request(asked)
        signed = Secret(token) if isinstance(token, str) else token
        reply = yield from self._service.asking("POST", "guard", body, seconds=seconds, token=signed)
        return verdict_of(reply, asked.content)

    def _events(self, asked: GuardRequest, seconds: float | None) -> Generator[StreamEvent, None, None]:
        found = self._service.run(self._opening(asked, seconds))
        if isinstance(found, StreamEvent):
            yield found
            return
        yield from read_events(found, asked.content)

    async def _aevents(self, asked: GuardRequest, seconds: float | None) -> AsyncGenerator[StreamEvent, None]:
        found = await self._service.arun(self._opening(asked, seconds))
        if isinstance(found, StreamEvent):
            yield found
            return
        async with aclosing(aread_events(found, asked.content)) as events:
            async for event in events:
                yield event

    def _opening(self, asked: GuardRequest, seconds: float | None) -> Flow[Any]:
        return opened(
            self._service.asking("POST", "guard/stream", write_request(asked), seconds=seconds, streamed=True),
            asked.content,
        )


class DetectResource(_Resource):
    """What detectors find, without any policy."""

    __slots__ = ()

    def run(
        self, *, content: str, content_type: str = "prompt", timeout: float | None = None, **given: Any
    ) -> Detection:
        """Run the detectors on a text; ``given`` are further fields of a `GuardRequest`."""
        return read_detection(self._service.run(self._asking(content, content_type, given, timeout)))

    async def arun(
        self,
        *,
        content: str,
        content_type: str = "prompt",
        timeout: float | None = None,  # noqa: ASYNC109
        **given: Any,
    ) -> Detection:
        """The same, asynchronously."""
        return read_detection(await self._service.arun(self._asking(content, content_type, given, timeout)))

    def _asking(self, content: str, content_type: str, given: dict[str, Any], seconds: float | None) -> Flow[Any]:
        asked = request_of(None, {**given, "content": content, "content_type": content_type, "action": "detect"})
        body = write_request(asked)
        for unsaid in ("action", "mode", *(("session_id",) if not asked.session_id else ())):
            del body[unsaid]
        return checked(self._service.asking("POST", "detect", body, seconds=seconds))


class DetectorsResource(_Resource):
    """The detectors that Shield has."""

    __slots__ = ()

    def list(self, *, timeout: float | None = None) -> tuple[Detector, ...]:
        """All of them."""
        return read_detectors(self._service.run(self._asking(timeout)))

    async def alist(self, *, timeout: float | None = None) -> tuple[Detector, ...]:  # noqa: ASYNC109
        """The same, asynchronously."""
        return read_detectors(await self._service.arun(self._asking(timeout)))

    def _asking(self, seconds: float | None) -> Flow[Any]:
        return checked(self._service.asking("GET", "detectors", seconds=seconds))


class DebugResource(_Resource):
    """What calls are judged by."""

    __slots__ = ()

    def policies(self, *, product: str = "guardrails", timeout: float | None = None) -> LoadedPolicies:
        """The policies that are loaded for a product."""
        return read_policies(self._service.run(self._asking(product, timeout)), product)

    async def apolicies(
        self,
        *,
        product: str = "guardrails",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> LoadedPolicies:
        """The same, asynchronously."""
        return read_policies(await self._service.arun(self._asking(product, timeout)), product)

    def _asking(self, product: str, seconds: float | None) -> Flow[Any]:
        return checked(self._service.asking("GET", "debug/policies", query={"product": product}, seconds=seconds))


class UsageResource(_Resource):
    """What model calls have cost."""

    __slots__ = ()

    def report(self, *, timeout: float | None = None, **given: Any) -> Recorded:
        """Record a model call: ``model``, ``provider`` and its tokens by kind (fields of `ModelContext`).

        ``usage_id`` makes a repeat within 48 hours count once, the provider's id of the reply say; without it
        one is made up. ``session_id`` says what the call belonged to.
        """
        return read_recorded(self._service.run(self._asking(given, timeout)))

    async def areport(self, *, timeout: float | None = None, **given: Any) -> Recorded:  # noqa: ASYNC109
        """The same, asynchronously."""
        return read_recorded(await self._service.arun(self._asking(given, timeout)))

    def _asking(self, given: dict[str, Any], seconds: float | None) -> Flow[Any]:
        refuse_unknown(given, ("model", "provider", *_TOKENS, "usage_id", "session_id"), "usage.report()")
        model = given.get("model")
        if not isinstance(model, str) or not model:
            raise InvalidRequestError("usage.report() needs model=, the name of the model that was called")
        for name in _TOKENS:
            value = given.get(name)
            if value is not None and (type(value) is not int or not 0 <= value <= 1_000_000_000):
                raise InvalidRequestError(f"usage.report({name}=…) must be a whole number, at most 1e9")
        used = {name: given.get(name) or None for name in ("provider", *_TOKENS)}
        body = {
            "model": written(ModelContext(model=model, **used)),
            "usage_id": given.get("usage_id") or str(uuid4()),
        }
        if given.get("session_id"):
            body["session_id"] = given["session_id"]
        return checked(self._service.asking("POST", "usage", plain(body), seconds=seconds))
