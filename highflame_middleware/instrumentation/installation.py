"""What an instrumentation has installed: which modules it patches when they are imported, and how that went."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module, metadata
from threading import RLock
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from ..config import Settings
from ..errors import ConfigError, UnprovenError
from .patches import Patches

if TYPE_CHECKING:
    from ..exchange import Policy
    from ..gateway import Gateway
    from ..route import Detour
    from .logical import Door

__all__ = ["HOOKED", "Installation", "SeamStatus"]

_log = logging.getLogger("highflame_middleware")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seam:
    """An SDK whose calls are caught, by its distribution's name, and the first version that is known to work.

    ``kind`` is the module of this package that patches SDKs built like it,
    ``spoken`` the provider whose format it speaks to a host that is nobody's known API.
    ``agent`` is how the SDK names itself in its requests, where not by its distribution's name.
    """

    sdk: str
    floor: str
    kind: str
    spoken: str
    agent: str = ""


_MISTRAL = _Seam(sdk="mistralai", floor="1", kind="speakeasy", spoken="mistral", agent="mistral-client")
_WEBSOCKETS = _Seam(sdk="websockets", floor="13", kind="websockets", spoken="openai")
# By the module whose import makes the SDK's base classes exist. A new SDK built like one of these is a row.
_SEAMS: Mapping[str, _Seam] = MappingProxyType(
    {
        "openai._base_client": _Seam(sdk="openai", floor="1.40", kind="stainless", spoken="openai"),
        "google.genai._api_client": _Seam(sdk="google-genai", floor="1.5", kind="google", spoken="gemini"),
        # The interactions of its versions 1.55 and on, before those of 2.
        "google.genai._interactions._base_client": _Seam(
            sdk="google-genai", floor="1.5", kind="stainless", spoken="gemini"
        ),
        "google.genai._gaos.basesdk": _Seam(sdk="google-genai", floor="1.5", kind="speakeasy", spoken="gemini"),
        "anthropic._base_client": _Seam(sdk="anthropic", floor="0.34", kind="stainless", spoken="anthropic"),
        "groq._base_client": _Seam(sdk="groq", floor="0.9", kind="stainless", spoken="groq"),
        "together._base_client": _Seam(sdk="together", floor="2.0", kind="stainless", spoken="together"),
        "cohere.core.http_client": _Seam(sdk="cohere", floor="5", kind="fern", spoken="cohere"),
        "botocore.client": _Seam(sdk="botocore", floor="1.34", kind="botocore", spoken="bedrock"),
        "aiobotocore.client": _Seam(sdk="aiobotocore", floor="2.13", kind="botocore", spoken="bedrock"),
        "mistralai.basesdk": _MISTRAL,
        "mistralai.client.basesdk": _MISTRAL,
        "mistralai.azure.client.basesdk": _MISTRAL,
        "mistralai.gcp.client.basesdk": _MISTRAL,
        "websockets.asyncio.client": _WEBSOCKETS,
        "websockets.sync.client": _WEBSOCKETS,
        # Its calls are those of an SDK or of httpx; its way with errors is its own.
        "litellm.main": _Seam(sdk="litellm", floor="1.91", kind="litellm", spoken="openai"),
        # Whoever uses these by itself; they are patched for the others' sake as well.
        "httpx": _Seam(sdk="httpx", floor="0.27", kind="hosts", spoken="openai"),
        "httpx2": _Seam(sdk="httpx2", floor="2.7", kind="hosts", spoken="openai"),
    }
)
_WIRES = ("httpx", "httpx2")

HOOKED = tuple(_SEAMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamStatus:
    """How things stand with one SDK.

    ``state`` is ``patched``, ``waiting`` (installed, not imported yet), ``absent``,
    ``excluded``, ``too old`` or ``degraded``; the last two with a reason.
    ``direct`` are the formats of calls that went to their own host because the gateway does not carry them.
    """

    sdk: str
    state: str
    version: str | None = None
    needed: str = ""
    reason: str = ""
    direct: tuple[str, ...] = ()

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        direct = f"; past the gateway: {', '.join(self.direct)}" if self.direct else ""
        return f"{self.sdk}{version}: {self.state}{f' ({self.reason})' if self.reason else ''}{direct}"


class Installation:
    """The patches of one instrumentation, and the gateway in this process if it has one."""

    def __init__(self, settings: Settings) -> None:
        _check_names(settings)
        self.active = True
        self._settings = settings
        self._patches = Patches()
        self._states: dict[str, SeamStatus] = {}
        self._wired: set[str] = set()
        self._door: Door | None = None
        self._policy = _policy_now(settings)
        self._gateway = _open_gateway(settings)
        self._inside: dict[ModuleType, tuple[Any, Any]] = {}
        self._doors: dict[str, Door] = {}
        self._opening = RLock()
        self._proven: dict[str, str] = {}
        self._detours: dict[str, set[str]] = {}

    def status(self) -> dict[str, SeamStatus]:
        """How things stand with each SDK, by name."""
        return {seam.sdk: self._status(seam) for seam in _SEAMS.values()}

    def _status(self, seam: _Seam) -> SeamStatus:
        status = self._states.get(seam.sdk) or self._unseen(seam)
        return replace(status, direct=tuple(sorted(self._detours.get(seam.sdk, ()))))

    def patch(self, module: ModuleType) -> None:
        """A module of `HOOKED` is there. Never raises: that would make the user's import raise."""
        name = module.__name__
        seam = _SEAMS.get(name)
        try:
            if seam is not None and name in _WIRES:
                self._patch_library(seam, module)
            elif seam is not None:
                self._patch_sdk(seam, module)
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
        status = self._unseen(seam)
        if status.state == "excluded":
            return
        if status.state == "too old":
            _log.error("%s: its calls are neither guarded nor routed", status)
            self._states[seam.sdk] = status
            return
        # The pipeline loads with the first SDK.
        import_module(f".{seam.kind}", __package__).patch(module, seam.spoken, self._patches, self._opened(seam))
        # No request could be tagged until there was an SDK, or a call without one.
        for name in _WIRES:
            if (wire := sys.modules.get(name)) is not None:
                self._patch_wire(name, wire)
        self._states[seam.sdk] = SeamStatus(
            sdk=seam.sdk, state="patched", version=status.version, needed=seam.floor
        )
        _log.debug("patched %s %s", seam.sdk, status.version)

    def _patch_library(self, seam: _Seam, module: ModuleType) -> None:
        """Catch the calls of an HTTP library's own users; what their first one needs is only loaded then."""
        if self._door is not None:
            self._patch_wire(module.__name__, module)
        status = self._unseen(seam)
        if status.state == "waiting":
            from .hosts import patch_send  # noqa: PLC0415

            left = tuple(other.agent or other.sdk for other in _SEAMS.values() if self._is_excluded(other))
            patch_send(module, self._patches, self._settings, partial(self._door_of, seam, module), left_alone=left)
            status = replace(status, state="patched")
        self._states[seam.sdk] = status

    def _door_of(self, seam: _Seam, module: ModuleType) -> Door | None:
        """The door for a call that is made with an HTTP library alone, or nothing while calls are not caught."""
        if not self.active:
            return None
        if seam.sdk not in self._doors:
            with self._opening:
                door = self._opened(seam)
                self._patch_wire(module.__name__, module)
                self._doors[seam.sdk] = door
        return self._doors[seam.sdk]

    def _is_excluded(self, seam: _Seam) -> bool:
        settings = self._settings
        return seam.sdk in settings.exclude or (settings.only is not None and seam.sdk not in settings.only)

    def _unseen(self, seam: _Seam) -> SeamStatus:
        """How things stand with an SDK that has not been patched."""
        version = _installed(seam.sdk)
        if version is None:
            return SeamStatus(sdk=seam.sdk, state="absent", needed=seam.floor)
        if self._is_excluded(seam):
            return SeamStatus(sdk=seam.sdk, state="excluded", version=version, needed=seam.floor)
        if _release(version) < _release(seam.floor):
            reason = f"found {version}, needed {seam.floor}"
            return SeamStatus(sdk=seam.sdk, state="too old", version=version, needed=seam.floor, reason=reason)
        return SeamStatus(sdk=seam.sdk, state="waiting", version=version, needed=seam.floor)

    def _patch_wire(self, name: str, module: ModuleType) -> None:
        from .wire import patch_wire  # noqa: PLC0415

        if name not in self._wired:
            self._wired.add(name)
            patch_wire(module, self._patches, lambda: self.active)

    def _opened(self, seam: _Seam) -> Door:
        if self._door is None:
            from ..policy import policy_of  # noqa: PLC0415
            from .logical import Door  # noqa: PLC0415

            self._door = Door(
                settings=self._settings,
                policy=self._policy or policy_of(self._settings),
                active=lambda: self.active,
                gateway=self._gateway,
                inside=self._clients,
            )
        return replace(self._door, vouch=partial(self._vouch, seam.sdk), detoured=partial(self._detoured, seam.sdk))

    def _detoured(self, sdk: str, detour: Detour) -> None:
        """A call goes without the gateway, which does not carry it: said once a format, and in the status."""
        formats = self._detours.setdefault(sdk, set())
        if detour.format not in formats:
            formats.add(detour.format)
            _log.warning(
                "%s: the %s gateway does not carry calls in the format %s: they go to their own host, with the "
                "client's own credentials, guarded and traced (on_unsupported)",
                sdk,
                detour.dialect,
                detour.format,
            )

    def _vouch(self, sdk: str) -> None:
        """Have an SDK's seam proven before its first call; where it is not, refuse it if that is the policy."""
        if self._settings.guard is None and self._settings.gateway is None:
            # Only traced: there is nothing that could slip by.
            return
        # Threads that come at once each prove it: cheaper than a lock that a fork might find taken.
        reason = self._proven.get(sdk)
        if reason is None:
            reason = self._proven[sdk] = self._prove(sdk)
        if reason:
            choice = self._settings.on_unproven
            if isinstance(choice, Mapping):
                choice = choice.get(sdk)
            if choice == "refuse" or (choice is None and self._settings.guard and self._settings.mode.blocks):
                raise UnprovenError(
                    f"{sdk} {_installed(sdk)} does not behave as it must for its calls to be guarded ({reason}): "
                    "use another version of it, or set on_unproven='warn' to let its calls pass as they are"
                )

    def _prove(self, sdk: str) -> str:
        """What could not be proven of an SDK's seam, if anything."""
        from .probe import PROBES, prove  # noqa: PLC0415 - with the first call

        if sdk not in PROBES:
            return ""
        reason = "; ".join(f"{proof.case}: {proof.detail}" for proof in prove(sdk) if not proof.proven)
        if not self.active:
            # Taken back meanwhile: nothing is guarded any more, and nothing is to be proven.
            return ""
        if reason:
            _log.error("%s %s is not proven to be guarded: %s", sdk, _installed(sdk), reason)
            status = self._states.get(sdk) or SeamStatus(sdk=sdk, state="patched", version=_installed(sdk))
            self._states[sdk] = replace(status, state="degraded", reason=f"unproven: {reason}")
        return reason

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


def _policy_now(settings: Settings) -> Policy | None:
    """The policy, where it might be wrong: when an SDK is imported, nothing can be raised any more.

    A guard that is only named is made with the first SDK.
    """
    if isinstance(settings.guard, str | None) and not settings.guard_options and not settings.policies:
        return None
    from ..policy import policy_of  # noqa: PLC0415

    return policy_of(settings)


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


def _check_names(settings: Settings) -> None:
    """Refuse names that are no SDK's: a misspelt one would leave calls unguarded."""
    known = sorted({seam.sdk for seam in _SEAMS.values()})
    for setting, names in (("only", settings.only or ()), ("exclude", settings.exclude)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{setting} names {name!r}, which is no SDK known here: use {', '.join(known)}")


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
