"""Settings: arguments, then environment, then file, then defaults; read once, validated, frozen.

An omitted argument means "look further down that list"; ``None`` means off.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .errors import ConfigError
from .types import Mode, Secret

__all__ = ["DEFAULT_BASE_URLS", "GATEWAYS", "STREAMS", "UNSET", "Settings", "Unset"]


class Unset:
    """The type of `UNSET`: an argument that was not given."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()

GATEWAYS = ("highflame", "highflame-v2", "javelin", "portkey", "openai-compatible", "embedded")
GUARDS = ("embedded", "shield")
STREAMS = ("buffer", "sentence", "passthrough")
TIMINGS = ("before", "parallel")
UNPROVEN = ("refuse", "warn")
ON_UNSUPPORTED = ("direct", "translate", "refuse")
ON_BLOCKED = ("raise", "reply")

DEFAULT_BASE_URLS: Mapping[str, str] = {
    "highflame": "https://gateway.highflame.ai/llm/v1",
    "highflame-v2": "https://api.highflame.app/v1",
    "javelin": "https://api-dev.javelin.live/v1",
    "portkey": "https://api.portkey.ai/v1",
}
# Portkey's gateway also runs on one's own machine, where it asks for no key.
_PORTKEY_HERE = "http://localhost:8787/v1"
_HEADER_ROUTED = ("highflame-v2", "javelin")
# Whose key is not Highflame's, and must never be shown to it.
_FOREIGN = ("portkey", "openai-compatible")
_KEYED = ("highflame", *_HEADER_ROUTED)
_REMOTE_GATEWAYS = (*_KEYED, "portkey", "openai-compatible")

# Each setting of the environment; HIGHFLAME_BASE_URL is apart, for what it means depends on the gateway.
_ENVIRONMENT: Mapping[str, str] = {
    "API_KEY": "api_key",
    "GATEWAY": "gateway",
    "GATEWAY_URL": "base_url",
    "GUARD": "guard",
    "MODE": "mode",
    "FAIL_OPEN": "fail_open",
    "DEADLINE": "deadline",
    "ROUTE": "route",
    "VIRTUALAPIKEY": "virtual_api_key",
    "ACCOUNT_ID": "account_id",
    "PROJECT_ID": "project_id",
    "TOKEN_URL": "token_url",
    "IDENTITY_URL": "identity_url",
    "BASE_URL": "shield_url",
    "SHIELD_KEY": "shield_key",
    "ON_UNSUPPORTED": "on_unsupported",
    "ON_BLOCKED": "on_blocked",
    "POLICIES": "policies",
}
# What Portkey's own SDK reads, where nothing of ours says otherwise.
_PORTKEY_ENVIRONMENT: Mapping[str, str] = {"api_key": "PORTKEY_API_KEY", "base_url": "PORTKEY_PROXY"}
_OFF = frozenset({"none", "off"})
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The HTTP client's own: they say how a message is cut from its connection.
_FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_BEYOND_BASE = frozenset("@?#")  # credentials, a query, a fragment
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})

_warned: set[str] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, validated on construction.

    ``gateway`` is one of `GATEWAYS`, a `Gateway`, or None: then calls go where
    the client sends them, with the client's own credentials. ``base_url`` and
    ``api_key`` are the gateway's. ``deadline`` bounds one guard evaluation, in
    seconds. ``stream`` says how a guard without a window is asked about a
    stream, ``guard_timing`` whether a call waits for the verdict on its texts
    or is made beside it (``parallel``: its reply waits instead, and a text that
    would have been edited is stopped, having left already). ``only`` and
    ``exclude`` name the SDKs whose calls are caught, ``on_unproven`` says, for
    all of them or by name, what becomes of the calls of one whose seam does not
    work as it should (``refuse``, the default where the mode enforces, or
    ``warn``). ``reroute_hosts`` lists
    hosts (``host`` or ``host:port``; ``*`` for all) whose calls go to the
    gateway although they are none of the provider's own: self-hosted base URLs
    are left alone unless they stand here.

    ``headers`` go along with every call to the gateway. ``on_unsupported`` says
    what becomes of a call in a format that the gateway does not carry:
    ``direct`` to the client's own host, ``translate`` into a format that it
    does carry (and ``direct`` where that cannot be), or ``refuse``; ``carries``
    names formats (a codec, a family such as ``anthropic``, or ``*``) that this
    very gateway does carry although gateways of its kind need not, ``lacks``
    those that it does not although others do. ``on_blocked`` says
    whether a gateway's refusal is raised or handed on as a marked reply.
    ``on_decision`` is called with the `DecisionEvent` of every evaluation, on
    the thread or loop that made it; what it raises is logged and changes nothing.
    ``shield_url``, ``shield_key`` and ``token_url`` are Highflame Shield's, which
    ``guard="shield"`` asks; the key is ``api_key`` where that is Highflame's as well.
    ``guard_options`` are those of `EmbeddedGuard`, by name; ``sessions`` may be a
    ``redis://`` URL. ``policies`` are files and folders of Cedar policies that it
    decides by (the extra ``policy``), ``default`` the templates of highflame-policy.
    ``providers`` are the embedded gateway's, ``default_provider`` the one that
    takes calls naming none, and ``gateway_keys`` what callers of its HTTP door
    must present one of.

    >>> Settings(mode="monitor").mode
    <Mode.MONITOR: 'monitor'>
    >>> Settings(mode="watch")
    Traceback (most recent call last):
    highflame_middleware.errors.ConfigError: mode='watch' is unknown: use one of enforce, monitor, alert, modify
    """

    gateway: Any = None
    base_url: str | None = None
    api_key: Secret | None = None
    route: str | None = None
    virtual_api_key: Secret | None = None
    account_id: str | None = None
    project_id: str | None = None
    guard: Any = "embedded"
    mode: Mode = Mode.ENFORCE
    fail_open: bool = False
    deadline: float = 2.0
    stream: str = "buffer"
    guard_timing: str = "before"
    only: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    on_unproven: str | Mapping[str, str] | None = None
    reroute_hosts: tuple[str, ...] = ()
    shield_url: str | None = None
    shield_key: Secret | None = None
    token_url: str | None = None
    identity_url: str | None = None
    guard_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    policies: tuple[str, ...] = ()
    providers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    default_provider: str | None = None
    gateway_keys: tuple[Secret, ...] = ()
    headers: Mapping[str, Secret] = field(default_factory=dict)
    carries: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    on_unsupported: str = "direct"
    on_blocked: str = "raise"
    on_decision: Callable[[Any], object] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, read in _READERS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, read(name, value))
            elif name in _REQUIRED:
                raise ConfigError(f"{name}=None is not possible: {_REQUIRED[name]}")
        if self.gateway == "openai-compatible" and self.base_url is None:
            raise ConfigError(
                "gateway='openai-compatible' needs to know where it is: give base_url= or set HIGHFLAME_GATEWAY_URL"
            )
        if self.base_url is not None and not (self.gateway is None or self.gateway in _REMOTE_GATEWAYS):
            raise ConfigError("base_url does not go with the embedded gateway: its upstreams stand under providers")
        if self.gateway is None and self.base_url is not None:
            raise ConfigError(
                f"base_url={self.base_url!r} without a gateway: give gateway= as well, or leave it out"
            )
        if self.gateway in _KEYED and self.api_key is None:
            raise ConfigError(f"gateway={self.gateway!r} needs a key: give api_key= or set HIGHFLAME_API_KEY")
        if self.guard == "shield" and self.key_for_shield is None:
            raise ConfigError(
                "guard='shield' needs a key: give shield_key= or set HIGHFLAME_SHIELD_KEY"
                if self.gateway in _FOREIGN
                else "guard='shield' needs a key: give api_key= or set HIGHFLAME_API_KEY"
            )

    @property
    def gateway_url(self) -> str | None:
        """Where the gateway is reached, or nothing where no socket is needed."""
        if self.gateway not in _REMOTE_GATEWAYS:
            return None
        if self.gateway == "portkey" and self.api_key is None:
            return self.base_url or _PORTKEY_HERE
        return self.base_url or DEFAULT_BASE_URLS.get(self.gateway)

    @property
    def key_for_shield(self) -> Secret | None:
        """What Shield is asked with: its own key, or the gateway's where that is Highflame's too."""
        if self.shield_key is not None or self.gateway in _FOREIGN:
            return self.shield_key
        return self.api_key

    @classmethod
    def load(
        cls,
        *,
        file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> Settings:
        """Settings from arguments, environment, file and defaults, in this order.

        ``file`` is a TOML file that must exist; without it ``highflame.toml``
        and then ``[tool.highflame]`` of ``pyproject.toml`` are looked for in the
        working directory. Arguments that are `UNSET` count as omitted.

        >>> Settings.load(environ={"HIGHFLAME_MODE": "monitor"}, deadline=0.5).mode
        <Mode.MONITOR: 'monitor'>
        """
        given = {name: value for name, value in arguments.items() if value is not UNSET}
        _refuse_unknown(given, "argument")
        variables = os.environ if environ is None else environ
        found = _settle_gateway(_read_file(file), _read_environment(variables), given)
        if found.get("gateway") == "portkey":
            for name, variable in _PORTKEY_ENVIRONMENT.items():
                if name not in found and (value := variables.get(variable, "").strip()):
                    found[name] = value
        return cls(**found)

    def with_changes(self, **changes: Any) -> Settings:
        """These settings with some replaced; values that are `UNSET` change nothing."""
        given = {name: value for name, value in changes.items() if value is not UNSET}
        _refuse_unknown(given, "argument")
        return replace(self, **given)


def _settle_gateway(file: dict[str, Any], environ: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Which gateway is meant where none is named: a key means Highflame's, a URL alone an OpenAI-compatible one."""
    found = {**file, **environ, **arguments}
    if "gateway" not in found:
        if found.get("api_key"):
            found["gateway"] = "highflame"
        elif found.get("base_url"):
            found["gateway"] = "openai-compatible"
    named = environ.get("shield_url")
    if named and found.get("gateway") in _HEADER_ROUTED and "base_url" not in environ | arguments:
        # To these two HIGHFLAME_BASE_URL has always been the gateway's; the setting shield_url never is.
        found["base_url"] = named
        found["shield_url"] = arguments.get("shield_url", file.get("shield_url"))
    if "gateway" in arguments and arguments["gateway"] is None:
        # Nor are its key and its URL, by the same variables, for anybody else to be shown, or to be asked.
        meant = {**file, **environ}.get("gateway")
        if meant in _FOREIGN and "api_key" not in arguments:
            found.pop("api_key", None)
        if meant in _HEADER_ROUTED and "shield_url" in environ:
            found["shield_url"] = arguments.get("shield_url", file.get("shield_url"))
    if found.get("gateway") is None and "base_url" not in arguments:
        # Turned off by an argument: where the environment's gateway would have been does not matter any more.
        found.pop("base_url", None)
    return found


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for suffix, name in _ENVIRONMENT.items():
        new, old = f"HIGHFLAME_{suffix}", f"JAVELIN_{suffix}"
        # An empty variable is how many tools write one that is not set.
        value = environ.get(new, "").strip()
        if not value and (value := environ.get(old, "").strip()) and old not in _warned:
            _warned.add(old)
            warnings.warn(f"{old} is the old name of {new}; it still works", DeprecationWarning, stacklevel=4)
        if value:
            found[name] = _or_off(name, value)
    return found


def _or_off(name: str, value: Any) -> Any:
    """None where a setting that can be turned off is, in words: neither TOML nor the environment has a None."""
    off = isinstance(value, str) and value.strip().lower() in _OFF and name not in _REQUIRED
    return None if off else value


def _read_file(file: str | os.PathLike[str] | None) -> dict[str, Any]:
    if file is not None:
        return _read_toml(Path(file), ())
    if (here := Path("highflame.toml")).is_file():
        return _read_toml(here, ())
    if (here := Path("pyproject.toml")).is_file() and b"[tool.highflame" in here.read_bytes():
        return _read_toml(here, ("tool", "highflame"))
    return {}


def _read_toml(path: Path, table: tuple[str, ...]) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only where there is a file

    try:
        found: Any = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"the settings file {str(path)!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {str(path)!r} is not valid TOML: {error}") from error
    for key in table:
        found = found.get(key, {})
    if not isinstance(found, dict):
        raise ConfigError(f"[{'.'.join(table)}] in {str(path)!r} is no table of settings")
    _refuse_unknown(found, f"setting in {str(path)!r}")
    return {name: _or_off(name, value) for name, value in found.items()}


def _refuse_unknown(found: Mapping[str, Any], what: str) -> None:
    known = [item.name for item in fields(Settings)]
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"{name!r} is an unknown {what}: {hint}")


def _read_choice(known: tuple[str, ...], unless: Callable[[Any], bool]) -> Callable[[str, Any], Any]:
    def read(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            if unless(value):
                return value
            raise ConfigError(
                f"{name}={value!r} cannot be used: give one of {', '.join(known)}, or a suitable object"
            )
        if value not in known:
            raise ConfigError(f"{name}={value!r} is unknown: use one of {', '.join(known)}")
        return value

    return read


def _read_mode(name: str, value: Any) -> Mode:
    try:
        return Mode(value)
    except ValueError:
        raise ConfigError(f"{name}={value!r} is unknown: use one of {', '.join(Mode)}") from None


def _read_bool(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise ConfigError(f"{name}={value!r} is neither true nor false")


def _read_deadline(name: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds <= 600:
        raise ConfigError(
            f"{name}={value!r} cannot be used: give seconds above 0, at most 600; every wait is bounded"
        )
    return seconds


def _read_url(name: str, value: Any) -> str:
    url = str(value).strip()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ConfigError(f"{name} is not a URL: it must begin with http:// or https:// and name a host")
    if not _BEYOND_BASE.isdisjoint(url):
        raise ConfigError(f"{name} must be a plain base URL, without credentials, query or fragment")
    return url.rstrip("/")


def _read_secret(name: str, value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} must be a string that is not empty")
    if not _sendable(value.strip()):
        raise ConfigError(f"{name} holds characters that no HTTP header may carry")
    return Secret(value.strip())


def _read_name(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not _sendable(value):
        raise ConfigError(f"{name}={value!r} cannot be used: it is sent as a header, so give printable ASCII")
    return value.strip()


def _sendable(value: str) -> bool:
    """Whether an HTTP header may carry a value."""
    return value.isascii() and value.isprintable()


def _read_list(value: Any) -> tuple[Any, ...] | None:
    """The items of a list or of its like, or nothing for what is none: a string is one thing, not many."""
    if isinstance(value, str | bytes | Mapping | Secret) or not isinstance(value, Iterable):
        return None
    return tuple(value)


def _read_hosts(name: str, value: Any) -> tuple[str, ...]:
    hosts = _read_list(value)
    if hosts is None or not all(isinstance(item, str) and item.strip() and "/" not in item for item in hosts):
        raise ConfigError(f"{name}={value!r} cannot be used: give a list of 'host' or 'host:port'")
    return tuple(item.strip().lower() for item in hosts)


def _read_names(name: str, value: Any) -> tuple[str, ...]:
    names = _read_list(value)
    if names is None or not all(isinstance(item, str) and item.strip() for item in names):
        raise ConfigError(f"{name}={value!r} cannot be used: give a list of names of SDKs")
    return tuple(item.strip().lower() for item in names)


def _read_unproven(name: str, value: Any) -> str | Mapping[str, str]:
    table = value if isinstance(value, Mapping) else {"": value}
    if not all(isinstance(sdk, str) and choice in UNPROVEN for sdk, choice in table.items()):
        raise ConfigError(f"{name}={value!r} cannot be used: give one of {', '.join(UNPROVEN)}, or a table by SDK")
    return dict(table) if isinstance(value, Mapping) else str(value)


def _read_hook(name: str, value: Any) -> Any:
    if not callable(value):
        raise ConfigError(f"{name}={value!r} cannot be called: give a function that takes a DecisionEvent")
    if inspect.iscoroutinefunction(value):
        raise ConfigError(f"{name} is asynchronous: give a plain function; it may start a task of its own")
    return value


def _read_secrets(name: str, value: Any) -> tuple[Secret, ...]:
    keys = _read_list(value)
    if keys is None:
        raise ConfigError(f"{name} must be a list of keys")
    return tuple(_read_secret(name, item) for item in keys)


def _read_headers(name: str, value: Any) -> Mapping[str, Secret]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a table of header names and values")
    found = {}
    for header, content in value.items():
        if not isinstance(header, str) or not _HEADER.fullmatch(header) or header.lower() in _FRAMING_HEADERS:
            raise ConfigError(f"{name}: {header!r} is no header that can be set here")
        found[header.lower()] = _read_secret(f"{name}[{header!r}]", content)
    return found


def _read_formats(name: str, value: Any) -> tuple[str, ...]:
    formats = _read_list(value)
    if formats is None or not all(isinstance(item, str) and item.strip() for item in formats):
        raise ConfigError(f"{name}={value!r} cannot be used: give a list of formats, such as 'anthropic', or '*'")
    return tuple(item.strip().lower() for item in formats)


def _read_table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a table of {_TABLES[name]} by name")
    return dict(value)


def _read_policies(name: str, value: Any) -> tuple[str, ...]:
    # In the environment they are one string, as the folders of PATH are.
    paths = _read_list(value.split(os.pathsep) if isinstance(value, str) else value)
    if paths is None or not all(isinstance(item, str | os.PathLike) and str(item).strip() for item in paths):
        raise ConfigError(f"{name}={value!r} cannot be used: give a list of files and folders, or 'default'")
    return tuple(str(item).strip() for item in paths)


_TABLES: Mapping[str, str] = {"providers": "providers", "guard_options": "options"}
_REQUIRED: Mapping[str, str] = {
    "mode": f"use one of {', '.join(Mode)}",
    "fail_open": "use true or false",
    "deadline": "give seconds; every wait is bounded",
    "stream": f"use one of {', '.join(STREAMS)}",
    "guard_timing": f"use one of {', '.join(TIMINGS)}",
    "exclude": "give an empty list",
    "reroute_hosts": "give an empty list",
    "providers": "give an empty table",
    "guard_options": "give an empty table",
    "policies": "give an empty list",
    "gateway_keys": "give an empty list",
    "headers": "give an empty table",
    "carries": "give an empty list",
    "lacks": "give an empty list",
    "on_unsupported": f"use one of {', '.join(ON_UNSUPPORTED)}",
    "on_blocked": f"use one of {', '.join(ON_BLOCKED)}",
}
_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "gateway": _read_choice(GATEWAYS, unless=callable),
    "base_url": _read_url,
    "api_key": _read_secret,
    "route": _read_name,
    "virtual_api_key": _read_secret,
    "account_id": _read_name,
    "project_id": _read_name,
    "guard": _read_choice(GUARDS, unless=lambda value: callable(value) or _judges(value)),
    "mode": _read_mode,
    "fail_open": _read_bool,
    "deadline": _read_deadline,
    "stream": _read_choice(STREAMS, unless=lambda _: False),
    "guard_timing": _read_choice(TIMINGS, unless=lambda _: False),
    "only": _read_names,
    "exclude": _read_names,
    "on_unproven": _read_unproven,
    "reroute_hosts": _read_hosts,
    "shield_url": _read_url,
    "shield_key": _read_secret,
    "token_url": _read_url,
    "identity_url": _read_url,
    "providers": _read_table,
    "guard_options": _read_table,
    "policies": _read_policies,
    "default_provider": _read_name,
    "gateway_keys": _read_secrets,
    "headers": _read_headers,
    "carries": _read_formats,
    "lacks": _read_formats,
    "on_unsupported": _read_choice(ON_UNSUPPORTED, unless=lambda _: False),
    "on_blocked": _read_choice(ON_BLOCKED, unless=lambda _: False),
    "on_decision": _read_hook,
}


def _judges(value: Any) -> bool:
    return hasattr(value, "evaluate") or hasattr(value, "aevaluate")
