"""The one error tree of this library.

Every fault that the library itself finds is a `HighflameError`; faults of the
provider, the SDK or the network keep their own types::

    HighflameError
    ├── ConfigError              an argument, setting or environment value cannot be used
    │   └── MissingExtraError    an optional package is absent or too old (an ImportError too)
    ├── BlockedError             a guard's verdict stopped a prompt, reply, tool call or tool result
    ├── GuardError               a guard gave no usable verdict, and the policy is to fail closed
    │   └── GuardTimeoutError    … because its deadline passed (a TimeoutError too)
    ├── UnreadableError          a body could not be read, so it could not be guarded
    ├── UnprovenError            an SDK's calls could not be shown to be caught on its installed version
    └── GatewayError             the gateway cannot carry this call
        ├── UnsupportedError     … because of its format, and the policy is to refuse such calls
        └── UpstreamError        … because an upstream cannot be reached or broke off
            └── UpstreamTimeoutError   … or was silent for too long (a TimeoutError too)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import Decision, GuardResponse, Stage

__all__ = [
    "BlockedError",
    "ConfigError",
    "GatewayError",
    "GuardError",
    "GuardTimeoutError",
    "HighflameError",
    "MissingExtraError",
    "UnprovenError",
    "UnreadableError",
    "UnsupportedError",
    "UpstreamError",
    "UpstreamTimeoutError",
]


class HighflameError(Exception):
    """Base of every error that this library raises on its own account."""


class ConfigError(HighflameError):
    """An argument, a setting or an environment value cannot be used as given."""


class MissingExtraError(ConfigError, ImportError):
    """An optional package is absent or too old; the message names the extra to install."""


class GuardError(HighflameError):
    """A guard raised or gave no usable verdict while the policy is to fail closed."""


class GuardTimeoutError(GuardError, TimeoutError):
    """A guard did not answer within its deadline while the policy is to fail closed."""


class UnreadableError(HighflameError):
    """A request or reply could not be read, so it could not be guarded, and was not passed on."""


class UnprovenError(HighflameError):
    """An SDK's calls could not be shown to be caught on its installed version, so this one was not made."""


class GatewayError(HighflameError):
    """The gateway cannot carry this call; the embedded one has no provider for it."""


class UnsupportedError(GatewayError):
    """The gateway does not carry calls in this format, and ``on_unsupported`` is to refuse them."""


class UpstreamError(GatewayError):
    """An upstream of the embedded gateway cannot be reached, or broke off in the middle of its reply."""


class UpstreamTimeoutError(UpstreamError, TimeoutError):
    """An upstream of the embedded gateway was silent for longer than its timeout."""


class BlockedError(HighflameError):
    """A guard's verdict stopped this call; nothing of the blocked text is kept here.

    Attributes
    ----------
    response
        The verdict, a `GuardResponse` without content: decision, reason, signals, request id.
    stage
        Where it fell: prompt, response, tool call or tool result.

    >>> from highflame_middleware.types import Decision, GuardResponse, Stage
    >>> verdict = GuardResponse(decision=Decision.DENY, policy_reason="card number")
    >>> error = BlockedError(verdict, Stage.PROMPT)
    >>> error.decision is Decision.DENY, str(error)
    (True, 'Blocked at the prompt stage (deny): card number')
    """

    def __init__(self, response: GuardResponse, stage: Stage) -> None:
        self.response = response = response.without_content()
        self.stage = stage
        reason = response.policy_reason or "the guard gave no reason"
        super().__init__(f"Blocked at the {stage.label} stage ({response.decision.value}): {reason}")

    @property
    def decision(self) -> Decision:
        """The decision that stopped the call: deny, step_up, defer, or a modify that could not be applied."""
        return self.response.decision

    def __reduce__(self) -> tuple[type[BlockedError], tuple[GuardResponse, Stage]]:
        return type(self), (self.response, self.stage)
