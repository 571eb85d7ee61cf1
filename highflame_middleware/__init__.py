"""Guard, route and trace every LLM call of a Python process.

One line, ``instrument()``, for the SDKs; `HighflameMiddleware` for ASGI apps;
`Gateway` where there is none. Every name here is loaded when it is first
used: importing this package imports next to nothing.

>>> from highflame_middleware import instrument
>>> with instrument():
...     pass  # every OpenAI call made here is guarded and traced
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .asgi import HighflameMiddleware
    from .caller import CallContext, bypass, context, current_context
    from .config import Settings
    from .engine import EmbeddedGuard
    from .errors import (
        BlockedError,
        ConfigError,
        GatewayError,
        GuardError,
        GuardTimeoutError,
        HighflameError,
        MissingExtraError,
        UnprovenError,
        UnreadableError,
        UnsupportedError,
        UpstreamError,
        UpstreamTimeoutError,
    )
    from .gateway import Gateway
    from .guard.protocol import Guard, Progress, Window
    from .instrumentation import Instrumentation, instrument, uninstrument
    from .types import (
        Decision,
        FileContext,
        GuardRequest,
        GuardResponse,
        McpContext,
        Mode,
        ModelContext,
        RedactionEntry,
        Secret,
        Signal,
        Stage,
        ToolContext,
    )

__all__ = [
    "BlockedError",
    "CallContext",
    "ConfigError",
    "Decision",
    "EmbeddedGuard",
    "FileContext",
    "Gateway",
    "GatewayError",
    "Guard",
    "GuardError",
    "GuardRequest",
    "GuardResponse",
    "GuardTimeoutError",
    "HighflameError",
    "HighflameMiddleware",
    "Instrumentation",
    "McpContext",
    "MissingExtraError",
    "Mode",
    "ModelContext",
    "Progress",
    "RedactionEntry",
    "Secret",
    "Settings",
    "Signal",
    "Stage",
    "ToolContext",
    "UnprovenError",
    "UnreadableError",
    "UnsupportedError",
    "UpstreamError",
    "UpstreamTimeoutError",
    "Window",
    "__version__",
    "bypass",
    "context",
    "current_context",
    "instrument",
    "uninstrument",
]

# Where each public name is defined.
_HOMES = {
    "BlockedError": "errors",
    "CallContext": "caller",
    "ConfigError": "errors",
    "Decision": "types",
    "EmbeddedGuard": "engine",
    "FileContext": "types",
    "Gateway": "gateway",
    "GatewayError": "errors",
    "Guard": "guard.protocol",
    "GuardError": "errors",
    "GuardRequest": "types",
    "GuardResponse": "types",
    "GuardTimeoutError": "errors",
    "HighflameError": "errors",
    "HighflameMiddleware": "asgi",
    "Instrumentation": "instrumentation",
    "McpContext": "types",
    "MissingExtraError": "errors",
    "Mode": "types",
    "ModelContext": "types",
    "Progress": "guard.protocol",
    "RedactionEntry": "types",
    "Secret": "types",
    "Settings": "config",
    "Signal": "types",
    "Stage": "types",
    "ToolContext": "types",
    "UnprovenError": "errors",
    "UnreadableError": "errors",
    "UnsupportedError": "errors",
    "UpstreamError": "errors",
    "UpstreamTimeoutError": "errors",
    "Window": "guard.protocol",
    "bypass": "caller",
    "context": "caller",
    "current_context": "caller",
    "instrument": "instrumentation",
    "uninstrument": "instrumentation",
}

# A library is quiet until the application says otherwise.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
