"""The OpenTelemetry entry point: ``opentelemetry-instrument`` turns the instrumentation on without a code change.

Loaded by its entry point only; what is instrumented and how comes from the environment.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from .instrumentation import instrument, uninstrument
from .telemetry import use_tracer_provider

__all__ = ["HighflameInstrumentor"]


class HighflameInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """`instrument` as an OpenTelemetry instrumentor; ``tracer_provider`` is the only option it reads."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing must be installed: SDKs are patched if and when they are imported."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        use_tracer_provider(kwargs.get("tracer_provider"))
        instrument()

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 - the interface
        uninstrument()
        use_tracer_provider(None)
