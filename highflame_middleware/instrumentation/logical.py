"""One logical call of an SDK, whichever SDK: read, routed, opened, and addressed attempt by attempt.

The seams differ in how they come by a call's parts and in how they send it;
what is made of the parts is the same for all, and stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..answers import answers_screened
from ..caller import current_context
from ..codecs import base_of_path, codec_for_path
from ..config import Settings
from ..errors import HighflameError, UnreadableError, UnsupportedError
from ..exchange import COVERED, Policy
from ..interpreter import Interpreter
from ..pipeline import open_exchange, read_call
from ..route import (
    PROVIDER_HEADER,
    Detour,
    Origin,
    Route,
    choose,
    deployment_of,
    headers_for,
    place,
    provider_name,
    readdressed,
)
from ..screens import Screen, screen_for
from ..telemetry import trace_headers
from ..translation import WrittenCall, targets_of

if TYPE_CHECKING:
    from ..gateway import Gateway

__all__ = ["STAND_IN", "Address", "Door", "LogicalCall", "under_way"]


def _vouched() -> None:
    """Nothing speaks against it."""


def _unheard(detour: Detour) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What a seam needs of the instrumentation: its settings, and the gateway in this process if there is one.

    ``vouch`` raises where the calls of the seam's SDK must not be made, ``quiet``
    calls leave no record. ``detoured`` is told of calls that the gateway does not carry.
    """

    settings: Settings
    policy: Policy
    active: Callable[[], bool]
    gateway: Gateway | None = None
    inside: Callable[[ModuleType], tuple[Any, Any]] | None = None
    vouch: Callable[[], None] = _vouched
    detoured: Callable[[Detour], None] = _unheard
    quiet: bool = False


# In whose place a door stands while a seam is being proven: the calls made then are nobody's.
STAND_IN: ContextVar[Door | None] = ContextVar("highflame_stand_in", default=None)


# The call that is being made in this context, for seams below that see requests and not calls.
_under_way: ContextVar[LogicalCall | None] = ContextVar("highflame_under_way", default=None)


def under_way() -> LogicalCall | None:
    """The call that an SDK is making in this context."""
    return _under_way.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one request is to go: its URL, headers to set and headers to remove; `changes` for what it bears.

    ``body`` is the JSON to send in place of the SDK's, where the call is translated.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    dropped: frozenset[str] = frozenset()
    route: Route | None = field(default=None, repr=False)
    body: Any = field(default=None, repr=False)

    def changes(self, present: Mapping[str, str]) -> tuple[frozenset[str], Mapping[str, str]]:
        """The headers to remove from a request that has these, by lower-case name, and then those to set."""
        if self.route is None:
            return self.dropped, self.headers
        dropped, headers = readdressed(self.route, present)
        return dropped | self.dropped, {**headers, **self.headers}


class LogicalCall:
    """A call that has been read from an SDK's own terms.

    ``path`` lies below the base URL ``origin``, as encoded, with its query.
    ``spoken`` is the provider whose format the SDK speaks (a key of
    `highflame_middleware.route.PROVIDERS`), ``read_body`` gives the wire JSON
    and is asked only where there is a codec for it, ``headers`` are those that
    the caller gave. ``inside`` says that its requests are sent by httpx or
    httpx2, so that they could reach a gateway in this process. ``over`` names
    what carries it where that is not HTTP alone, which is then a part of the
    format that a gateway has to carry; ``model`` is given where neither path nor body has it.
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
        inside: bool = True,
        over: str | None = None,
        model: str | None = None,
    ) -> None:
        door = STAND_IN.get() or door
        door.vouch()
        # What one SDK counts to the path another counts to the base URL; all of Azure's is needed for the model.
        base = "" if origin.azure else base_of_path(path, spoken=spoken)
        origin, path = replace(origin, path=f"{origin.path}{base}"), path[len(base) :]
        self._door, self._spoken, self.origin = door, spoken, origin
        codec = codec_for_path(path, spoken=spoken)
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
            model=model or deployment_of(origin, path),
        )
        route = choose(
            origin,
            call.model,
            door.settings,
            caller,
            spoken=spoken,
            codec="-".join(filter(None, (over, codec.name))) if codec is not None else over,
            path=path,
            given=_given(headers),
            into=_targets(door.settings, method, path, codec.name if codec is not None and over is None else ""),
        )
        if isinstance(route, Route) and route.embedded:
            taken = inside and self._taken(call.model, headers)
            # For a model that none of its providers takes, the client's own way is as good, unless it is barred.
            if not inside or (not taken and door.settings.on_unsupported == "refuse"):
                route = Detour(dialect=route.dialect, format=codec.name if codec is not None else spoken)
            elif not taken:
                route = None
        self.route = route if isinstance(route, Route) else None
        server = origin
        if self.route is not None and not self.route.embedded:
            server = Origin.of(self.route.base_url)
        policy, covered = door.policy, COVERED.get()
        if covered is not None and covered.covers(policy):
            # An adapter above has had every text of this call judged, and will those of its reply.
            policy = replace(policy, guard=None)
        self.exchange = open_exchange(call, policy, server=server.host, port=server.port, quiet=door.quiet)
        if self.route is not None:
            self.exchange.recorder.annotate("gateway", self.route.dialect)
        if isinstance(route, Detour):
            self._go_without(route)
        self._interpreter: Interpreter | None = None
        self._posted: Any = None
        self._written: WrittenCall | None = None
        if self.route is not None and self.route.into is not None and codec is not None:
            self._interpreter = Interpreter(
                exchange=self.exchange,
                codec=codec,
                target=self.route.into,
                path=path,
                dialect=self.route.dialect,
                model=self.route.model,
            )

    @property
    def translated(self) -> bool:
        """Whether the gateway is asked in another format than the SDK's."""
        return self._interpreter is not None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Be in the call's span while the SDK makes it; what it raises says where the call went."""
        route = self.route
        token = _under_way.set(self)
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
        finally:
            _under_way.reset(token)

    def sends_to(self, scheme: str, address: str, raw_path: str) -> bool:
        """Whether a request is one of this call's own, by where it goes: to its host or gateway, and which API."""
        places = {(self.origin.scheme, self.origin.address)}
        if self.route is not None and not self.route.embedded:
            gateway = Origin.of(self.route.base_url)
            places.add((gateway.scheme, gateway.address))
        codec, there = self.exchange.call.codec, codec_for_path(raw_path, spoken=self._spoken)
        return (scheme, address) in places and codec is not None and there is not None and codec.name == there.name

    def outgoing(self, body: Any) -> Any:
        """The body to send for what the guard made of the call's: with the model's name at the gateway.

        Where the call is translated the SDK makes its request in its own format; `address` has what is sent.
        """
        route = self.route
        if self._interpreter is not None:
            self._posted, self._written = body, self._interpreter.write(body)
            return body
        if route is not None and route.model is not None and isinstance(body, dict):
            return {**body, "model": route.model}
        return body

    def address(self, raw_path: str) -> Address | None:
        """Where a request goes that the SDK would send to this path of the origin; None for there itself."""
        if self.route is None:
            return None
        if self._interpreter is not None and self._written is None:
            self.outgoing(self.body)
        written = self._written
        if written is not None:
            raw_path = written.path
        return Address(
            url=place(self.route, self.origin, raw_path),
            headers={
                **self.route.headers,
                **headers_for(self.route, self.origin, raw_path),
                **trace_headers(self.exchange.recorder.span),
            },
            dropped=self.route.dropped,
            route=self.route,
            body=written.body if written is not None else None,
        )

    def screen(self, status: int, headers: MutableMapping[str, str], *, judged: bool = True) -> Screen | None:
        """The screen for a reply, which also finds what the gateway answered in the model's place.

        ``headers`` are made to name the content type in which it comes out where it is translated. It is
        not ``judged`` where the seam does that above the SDK's own reading of it.
        """
        exchange, route = self.exchange, self.route
        said = kind = headers.get("content-type")
        if self._interpreter is not None:
            screen, said = self._interpreter.screen(status, kind, self._posted, judged=judged)
        else:
            screen = screen_for(exchange, status=status, content_type=kind, codec=exchange.call.codec)
        if route is not None and not route.embedded:
            raises = self._door.settings.on_blocked == "raise"
            screen = answers_screened(
                screen, exchange, dialect=route.dialect, status=status, headers=headers, raises=raises
            )
        if said is not None and said != kind:
            headers["content-type"] = said
        return screen

    def senders(self, module: ModuleType, client: Any) -> tuple[Any, Any]:
        """What sends the call, blocking and not: the caller's client, or ours into the gateway in this process."""
        if self.route is not None and self.route.embedded and self._door.inside is not None:
            return self._door.inside(module)
        return client, client

    def _go_without(self, detour: Detour) -> None:
        """The gateway does not carry the call: it goes as its client sends it, or not at all."""
        recorder = self.exchange.recorder
        recorder.annotate("gateway.unsupported", detour.format)
        if self._door.settings.on_unsupported != "refuse":
            self._door.detoured(detour)
            return
        error = UnsupportedError(
            f"The {detour.dialect} gateway does not carry calls in the format {detour.format}, and on_unsupported "
            "is 'refuse': set it to 'direct' to let them go to their own host, or name the format in carries"
        )
        recorder.fail(error)
        raise error

    def _taken(self, model: str | None, headers: tuple[Any, ...]) -> bool:
        """Whether a provider of the gateway in this process is meant."""
        gateway = self._door.gateway
        named = any(
            isinstance(name, str) and name.lower() == PROVIDER_HEADER
            for given in headers
            if isinstance(given, Mapping)
            for name in given
        )
        return gateway is not None and (named or gateway.takes(model))


def _targets(settings: Settings, method: str, path: str, format_: str) -> tuple[str, ...]:
    """The formats into which a call may be translated."""
    return targets_of(format_, method, path) if settings.on_unsupported == "translate" else ()


def _given(headers: tuple[Any, ...]) -> dict[str, str]:
    """What the caller's own headers say, by lower-case name; those of the call before those of its client."""
    found: dict[str, str] = {}
    for given in reversed(headers):
        if isinstance(given, Mapping):
            found |= {
                name.lower(): value
                for name, value in given.items()
                if isinstance(name, str) and isinstance(value, str)
            }
    return found
