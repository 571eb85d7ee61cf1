"""Spans and log records: everything that leaves this library for an observer.

Built on the OpenTelemetry API alone. The GenAI conventions are still in
development and their Python constants are deprecated, so the names stand here,
in one place. No text of a prompt, reply or tool is ever recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ._version import __version__
from .caller import CallContext
from .codecs.parts import Params, Summary
from .errors import HighflameError
from .guard.verdict import DecisionEvent

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

__all__ = [
    "CallFacts",
    "Recorder",
    "SilentRecorder",
    "parent_of",
    "start_span",
    "trace_headers",
    "unobserved",
    "use_tracer_provider",
]

_decisions = logging.getLogger("highflame_middleware.guard")
_calls = logging.getLogger("highflame_middleware.calls")

# gen_ai.*, openai.*, server.*: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (development).
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
CONVERSATION = "gen_ai.conversation.id"
SERVER_ADDRESS, SERVER_PORT, ERROR_TYPE = "server.address", "server.port", "error.type"

_PARAMS: tuple[tuple[str, str], ...] = (
    ("max_tokens", "gen_ai.request.max_tokens"),
    ("temperature", "gen_ai.request.temperature"),
    ("top_p", "gen_ai.request.top_p"),
    ("top_k", "gen_ai.request.top_k"),
    ("frequency_penalty", "gen_ai.request.frequency_penalty"),
    ("presence_penalty", "gen_ai.request.presence_penalty"),
    ("seed", "gen_ai.request.seed"),
    ("stop_sequences", "gen_ai.request.stop_sequences"),
    ("output_type", "gen_ai.output.type"),
    ("encoding_formats", "gen_ai.request.encoding_formats"),
    ("dimensions", "gen_ai.embeddings.dimension.count"),
    ("conversation_id", CONVERSATION),
)
_SUMMARY: tuple[tuple[str, str], ...] = (
    ("id", "gen_ai.response.id"),
    ("model", "gen_ai.response.model"),
    ("finish_reasons", "gen_ai.response.finish_reasons"),
    ("input_tokens", "gen_ai.usage.input_tokens"),
    ("output_tokens", "gen_ai.usage.output_tokens"),
    ("cached_tokens", "gen_ai.usage.cache_read.input_tokens"),
    ("cache_written_tokens", "gen_ai.usage.cache_write.input_tokens"),
    ("reasoning_tokens", "gen_ai.usage.reasoning.output_tokens"),
    ("service_tier", "openai.response.service_tier"),
    ("system_fingerprint", "openai.response.system_fingerprint"),
)
# Embeddings have neither an answer nor a way to finish, and what is fetched was paid for when it was made: the
# conventions know these of them.
_SUMMARIES = {
    "embeddings": frozenset({"model", "input_tokens"}),
    "fetch_response": frozenset({"id", "model", "finish_reasons"}),
}

_provider: TracerProvider | None = None
_tracer: tuple[TracerProvider, Tracer] | None = None
_propagator = TraceContextTextMapPropagator()


def use_tracer_provider(provider: TracerProvider | None) -> TracerProvider | None:
    """Record to this provider instead of the global one; returns what was set before."""
    global _provider
    before, _provider = _provider, provider
    return before


def _current_tracer() -> Tracer:
    global _tracer
    provider = _provider or trace.get_tracer_provider()
    if _tracer is None or _tracer[0] is not provider:
        _tracer = (provider, provider.get_tracer("highflame_middleware", __version__))
    return _tracer[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What is known of a call when its span begins."""

    name: str
    provider: str
    operation: str | None = None
    api_type: str | None = None
    model: str | None = None
    stream: bool = False
    server: str | None = None
    port: int | None = None


class Recorder:
    """The record of one logical call: its span, ended exactly once however the call ends.

    A recorder without facts has no span of its own (the ASGI middleware leaves
    the server's span to others) and notes decisions on the current one.
    """

    __slots__ = ("_ended", "_facts", "_lock", "_owns", "_started", "_streaming", "_summary", "span")

    def __init__(self, facts: CallFacts | None, caller: CallContext) -> None:
        self._facts = facts
        self._owns = facts is not None
        self._ended = False
        self._lock = Lock()
        self._started = perf_counter()
        self._streaming = False
        self._summary: Summary | None = None
        self.span: Span = _start(facts, caller) if facts is not None else trace.get_current_span()

    @property
    def recording(self) -> bool:
        """Whether anybody will see what is recorded: reading a reply for telemetry alone is work."""
        return self._owns and self.span.is_recording()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Make the span current for what the call does; never across a ``yield`` to the user."""
        if not self._owns:
            yield
            return
        with trace.use_span(self.span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield

    def describe(self, params: Params) -> None:
        """Note the request's parameters."""
        facts = self._facts
        if facts is None or not self.recording:
            return
        _set_all(self.span, params, _PARAMS)
        if params.choice_count not in (None, 1):
            self.span.set_attribute("gen_ai.request.choice.count", params.choice_count or 0)
        if params.service_tier not in (None, "auto"):
            self.span.set_attribute("openai.request.service_tier", params.service_tier or "")

    def first_chunk(self) -> None:
        """Note that the first bytes of a streamed reply are there."""
        if not self._streaming:
            self._streaming = True
            if self.recording:
                self.span.set_attribute("gen_ai.response.time_to_first_chunk", perf_counter() - self._started)

    def summarise(self, summary: Summary) -> None:
        """Note what the reply, or a part of its stream, said of itself."""
        self._summary = summary if self._summary is None else self._summary.updated(summary)

    def decide(self, event: DecisionEvent) -> None:
        """Note one decision: on the span where it is notable, in the log always."""
        level = logging.DEBUG
        if event.notable:
            level = logging.WARNING if event.enforced or event.mode == "alert" else logging.INFO
        if _decisions.isEnabledFor(level):
            _decisions.log(
                level,
                "%s %s at the %s stage (mode %s, guard %s): %s",
                "enforced" if event.enforced else "reported",
                event.decision,
                event.stage.label,
                event.mode.value,
                event.guard,
                event.reason or ", ".join(event.signals) or "no reason given",
                extra={"highflame_decision": event},
            )
        if event.notable and self.span.is_recording():
            self.span.add_event("highflame.guardrail.decision", _event_attributes(event))

    def audit_bypass(self, reason: str) -> None:
        """Note that this call is made without a guard, and why."""
        _decisions.warning("bypassed the guard for one call: %s", reason)
        if self.span.is_recording():
            self.span.set_attribute("highflame.guardrail.bypass", reason)

    def annotate(self, name: str, value: str | int | bool) -> None:
        """Set one attribute under ``highflame.``."""
        if self.span.is_recording():
            self.span.set_attribute(f"highflame.{name}", value)

    def fail(self, error: BaseException) -> None:
        """The call ended with an error."""
        self._end(error_type=_error_type(error), description=_description(error))

    def fail_status(self, status: int) -> None:
        """The call ended with an HTTP error status that nobody raised for."""
        self._end(error_type=str(status), description=None)

    def end(self) -> None:
        """The call ended well, or was left by the caller."""
        self._end(error_type=None, description=None)

    def _end(self, error_type: str | None, description: str | None) -> None:
        # A garbage collector's finalizer may come between an end and its span: hence the lock.
        with self._lock:
            if self._ended or not self._owns:
                return
            self._ended = True
        if self.span.is_recording():
            self._write_summary()
            if error_type is not None:
                self.span.set_attribute(ERROR_TYPE, error_type)
                self.span.set_status(Status(StatusCode.ERROR, description))
        self.span.end()
        if _calls.isEnabledFor(logging.DEBUG) and self._facts is not None:
            _calls.debug(
                "%s ended %s in %.1f ms",
                self._facts.name,
                error_type or "well",
                (perf_counter() - self._started) * 1000,
            )

    def _write_summary(self) -> None:
        summary, facts = self._summary, self._facts
        if summary is None or facts is None:
            return
        names = _SUMMARY
        if (known := _SUMMARIES.get(facts.operation or "")) is not None:
            names = tuple(row for row in _SUMMARY if row[0] in known)
        _set_all(self.span, summary, names)


class SilentRecorder(Recorder):
    """Records nothing: for calls that are nobody's, made to see whether they are caught."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None, CallContext())
        self.span = trace.INVALID_SPAN

    def decide(self, event: DecisionEvent) -> None:
        """Note nothing."""

    def audit_bypass(self, reason: str) -> None:
        """Note nothing."""


def start_span(
    name: str, *, kind: SpanKind, attributes: dict[str, Any], context: otel_context.Context | None = None
) -> Span:
    """Begin a span of this library's tracer, in the current context or another."""
    return _current_tracer().start_span(name, context=context, kind=kind, attributes=attributes)


def trace_headers(span: Span) -> dict[str, str]:
    """The W3C trace context of a span, to send to a gateway. Never baggage."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span))
    return carrier


@contextmanager
def parent_of(headers: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Be in the trace that a request's headers name, unless somebody has made a span for it already."""
    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    carrier = {name: value for name, value in headers if name in ("traceparent", "tracestate")}
    if not carrier:
        yield
        return
    token = otel_context.attach(_propagator.extract(carrier))
    try:
        yield
    finally:
        otel_context.detach(token)


@contextmanager
def unobserved() -> Iterator[None]:
    """Have other instrumentors record nothing of what is done inside, as OpenTelemetry lets them be told."""
    # The API keeps its key to itself; the plain name is what its instrumentors looked for before there was one.
    keys = [getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", None), "suppress_instrumentation"]
    context = otel_context.get_current()
    for key in filter(None, keys):
        context = otel_context.set_value(key, True, context)
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


def _start(facts: CallFacts, caller: CallContext) -> Span:
    attributes: dict[str, Any] = {PROVIDER: facts.provider}
    for name, value in (
        (OPERATION, facts.operation),
        (REQUEST_MODEL, facts.model),
        (SERVER_ADDRESS, facts.server),
        (SERVER_PORT, facts.port if facts.server else None),
        ("openai.api.type", facts.api_type),
        ("user.id", caller.user),
        ("session.id", caller.session),
    ):
        if value is not None:
            attributes[name] = value
    if facts.stream:
        attributes["gen_ai.request.stream"] = True
    if caller.role is not None:
        attributes["user.roles"] = (caller.role,)
    return _current_tracer().start_span(facts.name, kind=SpanKind.CLIENT, attributes=attributes)


def _set_all(span: Span, source: object, names: tuple[tuple[str, str], ...]) -> None:
    for field, name in names:
        value = getattr(source, field)
        if value not in (None, ()):
            span.set_attribute(name, value)


def _event_attributes(event: DecisionEvent) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "highflame.guardrail.name": event.guard,
        "highflame.guardrail.stage": event.stage.value,
        "highflame.guardrail.mode": event.mode.value,
        "highflame.guardrail.decision": event.decision,
        "highflame.guardrail.enforced": event.enforced,
        "highflame.guardrail.content_hash": event.content_hash,
        "highflame.guardrail.latency_ms": event.latency_ms,
    }
    for name, value in (("reason", event.reason), ("signals", event.signals), ("tool", event.tool)):
        if value:
            attributes[f"highflame.guardrail.{name}"] = value
    return attributes


def _error_type(error: BaseException) -> str:
    """The exception's public name: ``openai.RateLimitError``, ``TimeoutError``."""
    module = type(error).__module__.partition(".")[0]
    return type(error).__qualname__ if module == "builtins" else f"{module}.{type(error).__qualname__}"


def _description(error: BaseException) -> str | None:
    """Only this library's own messages are known to hold nothing of the call."""
    return str(error) if isinstance(error, HighflameError) else None
