"""The spans that a block of code made, to be looked at one by one or as a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..extras import require
from ..telemetry import use_tracer_provider

__all__ = ["CapturedSpans", "captured_spans", "render_tree"]


class CapturedSpans:
    """What `captured_spans` has caught so far; only ended spans are seen."""

    def __init__(self, exporter: Any, provider: Any) -> None:
        self._exporter = exporter
        self.provider = provider

    @property
    def finished(self) -> list[Any]:
        """The ended spans, oldest first."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[Any]:
        """The ended spans of one name."""
        return [span for span in self.finished if span.name == name]

    def decisions(self) -> list[dict[str, Any]]:
        """The attributes of every guard decision on any span, without their prefix."""
        prefix = "highflame.guardrail."
        return [
            {name.removeprefix(prefix): value for name, value in (event.attributes or {}).items()}
            for span in self.finished
            for event in span.events
            if event.name == f"{prefix}decision"
        ]

    def tree(self) -> str:
        """The ended spans as an indented tree, with what was decided in each."""
        return render_tree(self.finished)

    def clear(self) -> None:
        """Forget them."""
        self._exporter.clear()


@contextmanager
def captured_spans() -> Iterator[CapturedSpans]:
    """Catch the spans that this library makes inside the block; the global tracer provider is left alone.

    Needs ``highflame-middleware[testing]``.
    """
    trace = require("opentelemetry.sdk.trace", extra="testing", needed="opentelemetry-sdk>=1.27")
    export = require("opentelemetry.sdk.trace.export", extra="testing", needed="opentelemetry-sdk>=1.27")
    memory = require(
        "opentelemetry.sdk.trace.export.in_memory_span_exporter", extra="testing", needed="opentelemetry-sdk>=1.27"
    )
    exporter = memory.InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    before = use_tracer_provider(provider)
    try:
        yield CapturedSpans(exporter, provider)
    finally:
        use_tracer_provider(before)
        provider.shutdown()


def render_tree(spans: Sequence[Any], hide: Callable[[Any], bool] = lambda _: False) -> str:
    """Spans as an indented tree, siblings in the order in which they began; below a hidden one they move up."""
    known = {span.context.span_id: span for span in spans}
    below: dict[int | None, list[Any]] = {}
    for span in sorted(spans, key=lambda span: span.start_time):
        if not hide(span):
            above = _parent(span, known)
            while above is not None and hide(above):
                above = _parent(above, known)
            below.setdefault(above.context.span_id if above is not None else None, []).append(span)
    return "\n".join(line for root in below.get(None, []) for line in _lines(root, below, ""))


def _parent(span: Any, known: dict[int, Any]) -> Any:
    return known.get(span.parent.span_id) if span.parent is not None else None


def _lines(span: Any, below: dict[int | None, list[Any]], indent: str) -> Iterator[str]:
    milliseconds = (span.end_time - span.start_time) / 1e6
    failed = (span.attributes or {}).get("error.type")
    yield f"{indent}{span.kind.name:<8} {span.name}  {milliseconds:.1f} ms{f'  ! {failed}' if failed else ''}"
    for event in span.events:
        if event.name == "highflame.guardrail.decision":
            say = {name.rpartition(".")[2]: value for name, value in (event.attributes or {}).items()}
            how = "enforced" if say["enforced"] else "reported"
            yield f"{indent}  · {say['stage']}: {say['decision']}, {how} ({say.get('reason', 'no reason given')})"
    for child in below.get(span.context.span_id, []):
        yield from _lines(child, below, indent + "  ")
