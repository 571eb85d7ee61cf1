"""The console script: ``demo``, ``serve``, ``doctor`` and ``guard``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ._version import __version__
from .config import Settings
from .errors import ConfigError, HighflameError
from .types import GuardRequest, Stage

__all__ = ["main"]

OK, BLOCKED, FAILED = 0, 3, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 well, 1 a fault, 2 wrong usage, 3 blocked by the guard.

    >>> main(["guard", "Hello!"])
    allow
    0
    """
    given = _parser().parse_args(arguments)
    try:
        return _COMMANDS[given.command](given)
    except HighflameError as error:
        print(f"highflame-middleware: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="highflame-middleware", description="Guard, route and trace the LLM calls of Python programs."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="show what the library does, on this machine, with no account and no network")
    serve = commands.add_parser("serve", help="serve the embedded gateway, and the guard as Shield")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8787)
    serve.add_argument("--config", metavar="FILE", help="settings file (default: highflame.toml or pyproject.toml)")
    doctor = commands.add_parser("doctor", help="check versions, prove the seams, see whether the gateway is there")
    doctor.add_argument(
        "--config", metavar="FILE", help="settings file (default: highflame.toml or pyproject.toml)"
    )
    guard = commands.add_parser("guard", help="ask the embedded guard about a text")
    guard.add_argument("text", help="the text, or - to read standard input")
    guard.add_argument("--stage", choices=[stage.value for stage in Stage], default=Stage.PROMPT.value)
    guard.add_argument("--json", action="store_true", help="print the whole verdict as JSON")
    return parser


def _demo(_given: argparse.Namespace) -> int:
    from .demo import run_demo  # noqa: PLC0415

    return run_demo()


def _serve(given: argparse.Namespace) -> int:
    from .extras import require  # noqa: PLC0415
    from .gateway import Gateway  # noqa: PLC0415
    from .policy import guard_of  # noqa: PLC0415

    settings = Settings.load(file=given.config, gateway=None)
    # One guard for both doors: a session that goes through both is one session.
    guard = guard_of(settings)
    gateway = Gateway(settings=settings.with_changes(guard=guard))
    if not gateway.providers and guard is None:
        raise ConfigError(
            "there is nothing to serve: the settings name no [providers.NAME] (see docs/gateway.md), and no guard"
        )
    exposed = not _is_loopback(given.host)
    if gateway.lends_keys and not gateway.asks_for_keys and exposed:
        raise ConfigError(
            f"--host {given.host} would let anybody who reaches it use the providers' keys: "
            "set gateway_keys, or serve on 127.0.0.1"
        )
    if not gateway.providers and not gateway.asks_for_keys and exposed:
        raise ConfigError(
            f"on --host {given.host} Shield answers nobody who has no key: set gateway_keys, or serve on 127.0.0.1"
        )
    uvicorn = require("uvicorn", extra="gateway", needed="uvicorn>=0.30")
    app: Any = gateway
    here = f"http://{given.host}:{given.port}"
    guarding = "no guard" if guard is None else f"guard {settings.guard}, mode {settings.mode}"
    if gateway.providers:
        print(f"gateway on {here}/v1 ({', '.join(gateway.providers)}; {guarding})")
    if guard is not None:
        from .shield_server import Front  # noqa: PLC0415

        shield = _shield(settings, guard)
        app = Front(shield, gateway) if gateway.providers else shield
        asked = "keys: gateway_keys" if shield.asks_for_keys else "no keys: for this machine only"
        print(f"shield on {here}/v1/shield ({guarding}; {asked}; tokens: {here}/oauth2/token)")
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")
    return OK


def _shield(settings: Settings, guard: Any) -> Any:
    from .shield_server import Key, ShieldApp  # noqa: PLC0415

    account, project = settings.account_id or "", settings.project_id or ""
    return ShieldApp(
        guard=guard,
        keys=[Key(secret=key, account_id=account, project_id=project) for key in settings.gateway_keys],
        mode=settings.mode,
        deadline=settings.deadline,
        on_decision=settings.on_decision,
    )


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _doctor(given: argparse.Namespace) -> int:
    settings = Settings.load(file=given.config)
    print(f"highflame-middleware {__version__}, Python {platform.python_version()} on {platform.system()}")
    print("versions    " + ", ".join(f"{name} {version}" for name, version in _versions()))
    gateway = settings.gateway if isinstance(settings.gateway, str | None) else "a Gateway of this process"
    print(f"settings    gateway {gateway or 'none'}, guard {settings.guard or 'none'}, mode {settings.mode},")
    print(f"            fail_open {str(settings.fail_open).lower()}, deadline {settings.deadline:g} s")
    if settings.gateway is not None:
        print(f"            {_carried(settings)}")
    if unused := _unused(settings):
        print(f"            set, but read by nothing in this version: {', '.join(unused)}")
    faults = [*_prove_seams(), *_prove_adapters(), *_reach_gateway(settings), *_reach_shield(settings)]
    print("all well" if not faults else f"{len(faults)} fault(s)")
    return OK if not faults else FAILED


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in ("openai", "httpx", "httpx2", "wrapt", "opentelemetry-api", "fastapi", "uvicorn"):
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append((name, "absent"))
    return found


def _unused(settings: Settings) -> list[str]:
    """Settings that the chosen gateway and guard do not look at."""
    asks_shield = settings.guard == "shield"
    later = ["identity_url"]
    if not asks_shield:
        later += ["shield_url", "shield_key", "token_url", "project_id"]
    if settings.gateway not in ("highflame-v2", "javelin"):
        if not asks_shield:
            later.append("account_id")
        if settings.gateway != "portkey":
            later += ["route", "virtual_api_key"]
    if settings.gateway_url is None:
        later.append("headers")
    if settings.gateway is None:
        later += ["carries", "lacks"]
        if not asks_shield or settings.shield_key is not None:
            later.append("api_key")
    return [name for name in later if getattr(settings, name)]


def _carried(settings: Settings) -> str:
    """What goes through the gateway, and what becomes of the rest."""
    from .route import DIALECTS  # noqa: PLC0415

    name = settings.gateway if isinstance(settings.gateway, str) else "embedded"
    formats = ", ".join((*DIALECTS[name].carries, *settings.carries))
    lacking = "".join(f" (without {format_})" for format_ in (*DIALECTS[name].lacks, *settings.lacks))
    rest = _UNSUPPORTED[settings.on_unsupported]
    return f"carries {formats}{lacking}; other formats are {rest}, its refusals {_SAID[settings.on_blocked]}"


_UNSUPPORTED = {
    "direct": "sent to their own hosts",
    "translate": "translated, or sent to their own hosts",
    "refuse": "refused",
}
_SAID = {"raise": "raised", "reply": "handed on as a marked reply"}


# The adapters for agent frameworks: each proves that the installed framework enforces a denial.
_ADAPTERS = {"crewai": "highflame_crewai", "langchain": "highflame_langgraph"}


def _prove_adapters() -> list[str]:
    faults = []
    for framework, adapter in _ADAPTERS.items():
        try:
            version = metadata.version(framework)
        except metadata.PackageNotFoundError:
            print(f"adapter     {framework}: absent")
            continue
        try:
            found = import_module(adapter).self_test()
        except (HighflameError, ImportError) as error:
            missing = [str(error)]
        else:
            missing = [point for point, held in (found or {}).items() if not held]
        print(f"adapter     {framework} {version}: {'proven' if not missing else 'NOT proven'}")
        for point in missing:
            print(f"            {point}")
            faults.append(f"{framework} {point}")
    return faults


def _prove_seams() -> list[str]:
    from .instrumentation import instrument  # noqa: PLC0415
    from .instrumentation.probe import PROBES, prove  # noqa: PLC0415

    faults = []
    with instrument(settings=Settings(guard=None)) as handle:
        for sdk, status in handle.status().items():
            if status.state == "absent":
                print(f"seam        {status}")
                continue
            if status.state == "too old":
                print(f"seam        {status}")
                faults.append(str(status))
                continue
            proofs = prove(sdk) if sdk in PROBES else []
            if not proofs:
                print(f"seam        {status} (nothing proves it here)")
                continue
            missing = [proof for proof in proofs if not proof.proven]
            state = f"proven ({', '.join(proof.case for proof in proofs)})" if not missing else "NOT proven"
            print(f"seam        {sdk} {status.version}: {state}")
            for proof in missing:
                print(f"            {proof.case}: {proof.detail}")
                faults.append(f"{sdk} {proof.case}")
    return faults


def _reach_gateway(settings: Settings) -> list[str]:
    url = settings.gateway_url
    if url is None:
        where = "in this process" if settings.gateway is not None else "none: calls keep their own base URL"
        print(f"gateway     {where}")
        return []
    import httpx  # noqa: PLC0415

    host = urlsplit(url).netloc
    try:
        # Any answer will do: whether the key is right shows only in a call, which costs.
        status = httpx.get(url, timeout=5.0, follow_redirects=False).status_code
    except httpx.HTTPError as error:
        print(f"gateway     {host}: not reachable ({type(error).__name__})")
        return ["gateway"]
    print(f"gateway     {host}: reachable (answered {status})")
    return []


def _reach_shield(settings: Settings) -> list[str]:
    if settings.guard != "shield":
        return []
    from .shield.client import Highflame  # noqa: PLC0415

    # Unlike the gateway, Shield has a question that costs nothing: whether the key is right shows as well.
    with Highflame(settings=settings, timeout=10.0, max_retries=0) as client:
        host = urlsplit(client.base_url).netloc
        try:
            detectors = client.detectors.list()
        except HighflameError as error:
            print(f"shield      {host}: {error}")
            return ["shield"]
    print(f"shield      {host}: reachable, takes the key ({len(detectors)} detectors)")
    return []


def _guard(given: argparse.Namespace) -> int:
    from .engine import EmbeddedGuard  # noqa: PLC0415

    text = sys.stdin.read() if given.text == "-" else given.text
    verdict = EmbeddedGuard().evaluate(GuardRequest.at(Stage(given.stage), text))
    if given.json:
        print(json.dumps(_plain(verdict), indent=2))
    else:
        reason = f": {verdict.policy_reason}" if verdict.policy_reason else ""
        print(f"{verdict.decision.value}{reason}")
        if verdict.redacted_content is not None:
            print(verdict.redacted_content)
    return OK if verdict.allowed else BLOCKED


def _plain(verdict: Any) -> dict[str, Any]:
    return {
        "decision": verdict.decision.value,
        "policy_reason": verdict.policy_reason,
        "signals": [
            {name: getattr(signal, name) for name in ("name", "category", "score", "severity", "context_key")}
            for signal in verdict.signals
        ],
        "redacted_content": verdict.redacted_content,
        "redaction_entries": [
            {name: getattr(entry, name) for name in ("type", "start_pos", "end_pos", "replacement")}
            for entry in verdict.redaction_entries
        ],
        "latency_ms": round(verdict.latency_ms, 3),
        "request_id": verdict.request_id,
    }


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = MappingProxyType(
    {"demo": _demo, "serve": _serve, "doctor": _doctor, "guard": _guard}
)
