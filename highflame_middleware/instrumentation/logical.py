"""One logical call of an SDK, whichever SDK: read, routed, opened, and addressed attempt by attempt.

The seams differ in how they come by a call's parts and in how they send it;
what is made of the parts is the same for all, and stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..caller import current_context
from ..codecs import codec_for_path
from ..config import Settings
from ..errors import HighflameError, UnreadableError
from ..exchange import Policy
from ..pipeline import open_exchange, read_call
from ..route import PROVIDER_HEADER, Origin, choose, deployment_of, place, provider_name
from ..telemetry import trace_headers

if TYPE_CHECKING:
    from ..gateway import Gateway

__all__ = ["Address", "Door", "LogicalCall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the seams need of the instrumentation: its settings, and the gateway in this process if there is one."""

    settings: Settings
    policy: Policy
    active: Callable[[], bool]
    gateway: Gateway | None = None
    inside: Callable[[ModuleType], tuple[Any, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one request is to go: its URL, headers to set and headers to remove."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    dropped: frozenset[str] = frozenset()


class LogicalCall:
    """A call that has been read from an SDK's own terms.

    ``path`` lies below the base URL ``origin``, as encoded, with its query.
    ``spoken`` is the provider whose format the SDK speaks (a key of
    `highflame_middleware.route.PROVIDERS`), ``read_body`` gives the wire JSON
    and is asked only where there is a codec for it, ``headers`` are those that
    the caller gave.
    """

    def __init__(
        self,
        door: Door,
        *,
        spoken: str,
        origin: Origin,
        method: str,
        path: str,
        read_body: Callable[[], Any],
        headers: tuple[Any, ...] = (),
    ) -> None:
        self._door, self.origin = door, origin
        codec = codec_for_path(path)
        self.body = None
        if codec is not None:
            try:
                self.body = read_body()
            except UnreadableError:
                if door.policy.strict:
                    raise
                codec = None
        caller = current_context()
        call = read_call(
            provider=provider_name(origin, spoken),
            method=method,
            path=path.partition("?")[0],
            codec=codec,
            body=self.body,
            caller=caller,
            model=deployment_of(origin, path),
        )
        self.route = choose(origin, call.model, door.settings, caller, spoken=spoken)
        if self.route is not None and self.route.embedded and not self._taken(call.model, headers):
            self.route = None
        server = origin
        if self.route is not None and not self.route.embedded:
            server = Origin.of(self.route.base_url)
        self.exchange = open_exchange(call, door.policy, server=server.host, port=server.port)
        if self.route is not None:
            self.exchange.recorder.annotate("gateway", self.route.dialect)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Be in the call's span while the SDK makes it; what it raises says where the call went."""
        route = self.route
        try:
            with self.exchange.recorder.attached():
                yield
        except HighflameError:
            raise
        except Exception as error:
            if route is not None and not route.embedded:
                error.add_note(
                    f"This call went to the {route.dialect} gateway at {route.base_url} (highflame_middleware)"
                )
            raise

    def outgoing(self, body: Any) -> Any:
        """The body to send for what the guard made of the call's: with the model's name at the gateway."""
        route = self.route
        if route is not None and route.model is not None and isinstance(body, dict):
            return {**body, "model": route.model}
        return body

    def address(self, raw_path: str) -> Address | None:
        """Where a request goes that the SDK would send to this path of the origin; None for there itself."""
        if self.route is None:
            return None
        return Address(
            url=place(self.route, self.origin, raw_path),
            headers={**self.route.headers, **trace_headers(self.exchange.recorder.span)},
            dropped=self.route.dropped,
        )

    def senders(self, module: ModuleType, client: Any) -> tuple[Any, Any]:
        """What sends the call, blocking and not: the caller's client, or ours into the gateway in this process."""
        if self.route is not None and self.route.embedded and self._door.inside is not None:
            return self._door.inside(module)
        return client, client

    def _taken(self, model: str | None, headers: tuple[Any, ...]) -> bool:
        """Whether a provider of the gateway in this process is meant; else the client's own way is as good."""
        gateway = self._door.gateway
        named = any(
            isinstance(name, str) and name.lower() == PROVIDER_HEADER
            for given in headers
            if isinstance(given, Mapping)
            for name in given
        )
        return gateway is not None and (named or gateway.takes(model))
