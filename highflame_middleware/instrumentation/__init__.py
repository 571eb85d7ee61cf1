"""Instrumenting the process: one call that patches every SDK that is, or will be, imported.

Nothing is imported here on the user's behalf. SDKs are patched when they are
imported, by hooks that stay registered (there is no way to take them back)
and do nothing while no instrumentation is active.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping
from threading import RLock
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

import wrapt

from ..config import UNSET, Settings, Unset
from ..errors import ConfigError
from ..types import Mode, Secret
from .installation import HOOKED, Installation, SeamStatus

if TYPE_CHECKING:
    from ..guard.protocol import GuardLike
    from ..guard.verdict import DecisionEvent

__all__ = ["Instrumentation", "SeamStatus", "instrument", "uninstrument"]

_log = logging.getLogger("highflame_middleware")


class Instrumentation:
    """The handle of an instrumentation; leaving it as a context manager takes everything back."""

    def __init__(self, settings: Settings, installation: Installation) -> None:
        self._settings = settings
        self._installation = installation

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstrument()

    @property
    def settings(self) -> Settings:
        """What it was made with, resolved."""
        return self._settings

    @property
    def active(self) -> bool:
        """Whether calls are caught."""
        return self._installation.active

    def status(self) -> dict[str, SeamStatus]:
        """How things stand with each SDK, by name.

        >>> with instrument(gateway=None) as handle:
        ...     handle.status()["openai"].state in ("waiting", "patched", "absent")
        True
        """
        return self._installation.status()

    def uninstrument(self) -> None:
        """Take every patch back and let the hooks go inert. Doing it twice does nothing."""
        global _current
        with _lock:
            if self._installation.active:
                self._installation.undo()
            if _current is not None and _current[0] is self:
                _current = None


_lock = RLock()
_current: tuple[Instrumentation, Installation] | None = None
_hooked = False


def instrument(
    *,
    gateway: Any = UNSET,
    base_url: str | Unset | None = UNSET,
    api_key: str | Secret | Unset | None = UNSET,
    route: str | Unset | None = UNSET,
    guard: GuardLike | str | Unset | None = UNSET,
    mode: Mode | str | Unset = UNSET,
    fail_open: bool | Unset = UNSET,
    deadline: float | Unset = UNSET,
    guard_timing: str | Unset = UNSET,
    only: Collection[str] | Unset | None = UNSET,
    exclude: Collection[str] | Unset = UNSET,
    on_unproven: str | Mapping[str, str] | Unset | None = UNSET,
    headers: Mapping[str, str | Secret] | Unset = UNSET,
    carries: Collection[str] | Unset = UNSET,
    lacks: Collection[str] | Unset = UNSET,
    on_unsupported: str | Unset = UNSET,
    on_blocked: str | Unset = UNSET,
    on_decision: Callable[[DecisionEvent], object] | Unset | None = UNSET,
    settings: Settings | str | None = None,
) -> Instrumentation:
    """Guard, route and trace every LLM call that this process makes from now on.

    Every argument that is omitted comes from the environment, then from the
    settings file, then from its default; ``None`` means off. ``settings`` is a
    `Settings` to start from, or the path of a settings file. See `Settings`
    for what each means.

    Calling it again with the same settings returns the same handle; with
    others it is a `ConfigError`.

    >>> with instrument(guard=lambda request: "secret" not in request.content) as handle:
    ...     handle.active
    True
    >>> handle.active
    False
    """
    global _current, _hooked
    given = {
        "gateway": gateway,
        "base_url": base_url,
        "api_key": api_key,
        "route": route,
        "guard": guard,
        "mode": mode,
        "fail_open": fail_open,
        "deadline": deadline,
        "guard_timing": guard_timing,
        "only": only,
        "exclude": exclude,
        "on_unproven": on_unproven,
        "headers": headers,
        "carries": carries,
        "lacks": lacks,
        "on_unsupported": on_unsupported,
        "on_blocked": on_blocked,
        "on_decision": on_decision,
    }
    if isinstance(settings, Settings):
        resolved = settings.with_changes(**given)
    else:
        resolved = Settings.load(file=settings, **given)
    with _lock:
        if _current is not None:
            if _current[0].settings != resolved:
                raise ConfigError(
                    "this process is instrumented already, with other settings: "
                    "call uninstrument() first, or instrument() in one place only"
                )
            return _current[0]
        installation = Installation(resolved)
        handle = Instrumentation(resolved, installation)
        _current = handle, installation
        for name in HOOKED:
            if not _hooked:
                wrapt.register_post_import_hook(_imported, name)
            elif (module := sys.modules.get(name)) is not None:
                installation.patch(module)
        _hooked = True
    _log.info("%s", _announcement(resolved))
    return handle


def uninstrument() -> None:
    """Take everything back that `instrument` did; does nothing where nothing is active."""
    if _current is not None:
        _current[0].uninstrument()


def _imported(module: ModuleType) -> None:
    """Post-import hook, registered once per process."""
    with _lock:
        if _current is not None:
            _current[1].patch(module)


_UNSUPPORTED = {
    "direct": "go to their own hosts",
    "translate": "are translated, or go to their own hosts",
    "refuse": "are refused",
}


def _announcement(settings: Settings) -> str:
    """Which credentials go to which host: the line to look for in a start-up log."""
    guard = settings.guard if isinstance(settings.guard, str) else getattr(settings.guard, "name", settings.guard)
    guarding = "no guard" if guard is None else f"guard {guard}, mode {settings.mode}"
    if settings.guard is not None and settings.mode.blocks:
        guarding += ", failing open" if settings.fail_open else ", failing closed"
    if settings.gateway is None:
        where = "calls keep their own base URL and credentials"
    elif settings.gateway_url is None:
        where = "calls go through the gateway in this process; credentials follow its providers' settings"
    elif settings.gateway == "portkey" and settings.virtual_api_key is not None:
        where = f"calls go to {settings.gateway_url} with the configured virtual key in place of the client's"
    elif settings.api_key is None:
        where = f"calls go to {settings.gateway_url} with the client's own credentials"
    elif settings.gateway == "openai-compatible":
        where = f"calls go to {settings.gateway_url} with the configured gateway key in place of the client's"
    else:
        where = (
            f"calls go to {settings.gateway_url} with the configured gateway key and the client's own credentials"
        )
    if settings.gateway is not None:
        where += f"; formats it does not carry {_UNSUPPORTED[settings.on_unsupported]}"
    return f"instrumented: {guarding}; {where}"
