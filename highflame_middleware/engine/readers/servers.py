"""What is risky about an MCP server, by its address, its transport and what starts it."""

# ruff: noqa: E501 - rows of a table

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from ...guard.rules import Fact
from ...types import McpContext
from ..wording.tally import Rule
from .reader import Watch

__all__ = ["SERVERS", "is_local", "judge_address", "judge_server"]

_TUNNELS = (
    *("ngrok.io", "ngrok.app", "ngrok-free.app", "trycloudflare.com", "loca.lt", "serveo.net", "localtunnel.me"),
    *(
        "webhook.site",
        "requestbin.com",
        "pipedream.net",
        "burpcollaborator.net",
        "oast.fun",
        "oast.pro",
        "interact.sh",
    ),
    *("beeceptor.com", "requestcatcher.com", "hookb.in"),
)
# Not what `is_private` says: the addresses of documentations and of a cloud's metadata are nobody's own.
_OWN = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_Q = r"[\s\"',\[\\]{1,8}"

# As a client's configuration writes what starts a server.
_ROWS: tuple[Rule, ...] = (
    Rule("inline_execution", 85, "\"bash|\"sh\"|\"cmd|\"powershell|\"zsh|/bin/sh|/bin/bash", rf"[\"/a-z.]{{2,16}}{_Q}(?:args{_Q}:?{_Q})?(?:-l)?(?:-c|/c|-command|-enc\w{{0,16}}){_Q}"),
    Rule("inline_execution", 85, "\"python|\"node\"|\"perl|\"ruby|\"deno\"|\"bun\"", rf"\"[a-z0-9.]{{2,12}}{_Q}(?:args{_Q}:?{_Q})?(?:-c|-e|--eval|-p){_Q}"),
    Rule("structured_execution", 90, "curl |wget ", r"\w{4} [^|\"]{1,160}\|\s?(?:sudo )?(?:ba|z)?sh\b"),
    Rule("structured_execution", 75, "\"preinstall\"|\"postinstall\"|ld_preload|node_options", r"[\"\w]{10,14}"),
    Rule("proxy_redirect", 70, "http_proxy|https_proxy|all_proxy", rf"[a-z]{{3,5}}_proxy{_Q}:?{_Q}?https?://(?!localhost|127\.)"),
)  # fmt: skip


def _tell(type_: str, score: int) -> dict[str, Fact]:
    risky = score >= SERVERS.reports
    return {"mcp_config_risk": risky, "mcp_risk_type": type_ if risky else "none", "mcp_risk_score": score}


SERVERS = Watch("mcp_risk", _ROWS, _tell)


def judge_server(mcp: McpContext) -> tuple[str, int]:
    """The gravest risk of a server, and its score.

    >>> judge_server(McpContext(server_name="notes", server_url="http://203.0.113.9/mcp", transport="http"))
    ('suspicious_url', 75)
    """
    found = [("none", 0)]
    if mcp.server_url:
        found.append(judge_address(mcp.server_url))
        if mcp.transport == "stdio":
            found.append(("mixed_transport", 60))
    if mcp.verified is False:
        found.append(("unverified", 30))
    return max(found, key=lambda risk: risk[1])


def judge_address(url: str) -> tuple[str, int]:
    """What is suspicious about an address, and its score; nothing is ``("none", 0)``.

    >>> judge_address("https://api.example.com/mcp"), judge_address("https://github.com@evil.example/")
    (('none', 0), ('suspicious_url', 80))
    """
    try:
        parts = urlsplit(url.strip()[:2_000])
        host, scheme = (parts.hostname or "").rstrip("."), parts.scheme.lower()
    except ValueError:
        return "suspicious_url", 75
    if scheme in ("javascript", "data", "vbscript"):
        return "suspicious_url", 90
    if "." in parts.netloc.rpartition("@")[0].partition(":")[0]:  # who is named looks like the host, and is not
        return "suspicious_url", 80
    if any(label.startswith("xn--") for label in host.split(".")) or not host.isascii():
        return "suspicious_url", 70
    if any(host == tunnel or host.endswith(f".{tunnel}") for tunnel in _TUNNELS):
        return "suspicious_url", 75
    if is_local(host):
        return "none", 0
    if _is_address(host):
        return "suspicious_url", 75
    if scheme in ("http", "ws"):
        return "suspicious_url", 50
    return "none", 0


def is_local(host: str) -> bool:
    """Whether a host is this machine, or in a network that only its owners reach.

    >>> is_local("127.0.0.1"), is_local("db.internal"), is_local("example.org")
    (True, True, False)
    """
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".svc")):
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _OWN if network.version == address.version)


def _is_address(host: str) -> bool:
    """An address in numbers; also in one number, as browsers read it."""
    if host.isdigit() or host.startswith("0x"):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
