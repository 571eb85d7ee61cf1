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
    from .asgi import HighflameMiddleware, highflame_context
    from .caller import CallContext, bypass, context, current_context
    from .config import Settings
    from .decorators import Shield
    from .engine import EmbeddedGuard
    from .errors import (
        APIConnectionError,
        APIError,
        AuthenticationError,
        BlockedError,
        ConfigError,
        GatewayError,
        GuardError,
        GuardTimeoutError,
        HighflameError,
        IdentityError,
        IdentityUnavailableError,
        InsufficientError,
        InvalidRequestError,
        InvalidResponseError,
        MissingExtraError,
        QuotaError,
        RateLimitError,
        RevokedError,
        TokenError,
        UnprovenError,
        UnreadableError,
        UnsupportedError,
        UpstreamError,
        UpstreamTimeoutError,
    )
    from .gateway import Gateway
    from .guard.escalating import EscalatingGuard
    from .guard.protocol import Guard, Progress, Window
    from .guard.verdict import DecisionEvent
    from .instrumentation import Instrumentation, instrument, uninstrument
    from .shield.client import Highflame
    from .shield_server import ShieldApp
    from .spotlighting import spotlight
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
    "APIConnectionError",
    "APIError",
    "AuthenticationError",
    "BlockedError",
    "CallContext",
    "ConfigError",
    "Decision",
    "DecisionEvent",
    "EmbeddedGuard",
    "EscalatingGuard",
    "FileContext",
    "Gateway",
    "GatewayError",
    "Guard",
    "GuardError",
    "GuardRequest",
    "GuardResponse",
    "GuardTimeoutError",
    "Highflame",
    "HighflameError",
    "HighflameMiddleware",
    "IdentityError",
    "IdentityUnavailableError",
    "Instrumentation",
    "InsufficientError",
    "InvalidRequestError",
    "InvalidResponseError",
    "McpContext",
    "MissingExtraError",
    "Mode",
    "ModelContext",
    "Progress",
    "QuotaError",
    "RateLimitError",
    "RedactionEntry",
    "RevokedError",
    "Secret",
    "Settings",
    "Shield",
    "ShieldApp",
    "Signal",
    "Stage",
    "TokenError",
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
    "highflame_context",
    "instrument",
    "spotlight",
    "uninstrument",
]

# Where each public name is defined.
_HOMES = {
    "APIConnectionError": "errors",
    "APIError": "errors",
    "AuthenticationError": "errors",
    "BlockedError": "errors",
    "CallContext": "caller",
    "ConfigError": "errors",
    "Decision": "types",
    "DecisionEvent": "guard.verdict",
    "EmbeddedGuard": "engine",
    "EscalatingGuard": "guard.escalating",
    "FileContext": "types",
    "Gateway": "gateway",
    "GatewayError": "errors",
    "Guard": "guard.protocol",
    "GuardError": "errors",
    "GuardRequest": "types",
    "GuardResponse": "types",
    "GuardTimeoutError": "errors",
    "Highflame": "shield.client",
    "HighflameError": "errors",
    "HighflameMiddleware": "asgi",
    "IdentityError": "errors",
    "IdentityUnavailableError": "errors",
    "Instrumentation": "instrumentation",
    "InsufficientError": "errors",
    "InvalidRequestError": "errors",
    "InvalidResponseError": "errors",
    "McpContext": "types",
    "MissingExtraError": "errors",
    "Mode": "types",
    "ModelContext": "types",
    "Progress": "guard.protocol",
    "QuotaError": "errors",
    "RateLimitError": "errors",
    "RedactionEntry": "types",
    "RevokedError": "errors",
    "Secret": "types",
    "Settings": "config",
    "Shield": "decorators",
    "ShieldApp": "shield_server",
    "Signal": "types",
    "Stage": "types",
    "TokenError": "errors",
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
    "highflame_context": "asgi.dependencies",
    "instrument": "instrumentation",
    "spotlight": "spotlighting",
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
