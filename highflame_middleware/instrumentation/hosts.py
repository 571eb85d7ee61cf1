"""The seam of whoever uses httpx or httpx2 alone: untagged requests to an LLM host, one call for each ``send``.

It is also the net below the other seams: a request of theirs that lost its tag,
or of an SDK too old to be patched, is caught here. Only requests to a path
whose format is known are; models, uploads and an SDK's own telemetry pass
untouched, and so do forms, whose texts stand between files. Nothing of the
pipeline is loaded before the first such request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..codecs import codec_for_path
from ..config import Settings
from ..route import PROVIDERS, Origin, provider_of
from ..route.origins import listed
from .patches import Patches

if TYPE_CHECKING:
    from .logical import Door

__all__ = ["patch_send"]

# Azure's is OpenAI's API.
_SPEAKERS = {"azure": "openai"}


def patch_send(
    module: ModuleType,
    patches: Patches,
    settings: Settings,
    opened: Callable[[], Door | None],
    *,
    left_alone: tuple[str, ...] = (),
) -> None:
    """Patch the clients of httpx or httpx2.

    ``opened`` gives the door, or nothing while calls are not caught;
    ``left_alone`` is how SDKs name themselves whose calls are not to be caught.
    """
    spoken_by = _speakers(settings)

    def caught(request: Any) -> tuple[Door, str] | None:
        """The door for a request that is a call, and whose format it is in."""
        url = request.url
        spoken = spoken_by(url.scheme, url.netloc.decode("ascii"))
        if spoken is None or not _is_call(request, spoken) or _is_from(request, left_alone):
            return None
        if (door := opened()) is None:
            return None
        return None if _is_in_hand(request) else (door, spoken or _maker(url.raw_path.decode("ascii")))

    def blocking(original: Any) -> Callable[..., Any]:
        def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            below = original.__get__(self, type(self))
            if (found := caught(request)) is None:
                return below(request, *args, **kwargs)
            from .prepared import read_request, send_guarded  # noqa: PLC0415

            call = read_request(found[0], request, spoken=found[1])
            return send_guarded(call, request, lambda sent: below(sent, *args, **kwargs))

        return send

    def asynchronous(original: Any) -> Callable[..., Awaitable[Any]]:
        async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            below = original.__get__(self, type(self))
            if (found := caught(request)) is None:
                return await below(request, *args, **kwargs)
            from .prepared import asend_guarded, read_request  # noqa: PLC0415

            call = read_request(found[0], request, spoken=found[1])
            return await asend_guarded(call, request, lambda sent: below(sent, *args, **kwargs))

        return send

    patches.replace(module.Client, "send", blocking)
    patches.replace(module.AsyncClient, "send", asynchronous)


def _speakers(settings: Settings) -> Callable[[str, str], str | None]:
    """Which provider's formats are spoken at a host: empty where the path must say it, None at no LLM host."""
    gateway = Origin.of(settings.gateway_url) if settings.gateway_url else None

    @lru_cache(maxsize=1024)
    def speaker(scheme: str, address: str) -> str | None:
        origin = Origin.of(f"{scheme}://{address}")
        if gateway is not None and (origin.scheme, origin.address) == (gateway.scheme, gateway.address):
            # Who asks the gateway by himself has its guard.
            return None
        provider = provider_of(origin)
        if provider is None:
            return "" if listed(origin, settings.reroute_hosts) else None
        name = next(name for name, known in PROVIDERS.items() if known is provider)
        return _SPEAKERS.get(name, name)

    return speaker


def _is_call(request: Any, spoken: str) -> bool:
    if codec_for_path(request.url.raw_path.decode("ascii"), spoken=spoken) is None:
        return False
    return not request.headers.get("content-type", "").lower().startswith("multipart/")


def _is_from(request: Any, agents: tuple[str, ...]) -> bool:
    """Whether a request names one of these SDKs as its maker: in one header or, older ones of Fern's, in two."""
    headers = request.headers
    named = f"{headers.get('x-fern-sdk-name', '')} {headers.get('user-agent', '')}".lower()
    return any(agent in named for agent in agents)


def _maker(path: str) -> str:
    """Whose format a path is of."""
    codec = codec_for_path(path, spoken="")
    return codec.provider if codec is not None and codec.provider in PROVIDERS else "openai"


def _is_in_hand(request: Any) -> bool:
    """Whether a request is one of a call that has been caught already."""
    from .logical import under_way  # noqa: PLC0415
    from .prepared import is_seen  # noqa: PLC0415

    call, url = under_way(), request.url
    if is_seen(request):
        return True
    address, path = url.netloc.decode("ascii"), url.raw_path.decode("ascii")
    return call is not None and call.sends_to(url.scheme, address, path)
