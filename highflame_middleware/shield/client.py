"""The client of Highflame Shield."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ..config import UNSET, Settings, Unset
from ..errors import ConfigError
from ..types import Secret
from .guard import ShieldGuard
from .questions import seconds_of
from .resources import DebugResource, DetectorsResource, DetectResource, GuardResource, UsageResource
from .service import Service
from .transport import Transport

__all__ = ["SHIELD_URL", "TOKEN_URL", "Highflame"]

SHIELD_URL = "https://api.highflame.ai"
TOKEN_URL = "https://auth.highflame.ai/oauth2/token"  # noqa: S105 - an address
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What says how a request is cut from its connection, and who asks.
_OWN_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"}
)


class Highflame:
    """Asks Highflame Shield: blocking, or asynchronously with each method's ``a`` twin.

    Nothing is imported or connected before the first question. What is not given is read from the settings
    (``HIGHFLAME_API_KEY``, ``HIGHFLAME_BASE_URL``, ``HIGHFLAME_TOKEN_URL``, ``HIGHFLAME_ACCOUNT_ID``,
    ``HIGHFLAME_PROJECT_ID``, or a settings file). One client serves all threads and event loops of a process;
    close it, or use it as a context manager.

    Parameters
    ----------
    api_key
        A service key (``zid_sk…``, ``hf_sk…``, ``hfa_…``), which is exchanged for tokens, or a token.
    access_token
        A token, in place of a key; it is never exchanged.
    base_url, token_url
        Shield, and what gives out its tokens.
    timeout
        Seconds that one call may take, with its retries and the exchange of a token.
    max_retries
        Further attempts after connections that fail and answers 408, 429 and 5xx.
    account_id, project_id, product
        Sent along, in place of those the token was given out for; ``product`` chooses the policies.
    default_headers
        Sent along with each question.
    httpx_client, async_httpx_client
        Clients of httpx or httpx2 to send with; they stay yours to close. Where one has a base URL and
        ``base_url`` is not given, its own counts.

    >>> client = Highflame(api_key="zid_sk_1", base_url="https://shield.example")
    >>> client
    Highflame(base_url='https://shield.example')
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        *,
        access_token: str | Secret | None = None,
        base_url: str | None = None,
        token_url: str | None = None,
        timeout: float = 10.0,
        max_retries: int = 2,
        account_id: str | None = None,
        project_id: str | None = None,
        product: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        httpx_client: Any = None,
        async_httpx_client: Any = None,
        settings: Settings | None = None,
    ) -> None:
        if api_key is not None and access_token is not None:
            raise ConfigError("give api_key= or access_token=, not both")
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or not 0 <= max_retries <= 10:
            raise ConfigError(f"max_retries={max_retries!r} cannot be used: give a number from 0 to 10")
        seconds = seconds_of(timeout)
        given: dict[str, Any] = {
            "shield_key": _or_unset(_key("api_key", api_key) or _key("access_token", access_token)),
            "shield_url": _or_unset(base_url or _base_of(httpx_client) or _base_of(async_httpx_client)),
            "token_url": _or_unset(token_url),
            "account_id": _or_unset(account_id),
            "project_id": _or_unset(project_id),
        }
        found = settings.with_changes(**given) if settings is not None else Settings.load(gateway=None, **given)
        if (key := found.key_for_shield) is None:
            raise ConfigError("Shield needs a key: give api_key= (or access_token=), or set HIGHFLAME_API_KEY")
        headers = _headers(default_headers or {})
        if product is not None:
            headers["x-product"] = _headers({"x-product": product})["x-product"]
        self._service = Service(
            key=key,
            is_token=access_token is not None,
            base_url=found.shield_url or SHIELD_URL,
            token_url=found.token_url or TOKEN_URL,
            seconds=seconds,
            attempts=max_retries + 1,
            account_id=found.account_id,
            project_id=found.project_id,
            headers=headers,
            transport=Transport(blocking=httpx_client, asynchronous=async_httpx_client),
        )
        self._guard = GuardResource(self._service)
        self._detect = DetectResource(self._service)
        self._detectors = DetectorsResource(self._service)
        self._debug = DebugResource(self._service)
        self._usage = UsageResource(self._service)

    @property
    def base_url(self) -> str:
        """Where Shield is."""
        return self._service.base_url

    @property
    def guard(self) -> GuardResource:
        """Verdicts on texts."""
        return self._guard

    @property
    def detect(self) -> DetectResource:
        """What detectors find, without any policy."""
        return self._detect

    @property
    def detectors(self) -> DetectorsResource:
        """The detectors that Shield has."""
        return self._detectors

    @property
    def debug(self) -> DebugResource:
        """What calls are judged by."""
        return self._debug

    @property
    def usage(self) -> UsageResource:
        """What model calls have cost."""
        return self._usage

    def as_guard(self, *, deadline: float | None = None) -> ShieldGuard:
        """A guard that asks with this client, for `instrument` and every other door.

        ``deadline``, in seconds, bounds one evaluation; the door has its own as well.
        """
        return ShieldGuard(self, deadline=deadline)

    def close(self) -> None:
        """Close the connections of blocking callers."""
        self._service.transport.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop; other loops and blocking callers keep theirs."""
        await self._service.transport.aclose()

    def __enter__(self) -> Highflame:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Highflame:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Highflame(base_url={self._service.base_url!r})"


def _or_unset(value: Any) -> Any | Unset:
    return UNSET if value is None else value


def _key(name: str, value: str | Secret | None) -> Secret | None:
    if value is None or isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} must be a string that is not empty")
    if not (value.strip().isascii() and value.strip().isprintable()):
        raise ConfigError(f"{name} holds characters that no HTTP header may carry")
    return Secret(value.strip())


def _base_of(client: Any) -> str | None:
    """The base URL that a client was made with."""
    url = str(getattr(client, "base_url", "") or "")
    return url.rstrip("/") or None


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in given.items():
        if not isinstance(name, str) or not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise ConfigError(f"default_headers: {name!r} is no header that can be set here")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise ConfigError(f"default_headers: the value of {name!r} cannot be sent in a header")
        found[name.lower()] = value
    return found
