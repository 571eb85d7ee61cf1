"""What an instrumentation has installed: which modules it patches when they are imported, and how that went."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from ..config import Settings
from ..errors import ConfigError
from .patches import Patches

if TYPE_CHECKING:
    from ..gateway import Gateway
    from .logical import Door

__all__ = ["HOOKED", "Installation", "SeamStatus"]

_log = logging.getLogger("highflame_middleware")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seam:
    """An SDK whose calls are caught, by its distribution's name, and the first version that is known to work.

    ``kind`` is the module of this package that patches SDKs built like it,
    ``spoken`` the provider whose format it speaks to a host that is nobody's known API.
    """

    sdk: str
    floor: str
    kind: str
    spoken: str


# By the module whose import makes the SDK's base classes exist. A new SDK built like one of these is a row.
_SEAMS: Mapping[str, _Seam] = MappingProxyType(
    {
        "openai._base_client": _Seam(sdk="openai", floor="1.40", kind="stainless", spoken="openai"),
    }
)
_WIRES = ("httpx", "httpx2")

HOOKED = (*_WIRES, *_SEAMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamStatus:
    """How things stand with one SDK.

    ``state`` is ``patched``, ``waiting`` (installed, not imported yet),
    ``absent``, ``too old`` or ``degraded``; the last two with a reason.
    """

    sdk: str
    state: str
    version: str | None = None
    needed: str = ""
    reason: str = ""

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        return f"{self.sdk}{version}: {self.state}{f' ({self.reason})' if self.reason else ''}"


class Installation:
    """The patches of one instrumentation, and the gateway in this process if it has one."""

    def __init__(self, settings: Settings) -> None:
        self.active = True
        self._settings = settings
        self._patches = Patches()
        self._states: dict[str, SeamStatus] = {}
        self._wired: set[str] = set()
        self._door: Door | None = None
        self._gateway = _open_gateway(settings)
        self._inside: dict[ModuleType, tuple[Any, Any]] = {}

    def status(self) -> dict[str, SeamStatus]:
        """How things stand with each SDK, by name."""
        return {seam.sdk: self._states.get(seam.sdk) or _unseen(seam) for seam in _SEAMS.values()}

    def patch(self, module: ModuleType) -> None:
        """A module of `HOOKED` is there. Never raises: that would make the user's import raise."""
        name = module.__name__
        seam = _SEAMS.get(name)
        try:
            if seam is not None:
                self._patch_sdk(seam, module)
            elif self._door is not None:
                self._patch_wire(name, module)
        except Exception as error:  # noqa: BLE001
            sdk = seam.sdk if seam is not None else name
            _log.exception("%s could not be patched: its calls are neither guarded nor routed", sdk)
            reason = f"{type(error).__name__} while patching"
            self._states[sdk] = SeamStatus(sdk=sdk, state="degraded", version=_installed(sdk), reason=reason)

    def undo(self) -> None:
        """Take every patch back."""
        self.active = False
        self._patches.undo()
        self._states.clear()
        if self._gateway is not None and self._gateway is not self._settings.gateway:
            self._gateway.close()

    def _patch_sdk(self, seam: _Seam, module: ModuleType) -> None:
        status = _unseen(seam)
        if status.state == "too old":
            _log.error("%s: its calls are neither guarded nor routed", status)
            self._states[seam.sdk] = status
            return
        # The pipeline loads with the first SDK.
        import_module(f".{seam.kind}", __package__).patch(module, seam.spoken, self._patches, self._opened())
        # The HTTP libraries are left alone until there is an SDK whose requests could be tagged.
        for name in _WIRES:
            if (wire := sys.modules.get(name)) is not None:
                self._patch_wire(name, wire)
        self._states[seam.sdk] = SeamStatus(
            sdk=seam.sdk, state="patched", version=status.version, needed=seam.floor
        )
        _log.debug("patched %s %s", seam.sdk, status.version)

    def _patch_wire(self, name: str, module: ModuleType) -> None:
        from .wire import patch_wire  # noqa: PLC0415

        if name not in self._wired:
            self._wired.add(name)
            patch_wire(module, self._patches, lambda: self.active)

    def _opened(self) -> Door:
        if self._door is None:
            from ..policy import policy_of  # noqa: PLC0415
            from .logical import Door  # noqa: PLC0415

            self._door = Door(
                settings=self._settings,
                policy=policy_of(self._settings),
                active=lambda: self.active,
                gateway=self._gateway,
                inside=self._clients,
            )
        return self._door

    def _clients(self, module: ModuleType) -> tuple[Any, Any]:
        """Clients of one HTTP library that reach the gateway in this process; they hold no connections."""
        if module not in self._inside:
            assert self._gateway is not None
            transport = self._gateway.transport(module)
            self._inside[module] = (
                module.Client(transport=transport, trust_env=False),
                module.AsyncClient(transport=transport, trust_env=False),
            )
        return self._inside[module]


def _open_gateway(settings: Settings) -> Gateway | None:
    """The gateway in this process that the settings name, made or given; its own guard is for other doors."""
    gateway = settings.gateway
    if gateway is None or (isinstance(gateway, str) and gateway != "embedded"):
        return None
    from ..gateway import Gateway  # noqa: PLC0415 - only where it is used

    if gateway == "embedded":
        return Gateway(settings=settings.with_changes(gateway=None, guard=None))
    if not isinstance(gateway, Gateway):
        raise ConfigError(f"gateway={gateway!r} is neither a name nor a highflame_middleware.Gateway")
    return gateway


def _unseen(seam: _Seam) -> SeamStatus:
    """How things stand with an SDK that has not been patched."""
    version = _installed(seam.sdk)
    if version is None:
        return SeamStatus(sdk=seam.sdk, state="absent", needed=seam.floor)
    if _release(version) < _release(seam.floor):
        reason = f"found {version}, needed {seam.floor}"
        return SeamStatus(sdk=seam.sdk, state="too old", version=version, needed=seam.floor, reason=reason)
    return SeamStatus(sdk=seam.sdk, state="waiting", version=version, needed=seam.floor)


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing with a floor."""
    numbers = []
    for part in version.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
