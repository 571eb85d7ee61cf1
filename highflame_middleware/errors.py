"""The one error tree of this library.

Every fault that the library itself finds is a `HighflameError`; faults of the
provider, the SDK or the network keep their own types::

    HighflameError
    ├── ConfigError              an argument, setting or environment value cannot be used
    │   ├── MissingExtraError    an optional package is absent or too old (an ImportError too)
    │   └── InvalidRequestError  a question to Shield cannot be asked as given (a ValueError too)
    ├── BlockedError             a guard's verdict stopped a prompt, reply, tool call or tool result
    ├── GuardError               a guard gave no usable verdict, and the policy is to fail closed
    │   ├── GuardTimeoutError    … because its deadline passed (a TimeoutError too)
    │   ├── APIConnectionError   … because Shield could not be reached, or broke off
    │   ├── InvalidResponseError … because Shield's answer could not be read
    │   └── APIError             … because Shield answered with an error
    │       ├── AuthenticationError  … it does not take the key or token
    │       └── RateLimitError       … it was asked too often
    ├── IdentityError            a caller could not be shown to be one who may call
    │   ├── TokenError               … its token is missing, or does not hold
    │   │   └── RevokedError         … or was taken back
    │   ├── InsufficientError        … its token holds, but does not reach that far
    │   └── IdentityUnavailableError … whoever could tell cannot be reached
    ├── QuotaError               a caller has called more often than it may
    ├── UnreadableError          a body could not be read, so it could not be guarded
    ├── UnprovenError            an SDK's calls could not be shown to be caught on its installed version
    └── GatewayError             the gateway cannot carry this call
        ├── UnsupportedError     … because of its format: such calls are to be refused, or it cannot be translated
        └── UpstreamError        … because an upstream cannot be reached or broke off
            └── UpstreamTimeoutError   … or was silent for too long (a TimeoutError too)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .types import Decision, GuardResponse, Stage

__all__ = [
    "APIConnectionError",
    "APIError",
    "AuthenticationError",
    "BlockedError",
    "ConfigError",
    "GatewayError",
    "GuardError",
    "GuardTimeoutError",
    "HighflameError",
    "IdentityError",
    "IdentityUnavailableError",
    "InsufficientError",
    "InvalidRequestError",
    "InvalidResponseError",
    "MissingExtraError",
    "QuotaError",
    "RateLimitError",
    "RevokedError",
    "TokenError",
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


class InvalidRequestError(ConfigError, ValueError):
    """A question to Shield cannot be asked as given; the message names the field, and quotes nothing."""


class GuardError(HighflameError):
    """A guard raised or gave no usable verdict while the policy is to fail closed.

    ``forgivable`` says whether ``fail_open`` may let the text pass: an outage is, a key that is refused
    or a question that cannot be asked is not, for nobody would notice that nothing is guarded.
    """

    forgivable: bool = True


class GuardTimeoutError(GuardError, TimeoutError):
    """A guard did not answer within its deadline while the policy is to fail closed."""


class APIConnectionError(GuardError):
    """Shield, or what gives out its tokens, could not be reached or broke off in its answer."""


class InvalidResponseError(GuardError):
    """Shield answered what is no verdict; nothing of the answer is kept here."""


class APIError(GuardError):
    """Shield answered with an error.

    Attributes
    ----------
    status, title
        The status and what it is called, or the code of an OAuth error.
    detail
        What Shield wrote about it, shortened. It may quote what was sent, so it is in no message.
    retry_after
        Seconds after which it wants to be asked again, where it said so.
    """

    def __init__(
        self,
        message: str = "Shield answered with an error",
        *,
        status: int = 0,
        title: str = "",
        detail: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        # What is wrong with the question will be wrong with the next one: only waiting, and faults, may pass.
        self.forgivable = status >= 500 or status in _WAITING


_WAITING = frozenset({0, 408, 425, 429})


class AuthenticationError(APIError):
    """Shield, or what gives out its tokens, does not take the key or token."""

    def __init__(self, message: str = "Shield does not take the key or token", **fields: Any) -> None:
        super().__init__(message, **{"status": 401, "title": "Unauthorized", **fields})
        self.forgivable = False


class RateLimitError(APIError):
    """Shield was asked too often; ``retry_after`` says how long it wants to be left alone."""

    def __init__(self, message: str = "Shield was asked too often", **fields: Any) -> None:
        super().__init__(message, **{"status": 429, "title": "Too Many Requests", **fields})


class IdentityError(HighflameError):
    """A caller could not be shown to be one who may call; nothing of its token is kept here.

    Attributes
    ----------
    code
        Which case it is, for programs: ``token_expired``, ``insufficient_scope``… (docs/identity.md).
    """

    def __init__(self, message: str = "the caller is not let in", *, code: str = "identity_error") -> None:
        super().__init__(message)
        self.code = code


class TokenError(IdentityError):
    """The caller's token is missing, or does not hold: it has to come back with another.

    ``nonce`` is what a proof of possession has to carry next time, where that was what was missing.
    """

    def __init__(
        self, message: str = "the token does not hold", *, code: str = "invalid_token", nonce: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.nonce = nonce


class RevokedError(TokenError):
    """The token is well signed and in its time, but it, or what it was delegated from, was taken back.

    Attributes
    ----------
    revoked_jti, reason
        Which token of the chain was, and what the authority says about it.
    identity, status
        Whose standing it was instead, and what that is.
    """

    def __init__(
        self,
        message: str = "the token was revoked",
        *,
        code: str = "token_revoked",
        revoked_jti: str | None = None,
        reason: str | None = None,
        identity: str | None = None,
        status: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.revoked_jti = revoked_jti
        self.reason = reason
        self.identity = identity
        self.status = status


class InsufficientError(IdentityError):
    """The caller's token holds, but does not reach that far; ``scopes`` are those that would."""

    def __init__(
        self,
        message: str = "the token does not reach that far",
        *,
        code: str = "insufficient_scope",
        scopes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code)
        self.scopes = scopes


class IdentityUnavailableError(IdentityError):
    """Whoever could tell whether a token holds cannot be reached, or has no answer; nobody is let in on that.

    ``retry_after`` is how many seconds it is worth to wait.
    """

    def __init__(
        self,
        message: str = "the token cannot be checked now",
        *,
        code: str = "network_error",
        retry_after: float = 1.0,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class QuotaError(HighflameError):
    """A caller has called more often than it may; ``retry_after`` is how many seconds it has to wait."""

    def __init__(
        self, message: str = "called more often than is allowed: wait", *, retry_after: float = 1.0
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreadableError(HighflameError):
    """A request or reply could not be read, so it could not be guarded, and was not passed on."""


class UnprovenError(HighflameError):
    """An SDK's calls could not be shown to be caught on its installed version, so this one was not made."""


class GatewayError(HighflameError):
    """The gateway cannot carry this call; the embedded one has no provider for it."""


class UnsupportedError(GatewayError):
    """The gateway does not carry calls in this format: they are to be refused, or this one cannot be translated."""


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
