"""Proving the seams on the installed versions: real clients, a transport that notes what would have been sent.

No network: the proof is that a call reaches the guard, that its request is
addressed to the gateway, and that its reply is guarded, blocking and not,
streamed and not. Run where nothing is instrumented.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from ..config import Settings
from ..gateway.messages import Request
from ..gateway.scripted import play
from ..types import Decision, GuardRequest, GuardResponse, Secret, Stage
from . import instrument

__all__ = ["PROBES", "Proof", "prove"]

_GATEWAY = "http://gateway.invalid/v1"
_PROVIDER = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Whether one way of calling an SDK is caught; ``detail`` says what was missing."""

    sdk: str
    case: str
    proven: bool
    detail: str = ""


class _Witness:
    """A guard that notes what it is asked, and redacts every reply, so that its edit must come through."""

    name = "witness"
    local = True

    def __init__(self) -> None:
        self.stages: list[Stage | None] = []
        self.hosts: list[str] = []

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        self.stages.append(request.stage)
        if request.stage is Stage.RESPONSE:
            return GuardResponse(decision=Decision.MODIFY, redacted_content="guarded")
        return GuardResponse(decision=Decision.ALLOW)

    def answer(self, request: Any) -> tuple[int, list[tuple[str, str]], bytes]:
        """Stand in for the gateway."""
        self.hosts.append(request.url.host)
        path = request.url.raw_path.decode("ascii").partition("?")[0]
        scene = play(({"text": "unguarded"},), Request(method=request.method, path=path, body=request.content))
        return scene.status, list(scene.headers), b"".join(frame for _, frame in scene.frames)

    def missing(self, text: str) -> str:
        """What a call that gave ``text`` to its caller has not shown."""
        faults = {
            "the prompt was not guarded": Stage.PROMPT not in self.stages,
            "the reply was not guarded": text != "guarded",
            "the request was not addressed to the gateway": self.hosts != ["gateway.invalid"],
        }
        return "; ".join(fault for fault, found in faults.items() if found)


def prove(sdk: str) -> list[Proof]:
    """Prove the seam of one installed SDK, case by case. The process must not be instrumented.

    >>> all(proof.proven for proof in prove("openai"))
    True
    """
    settings = Settings(
        gateway="openai-compatible", base_url=_GATEWAY, api_key=Secret("probe"), reroute_hosts=("*",), guard=None
    )
    proofs = []
    for case, call in PROBES[sdk].items():
        witness = _Witness()
        with instrument(settings=settings.with_changes(guard=witness)):
            try:
                detail = witness.missing(call(witness))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
                detail = f"{type(error).__name__}: {error}"
        proofs.append(Proof(sdk=sdk, case=case, proven=not detail, detail=detail))
    return proofs


_MESSAGES: Any = [{"role": "user", "content": "a prompt"}]


def _openai(witness: _Witness, *, asynchronous: bool) -> Any:
    openai = import_module("openai")
    kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    # Whichever of the two HTTP libraries this SDK builds its own clients on.
    base = (openai.DefaultAsyncHttpxClient if asynchronous else openai.DefaultHttpxClient).__mro__
    name = next(cls.__module__.partition(".")[0] for cls in base if cls.__module__.startswith("httpx"))
    module = sys.modules[name]

    def blocking(request: Any) -> Any:
        status, headers, content = witness.answer(request)
        return module.Response(status, headers=headers, content=content)

    async def awaited(request: Any) -> Any:
        return blocking(request)

    transport = module.MockTransport(awaited if asynchronous else blocking)
    client = (module.AsyncClient if asynchronous else module.Client)(transport=transport, trust_env=False)
    return kind(api_key="probe", base_url=_PROVIDER, http_client=client, max_retries=0)


def _plain(witness: _Witness) -> str:
    with _openai(witness, asynchronous=False) as client:
        reply = client.chat.completions.create(model="probe", messages=_MESSAGES)
    return str(reply.choices[0].message.content)


def _streamed(witness: _Witness) -> str:
    with _openai(witness, asynchronous=False) as client:
        chunks = list(client.chat.completions.create(model="probe", messages=_MESSAGES, stream=True))
    return _joined(chunks)


def _awaited(witness: _Witness) -> str:
    async def call() -> str:
        async with _openai(witness, asynchronous=True) as client:
            reply = await client.chat.completions.create(model="probe", messages=_MESSAGES)
        return str(reply.choices[0].message.content)

    return asyncio.run(call())


def _streamed_awaited(witness: _Witness) -> str:
    async def call() -> str:
        async with _openai(witness, asynchronous=True) as client:
            stream = await client.chat.completions.create(model="probe", messages=_MESSAGES, stream=True)
            return _joined([chunk async for chunk in stream])

    return asyncio.run(call())


def _joined(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


PROBES: Mapping[str, Mapping[str, Callable[[_Witness], str]]] = MappingProxyType(
    {
        "openai": {
            "blocking": _plain,
            "blocking stream": _streamed,
            "async": _awaited,
            "async stream": _streamed_awaited,
        }
    }
)
