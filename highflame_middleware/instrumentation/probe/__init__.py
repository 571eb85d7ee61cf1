"""Proving the seams on the installed versions: real clients, a transport that notes what would have been sent.

No network: the proof is that a call reaches the guard, that its request is
addressed to the gateway, and that its reply is guarded, blocking and not,
streamed and not. The SDK must be patched; whatever instrumentation patched it
is stood in for, so that neither its guard nor its traces see the probe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from ...config import Settings
from ...exchange import Policy
from ...guard.protocol import bind
from ...telemetry import unobserved
from ...types import Secret
from ..logical import STAND_IN, Door
from .witness import Cases, UntriedError, Witness

__all__ = ["PROBES", "Proof", "prove"]

_GATEWAY = "http://gateway.invalid/v1"
# The longest that a proof may take; it makes a few calls that never leave the process.
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Whether one way of calling an SDK is caught; ``detail`` says what was missing."""

    sdk: str
    case: str
    proven: bool
    detail: str = ""


# The module that has the cases of each SDK; it imports nothing of the SDK before a case is run.
_HOMES: Mapping[str, str] = {
    "aiobotocore": "amazon",
    "anthropic": "stainless",
    "botocore": "amazon",
    "cohere": "plain",
    "google-genai": "google",
    "groq": "stainless",
    "mistralai": "plain",
    "openai": "stainless",
    "together": "stainless",
}
PROBES = frozenset(_HOMES)


def prove(sdk: str) -> list[Proof]:
    """Prove the seam of one SDK that is patched, case by case; of some old versions nothing can be proven.

    >>> from highflame_middleware import instrument
    >>> with instrument(guard=None):
    ...     all(proof.proven for proof in prove("openai"))
    True
    """
    cases: Cases = import_module(f".{_HOMES[sdk]}", __name__).CASES[sdk]
    proofs: list[Proof] = []
    # On a thread of its own: there may be an event loop on this one, and a call under way.
    thread = threading.Thread(
        target=lambda: proofs.extend(filter(None, (_prove(sdk, case, call) for case, call in cases.items()))),
        daemon=True,
    )
    thread.start()
    thread.join(_PATIENCE)
    if thread.is_alive():
        return [Proof(sdk=sdk, case="any", proven=False, detail=f"no end after {_PATIENCE:g} s")]
    return proofs


def _prove(sdk: str, case: str, call: Callable[[Witness], str]) -> Proof | None:
    witness = Witness()
    door = Door(
        settings=Settings(
            gateway="openai-compatible",
            base_url=_GATEWAY,
            api_key=Secret("probe"),
            reroute_hosts=("*",),
            carries=("*",),
        ),
        policy=Policy(guard=bind(witness)),
        active=lambda: True,
        quiet=True,
    )
    token = STAND_IN.set(door)
    try:
        with unobserved():
            detail = witness.missing(call(witness))
    except UntriedError:
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        detail = f"{type(error).__name__}: {error}"
    finally:
        STAND_IN.reset(token)
    return Proof(sdk=sdk, case=case, proven=not detail, detail=detail)
