"""`HighflameMiddleware`: pure ASGI; everything that is not its business passes untouched.

The way of one request, hop by hop:

1. `__call__` scans the headers once (`caller.head_of`): its id, and who it comes from, where its word is believed.
2. `_let_in`, where anybody is to say who they are or may come only so often: `identify`, `admission`, `rates`.
3. The context is set, for the application and every call that is made for this request, and taken off afterwards.
4. `_pass` where nothing of the request is judged: `glance` adds the id, and sees whether the reply is a model's.
5. `_guard` otherwise: `incoming` reads the body and finds its texts, `pipeline.guarded` has them judged and hands
   the body, edited or as it came, to the application; `departures.attend` ends both once the caller leaves.
6. `reply.Responder` is the application's ``send``; `refusals` answers in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

from ..asgi_types import App, Receive, Scope, Send
from ..caller import current_context, enter_context, leave_context
from ..codecs.parts import Text
from ..config import UNSET, Settings, Unset
from ..errors import ConfigError, GuardError, HighflameError, IdentityError, QuotaError
from ..exchange import Call, Exchange, Policy
from ..flow import arun
from ..guard.protocol import GuardLike
from ..guard.verdict import DecisionEvent
from ..pipeline import audited, guarded
from ..policy import policy_of
from ..telemetry import Recorder, parent_of
from ..types import Mode, Stage
from .admission import send_document
from .body import replay, resized
from .caller import Identify, Peers, head_of, identified, read_identity, request_id_of
from .departures import attend
from .glance import Glance
from .incoming import Incoming, Reading, carries_body
from .lifespan import outlived
from .options import admission_of, count_of, formats_of, listed, metadata_of, selections_of
from .paths import PathSet, PathTable, path_of
from .rates import Rates, Spent
from .refusals import OnBlocked, Refusals, of_handshake
from .reply import Responder
from .reports import Report, tagging
from .screening import Notices, is_guarded, offered
from .selectors import FIELDS, Selection
from .sockets import Frames, Socket
from .turns import Turns
from .uploads import Upload

__all__ = ["HEALTH_PATHS", "HighflameMiddleware"]

_log = logging.getLogger("highflame_middleware.asgi")

# Asked by machines every few seconds, and with nothing to say.
HEALTH_PATHS = ("/health", "/healthz", "/livez", "/readyz", "/metrics")


class HighflameMiddleware:
    """Guards what comes into and goes out of an application that talks to models.

    Every request gets an id, and a context that the LLM calls made for it carry.
    Its texts are judged before the application sees them, those of the reply
    before the caller does. A stopped call is answered 403 (deny), 401 (step_up)
    or 425 (defer), in the shape of the API that it speaks.

    What is omitted of ``guard``, ``mode``, ``fail_open``, ``deadline`` and
    ``on_decision`` comes from environment, file and defaults. The rest is this
    door's own, in docs/asgi.md. Who: ``trusted_peers`` (whose identity headers
    are believed), ``identify``, ``authenticator`` with ``required_scopes``,
    ``required_trust``, ``exempt_paths``, ``allow_unauthenticated``,
    ``resource_metadata``. What: ``formats``, ``select``, ``select_out``,
    ``fields``, ``plain_text``, ``text_files``, ``guard_websockets``,
    ``websocket_streams``, ``only_paths``, ``exclude_paths``, ``health_paths``,
    ``fail_open_paths``.
    Bounds: ``max_body`` (bytes), ``max_depth`` (levels of JSON),
    ``max_evaluations`` (guards asked at once), ``rate_limits`` in
    ``rate_storage``. Answers: ``on_blocked``, ``websocket_refusal``,
    ``report_headers``; and for callers who leave before theirs,
    ``cancel_on_disconnect``.

    >>> async def app(scope, receive, send): ...
    >>> guarded_app = HighflameMiddleware(app, mode="monitor", trusted_peers=["10.0.0.0/8"])
    """

    def __init__(
        self,
        app: App,
        *,
        guard: GuardLike | str | Unset | None = UNSET,
        mode: Mode | str | Unset = UNSET,
        fail_open: bool | Unset = UNSET,
        deadline: float | Unset = UNSET,
        on_decision: Callable[[DecisionEvent], object] | Unset | None = UNSET,
        trusted_peers: Sequence[str] = (),
        identify: Identify | None = None,
        authenticator: Any = None,
        required_scopes: Mapping[str, Sequence[str]] | None = None,
        required_trust: Mapping[str, str] | None = None,
        exempt_paths: Iterable[str] = (),
        allow_unauthenticated: bool = False,
        resource_metadata: Mapping[str, Any] | None = None,
        formats: Mapping[str, str] | None = None,
        select: Mapping[str, Iterable[str]] | None = None,
        select_out: Mapping[str, Iterable[str]] | None = None,
        fields: Iterable[str] = FIELDS,
        plain_text: bool = True,
        text_files: bool = False,
        guard_websockets: bool = True,
        only_paths: Iterable[str] | None = None,
        exclude_paths: Iterable[str] = (),
        health_paths: Iterable[str] = HEALTH_PATHS,
        fail_open_paths: Iterable[str] = (),
        max_body: int = 16 * 1024 * 1024,
        max_depth: int = 100,
        max_evaluations: int = 64,
        rate_limits: Mapping[str, str] | None = None,
        rate_storage: str = "memory://",
        on_blocked: OnBlocked | None = None,
        websocket_refusal: str = "close",
        websocket_streams: Iterable[str] = (),
        cancel_on_disconnect: bool = True,
        report_headers: bool = False,
        settings: Settings | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "guard": guard,
            "mode": mode,
            "fail_open": fail_open,
            "deadline": deadline,
            "on_decision": on_decision,
        }
        if settings is None:
            # Where this process's calls go is not this door's business: the environment's gateway is not read.
            settings = Settings.load(gateway=None, **given)
        else:
            settings = settings.with_changes(**given)
        self._app: Any = app
        # Never beside the application: what that does before the verdict cannot be undone.
        self._policy = replace(policy_of(settings), races=False)
        self._open_policy = replace(self._policy, fail_open=True)
        self._fail_open_paths = PathSet("fail_open_paths", fail_open_paths)
        self._health = PathSet("health_paths", health_paths)
        self._exclude = PathSet("exclude_paths", exclude_paths)
        self._only = PathTable("only_paths", listed("only_paths", only_paths)) if only_paths is not None else None

        self._peers = Peers.read(trusted_peers)
        self._believes = bool(self._peers)
        if identify is not None and not callable(identify):
            raise ConfigError(f"identify={identify!r} cannot be called: give a function of the scope")
        self._identify = identify
        self._admission = admission_of(
            authenticator,
            required_scopes=required_scopes or {},
            required_trust=required_trust or {},
            exempt=PathSet("exempt_paths", exempt_paths),
            allow_unauthenticated=allow_unauthenticated,
        )
        self._metadata = metadata_of(resource_metadata)
        self._rates = Rates(rate_limits, storage=rate_storage) if rate_limits is not None else None
        self._asks = any((identify, self._admission, self._rates, self._metadata))

        self._select_out = selections_of("select_out", select_out or {})
        self._reading = Reading(
            limit=count_of("max_body", max_body, "bytes"),
            depth=count_of("max_depth", max_depth, "levels"),
            deadline=settings.deadline,
            formats=formats_of(formats or {}),
            select=selections_of("select", select or {}),
            fields=Selection.named("fields", fields),
            plain_text=plain_text,
            text_files=text_files,
        )
        self._frames = Frames(limit=max_body, refusal=websocket_refusal)
        self._guards_websockets = guard_websockets
        self._cancels = cancel_on_disconnect
        self._streams = PathTable("websocket_streams", listed("websocket_streams", websocket_streams))
        self._turns = Turns(count_of("max_evaluations", max_evaluations, "evaluations"))
        self._refusals = Refusals(on_blocked)
        self._reports = report_headers
        self._notices = Notices()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        request: Any = scope
        kind = request["type"]
        if kind not in ("http", "websocket"):
            if kind == "lifespan" and (self._rates is not None or self._admission is not None):
                await outlived(self._app, request, receive, send, self._aclose)
            else:
                await self._app(scope, receive, send)
            return
        head = head_of(request["headers"])
        path = path_of(request)
        fields: dict[str, Any] = {"request_id": request_id_of(head)}
        if self._believes:
            client = request.get("client")
            if self._peers.trust(client[0] if client else None):
                fields.update(read_identity(request["headers"]))
        further: Sequence[tuple[bytes, bytes]] = ()
        if self._asks and path not in self._health:
            try:
                further = await self._let_in(request, head, path, fields)
            except _AnsweredError as answered:
                told = send if kind == "http" else of_handshake(request, receive, send)
                await answered.tell(tagging(told, fields["request_id"], answered.headers))
                return
        enter_context(fields)
        try:
            if kind == "websocket":
                serve = self._serve_socket
            else:
                serve = self._serve if self._policy.guard is not None else self._pass
            if b"traceparent" in head:
                with parent_of(_traces(head)):
                    await serve(request, receive, send, _Visit(head, path, fields["request_id"], further))
            else:
                await serve(request, receive, send, _Visit(head, path, fields["request_id"], further))
        finally:
            leave_context()

    async def _let_in(
        self, scope: Any, head: Mapping[bytes, bytes], path: str, fields: dict[str, Any]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Find out who comes, into ``fields``, and whether they may; gives headers for the reply."""
        answer = partial(self._refusals.answer, scope=scope, head=head)
        if self._metadata is not None and scope["type"] == "http" and scope["path"] == self._metadata[0]:
            raise _AnsweredError(partial(send_document, self._metadata[1]))
        try:
            if self._identify is not None:
                fields.update(await identified(self._identify, scope))
            if self._admission is not None:
                identity = await self._admission.identity(scope, head, path)
                if identity is not None:
                    told = identity.context()
                    metadata = {**fields.get("metadata", {}), **told.get("metadata", {})}
                    fields.update({**told, "metadata": metadata, "identity": identity})
        except ConfigError:
            raise
        except HighflameError as error:
            status: int | None = None
            challenges: tuple[tuple[str, str], ...] = ()
            if isinstance(error, IdentityError) and self._admission is not None:
                status, challenges = self._admission.challenge(error)
            # Who is refused is counted as nobody: no name or key that is made up makes somebody else of them.
            spent = await self._spent(scope, path, {}, ())
            if isinstance(spent.error, QuotaError):
                raise _AnsweredError(partial(answer, error=spent.error), spent.lines) from error
            told = partial(answer, error=error, status=status, headers=challenges)
            raise _AnsweredError(told, spent.lines if spent.error is None else ()) from error
        spent = await self._spent(scope, path, fields, scope["headers"])
        if spent.error is not None:
            raise _AnsweredError(partial(answer, error=spent.error), spent.lines)
        return spent.lines

    async def _spent(
        self, scope: Any, path: str, fields: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]]
    ) -> Spent:
        """Count the request, where requests are counted."""
        if self._rates is None:
            return Spent()
        fail_open = self._policy.fail_open or path in self._fail_open_paths
        return await self._rates.spend(fields, headers, scope.get("client"), fail_open=fail_open)

    async def _aclose(self) -> None:
        """Close what requests have had opened on this event loop."""
        for each in (self._rates, self._admission):
            if each is not None:
                await each.aclose()

    def _policy_for(self, path: str) -> Policy | None:
        """How a request for a path is guarded, if it is."""
        if path in self._health or path in self._exclude or (self._only is not None and not self._only.get(path)):
            return None
        policy = self._open_policy if path in self._fail_open_paths else self._policy
        caller = current_context()
        if caller.bypass is not None:
            policy = audited(policy, Recorder(None, caller), caller)
        return policy if policy.guard is not None else None

    async def _serve(self, scope: Any, receive: Receive, send: Send, visit: _Visit) -> None:
        policy = self._policy_for(visit.path)
        counts = self._reports or carries_body(scope) or (self._select_out and self._select_out.get(visit.path))
        if policy is None or not counts:
            await self._pass(scope, receive, send, visit, policy)
        else:
            await self._guard(scope, receive, send, visit, policy)

    async def _pass(
        self, scope: Any, receive: Receive, send: Send, visit: _Visit, policy: Policy | None = None
    ) -> None:
        """Serve a request of which nothing is to be judged; its reply is looked at where there is a policy.

        What a guarded call inside raised is answered all the same.
        """

        def respond(begun: bool) -> Responder:
            exchange = None
            if policy is not None:
                caller = current_context()
                call = Call(provider="openai", method=scope["method"], path=scope["path"], caller=caller)
                exchange = Exchange(call, policy, Recorder(None, caller))
            further = visit.further and not begun
            return Responder(
                tagging(send, visit.request_id, visit.further) if further else send,
                exchange,
                visit.request_id,
                raises=_hears_of_leaving(scope),
                notices=self._notices,
                answer=partial(self._refusals.answer, scope=scope, head=visit.head),
                perform=self._turns.perform,
            )

        glance = Glance(send, visit.request_id, visit.further, respond, looks=policy is not None)
        try:
            await self._app(scope, receive, glance.send)
        except Exception as error:  # noqa: BLE001 - raised again where it is not ours
            await _tell(await glance.responder(), error)

    async def _guard(self, scope: Any, receive: Receive, send: Send, visit: _Visit, policy: Policy) -> None:
        """Serve a request that is guarded."""
        path, caller = visit.path, current_context()
        report = None
        if self._reports:
            report = Report(policy)
            policy = replace(policy, on_decision=report.take)
        if report is not None or visit.further:
            send = tagging(send, visit.request_id, visit.further, report)
        incoming = await self._reading.read(scope, receive, visit.head, path, caller)
        exchange = Exchange(incoming.call, policy, Recorder(None, caller))
        selection = self._select_out.get(path) if self._select_out else None
        if policy.holds and is_guarded(exchange, selection):
            scope = offered(scope)
        responder = Responder(
            send,
            exchange,
            visit.request_id,
            raises=_hears_of_leaving(scope),
            selection=selection,
            notices=self._notices,
            answer=partial(self._refusals.answer, scope=scope, head=visit.head, codec=incoming.call.codec),
            perform=self._turns.perform,
        )
        if incoming.fault is not None:
            why = GuardError(str(incoming.fault))
            exchange.note(Text((), "", Stage.PROMPT), why, enforced=policy.strict)
            if policy.strict:
                await responder.deny(incoming.fault, status=incoming.status)
                return
        run = partial(self._run, scope, incoming, exchange, responder)
        if incoming.whole:
            # From the beginning of the application on it may be told to finish, whoever waits for it.
            kept = not self._cancels
            await attend(receive, run, over=lambda: responder.finished or (kept and exchange.returned))
        else:
            await run(receive)

    async def _run(
        self, scope: Any, incoming: Incoming, exchange: Exchange, responder: Responder, receive: Receive
    ) -> None:
        """Have the request's texts judged, and the application run."""

        async def invoke(body: Any) -> None:
            # From here on the reply's reader is the caller: what stops it is told there.
            exchange.returned = True
            if incoming.rest is not None:
                upload = Upload(
                    await self._reading.write(incoming, body),
                    incoming.rest,
                    receive,
                    exchange,
                    perform=self._turns.perform,
                    deny=partial(_tell, responder),
                )
                framed = resized(scope, None) if exchange.policy.holds else scope
                await self._app(framed, upload.receive, responder.send)
            elif body is incoming.call.body:
                await self._app(scope, replay(incoming.messages, receive), responder.send)
            else:
                content = await self._reading.write(incoming, body)
                message = {"type": "http.request", "body": content, "more_body": False}
                await self._app(resized(scope, len(content)), replay([message], receive), responder.send)

        try:
            await arun(guarded(exchange, invoke), self._turns.perform)
        except Exception as error:  # noqa: BLE001 - raised again where it is not ours
            await _tell(responder, error)

    async def _serve_socket(self, scope: Any, receive: Receive, send: Send, visit: _Visit) -> None:
        guards = self._policy.guard is not None and self._guards_websockets
        policy = self._policy_for(visit.path) if guards else None
        if policy is None:
            await self._app(scope, receive, send)
            return
        caller, chosen = current_context(), self._reading.select.get(visit.path)
        call = Call(provider="openai", method="GET", path=scope["path"], caller=caller)
        exchange = Exchange(call, policy, Recorder(None, caller))
        # A connection has no body that is sent once: its frames are read by those who have it open.
        exchange.returned = True
        frames = replace(
            self._frames,
            chosen=chosen,
            selection=self._select_out.get(visit.path),
            streams=self._streams.get(visit.path) is not None,
        )
        socket = Socket(
            receive,
            send,
            exchange,
            frames,
            request_id=visit.request_id,
            raises=_hears_of_leaving(scope),
            perform=self._turns.perform,
        )
        try:
            await self._app(scope, socket.receive, socket.send)
        except HighflameError as error:
            if isinstance(error, ConfigError) or not await socket.fail(error):
                raise


class _Visit(NamedTuple):
    """One request or connection: its headers, where it goes, its id, and further headers for the reply."""

    head: Mapping[bytes, bytes]
    path: str
    request_id: str
    further: Sequence[tuple[bytes, bytes]]


class _AnsweredError(Exception):
    """A request goes no further: ``tell`` is its answer, to which ``headers`` are added."""

    def __init__(self, tell: Callable[[Send], Any], headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__()
        self.tell, self.headers = tell, headers


async def _tell(responder: Responder, error: Exception) -> None:
    """Answer an error: the guard's, or that of an SDK call which the application left to be answered for it."""
    if responder.stopped:
        _log.debug("the application raised after its reply had been stopped", exc_info=error)
        return
    ours = isinstance(error, HighflameError) and not isinstance(error, ConfigError)
    if not ours or (responder.started and not responder.streaming):
        raise error
    await responder.deny(error)


def _traces(head: Mapping[bytes, bytes]) -> list[tuple[str, str]]:
    return [
        (name.decode(), head[name].decode("latin-1")) for name in (b"traceparent", b"tracestate") if name in head
    ]


def _hears_of_leaving(scope: Any) -> bool:
    """Whether the application has been promised an OSError from ``send`` once nobody listens (ASGI 2.4)."""
    return _is_late(str(scope.get("asgi", {}).get("spec_version", "2.0")))


@lru_cache(maxsize=16)
def _is_late(version: str) -> bool:
    major, _, minor = version.partition(".")
    return (int(major), int(minor or 0)) >= (2, 4)
