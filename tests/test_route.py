"""Where a call goes: every dialect for every kind of client; nothing in a header or URL can break out."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from highflame_middleware import Gateway, Settings
from highflame_middleware.caller import CallContext
from highflame_middleware.config import DEFAULT_BASE_URLS
from highflame_middleware.route import Origin, Route, choose, deployment_of, place, provider_name, provider_of

KEY = "zid_sk_1"
V2, HF = DEFAULT_BASE_URLS["highflame-v2"], DEFAULT_BASE_URLS["highflame"]
NOBODY = CallContext()

# The clients: where each sends a chat call by itself (base URL, whether an Azure client, path and query).
OPENAI = ("https://api.openai.com/v1", False, "/v1/chat/completions")
REGIONAL = ("https://eu.api.openai.com/v1", False, "/v1/chat/completions")
AZURE = (
    "https://res.openai.azure.com/openai",
    True,
    "/openai/deployments/dep%20loy/chat/completions?api-version=2024-06-01",
)
AZURE_DEPLOYED = (
    "https://res.openai.azure.com/openai/deployments/dep",
    True,
    "/openai/deployments/dep/chat/completions?api-version=2024-06-01",
)
AZURE_PROXIED = (
    "https://res.cognitiveservices.azure.com/proxy/openai",
    True,
    "/proxy/openai/deployments/dep/chat/completions?api-version=2024-06-01&x=a%2Fb",
)
AZURE_V1 = ("https://res.openai.azure.com/openai/v1", False, "/openai/v1/chat/completions")
GEMINI = (
    "https://generativelanguage.googleapis.com/v1beta/openai",
    False,
    "/v1beta/openai/chat/completions",
)
GROQ = ("https://api.groq.com/openai/v1", False, "/openai/v1/chat/completions")
LOCAL = ("http://localhost:11434/v1", False, "/v1/chat/completions")
IPV6 = ("http://[fd00::1]:8000/llm/v1", False, "/llm/v1/chat/completions")

Client = tuple[str, bool, str]


def origin_of(client: Client) -> Origin:
    return Origin.of(client[0], azure=client[1])


def settings(gateway: str, **changes: Any) -> Settings:
    given: dict[str, Any] = {"gateway": gateway, "api_key": KEY, "reroute_hosts": ("localhost", "[fd00::1]:8000")}
    if gateway == "openai-compatible":
        given["base_url"] = "http://gw.test/v1"
    return Settings(**{**given, **changes})


def routed(
    gateway: str, client: Client, model: str | None = "gpt-4o", caller: CallContext = NOBODY, **changes: Any
) -> tuple[Route, str]:
    """The route of a client's call, and the URL that it goes to."""
    origin = origin_of(client)
    route = choose(origin, model, settings(gateway, **changes), caller)
    assert route is not None
    return route, place(route, origin, client[2])


# ------------------------------------------------------------------------------------------------- URLs

# dialect, client, the URL of the call there, the model's other name there
PLACES: dict[str, tuple[str, Client, str, str | None]] = {
    "highflame, openai": ("highflame", OPENAI, f"{HF}/chat/completions", "openai/gpt-4o"),
    "highflame, a region": ("highflame", REGIONAL, f"{HF}/chat/completions", "openai/gpt-4o"),
    "highflame, azure": ("highflame", AZURE, f"{HF}/chat/completions", "azure/gpt-4o"),
    "highflame, azure deployed": ("highflame", AZURE_DEPLOYED, f"{HF}/chat/completions", "azure/gpt-4o"),
    "highflame, azure proxied": ("highflame", AZURE_PROXIED, f"{HF}/chat/completions?x=a%2Fb", "azure/gpt-4o"),
    "highflame, azure v1": ("highflame", AZURE_V1, f"{HF}/chat/completions", "azure/gpt-4o"),
    "highflame, gemini": ("highflame", GEMINI, f"{HF}/chat/completions", "gemini/gpt-4o"),
    "highflame, listed": ("highflame", LOCAL, f"{HF}/chat/completions", "openai/gpt-4o"),
    "v2, openai": ("highflame-v2", OPENAI, f"{V2}/chat/completions", None),
    "v2, azure": (
        "highflame-v2",
        AZURE,
        f"{V2}/openai/deployments/dep%20loy/chat/completions?api-version=2024-06-01",
        None,
    ),
    "v2, azure deployed": (
        "highflame-v2",
        AZURE_DEPLOYED,
        f"{V2}/openai/deployments/dep/chat/completions?api-version=2024-06-01",
        None,
    ),
    "v2, azure proxied": (
        "highflame-v2",
        AZURE_PROXIED,
        f"{V2}/openai/deployments/dep/chat/completions?api-version=2024-06-01&x=a%2Fb",
        None,
    ),
    "v2, azure v1": ("highflame-v2", AZURE_V1, f"{V2}/chat/completions", None),
    "v2, gemini": ("highflame-v2", GEMINI, f"{V2}/chat/completions", None),
    "javelin, ipv6": ("javelin", IPV6, f"{DEFAULT_BASE_URLS['javelin']}/chat/completions", None),
    "compatible, openai": ("openai-compatible", OPENAI, "http://gw.test/v1/chat/completions", None),
    "compatible, azure": ("openai-compatible", AZURE, "http://gw.test/v1/chat/completions", None),
    "compatible, gemini": ("openai-compatible", GEMINI, "http://gw.test/v1/chat/completions", None),
    "compatible, groq": ("openai-compatible", GROQ, "http://gw.test/v1/chat/completions", None),
    "compatible, ipv6": ("openai-compatible", IPV6, "http://gw.test/v1/chat/completions", None),
    "embedded, openai": ("embedded", OPENAI, "http://highflame-gateway.invalid/v1/chat/completions", None),
    "embedded, azure": ("embedded", AZURE, "http://highflame-gateway.invalid/v1/chat/completions", None),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_a_call_goes(name: str) -> None:
    gateway, client, url, model = PLACES[name]
    route, found = routed(gateway, client)
    assert (found, route.model, route.dialect) == (url, model, gateway)
    assert str(httpx.URL(found)) == found, "left as it is by whoever sends it"
    assert route.embedded is (gateway == "embedded")


# path and query at the origin, and what of it comes after the gateway's base URL
KEPT: dict[str, tuple[Client, str, str]] = {
    "a query": (OPENAI, "/v1/files?limit=2&after=f%2F1", "/files?limit=2&after=f%2F1"),
    "percent-encoding": (OPENAI, "/v1/files/a%2Fb%20c%3F/content", "/files/a%2Fb%20c%3F/content"),
    "a plus and an empty value": (OPENAI, "/v1/x?a=b+c&d=&e", "/x?a=b+c&d=&e"),
    "nothing but the base": (OPENAI, "/v1", ""),
    "the base with a query": (OPENAI, "/v1?a=b", "?a=b"),
    "a path that begins like the base": (OPENAI, "/v1beta/files", "/v1beta/files"),
    "a path beside the base": (OPENAI, "/other/files", "/other/files"),
    "no base path": (("https://api.openai.com", False, ""), "/chat/completions", "/chat/completions"),
    "azure: the version goes, the rest stays": (
        AZURE,
        "/openai/files?api-version=2024-06-01&after=f-1&limit=2",
        "/files?after=f-1&limit=2",
    ),
    "azure: whatever the order": (AZURE, "/openai/files?after=f-1&api-version=1", "/files?after=f-1"),
    "azure: nothing but the version": (AZURE, "/openai/files?api-version=1", "/files"),
    "azure: a query that names a path": (AZURE, "/openai/files?after=/openai/x", "/files?after=/openai/x"),
    "azure: a deployment called openai": (AZURE, "/openai/deployments/openai/embeddings", "/embeddings"),
    "azure: its own v1": (AZURE, "/openai/v1/responses?api-version=preview", "/responses"),
    "azure: what begins like v1": (AZURE, "/openai/v1x/responses", "/v1x/responses"),
    "azure: a path of another kind": (
        AZURE,
        "/elsewhere/responses?api-version=1",
        "/elsewhere/responses?api-version=1",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_paths_and_queries_are_kept_as_they_are_encoded(name: str) -> None:
    client, path, expected = KEPT[name]
    route = Route(dialect="openai-compatible", base_url="http://gw.test/prefix")
    assert place(route, origin_of(client), path) == f"http://gw.test/prefix{expected}"


def test_azures_version_is_kept_for_the_dialects_that_know_azure() -> None:
    route = Route(dialect="javelin", base_url="http://gw.test/v1")
    found = place(route, origin_of(AZURE), "/openai/files?api-version=1&after=f-1")
    assert found == "http://gw.test/v1/openai/files?api-version=1&after=f-1"


# ------------------------------------------------------------------------------------------------- headers


def both(**values: str) -> dict[str, str]:
    return {f"x-{family}-{name}": value for family in ("highflame", "javelin") for name, value in values.items()}


HEADERS: dict[str, tuple[str, Client, dict[str, Any], CallContext, dict[str, str]]] = {
    "highflame": ("highflame", OPENAI, {}, NOBODY, {"x-highflame-apikey": KEY}),
    "highflame, a token": ("highflame", OPENAI, {"api_key": "eyJh.x.y"}, NOBODY, {"x-highflame-token": "eyJh.x.y"}),
    "highflame says nothing of the caller": (
        "highflame",
        OPENAI,
        {"route": "r", "account_id": "a"},
        CallContext(user="ada", account="b"),
        {"x-highflame-apikey": KEY},
    ),
    "v2": (
        "highflame-v2",
        OPENAI,
        {},
        NOBODY,
        both(apikey=KEY, route="openai_univ", provider="https://api.openai.com/v1", model="gpt-4o"),
    ),
    "javelin, all of it": (
        "javelin",
        OPENAI,
        {"route": "mine", "virtual_api_key": "vk", "account_id": "acc"},
        CallContext(user="ada", role="admin"),
        both(
            apikey=KEY,
            virtualapikey="vk",
            route="mine",
            provider="https://api.openai.com/v1",
            model="gpt-4o",
            accountid="acc",
            user="ada",
            userrole="admin",
        ),
    ),
    "the caller's route and account win": (
        "javelin",
        OPENAI,
        {"route": "mine", "account_id": "acc"},
        CallContext(route="cheap", account="b"),
        both(apikey=KEY, route="cheap", provider="https://api.openai.com/v1", model="gpt-4o", accountid="b"),
    ),
    "v2, azure": (
        "highflame-v2",
        AZURE_DEPLOYED,
        {},
        NOBODY,
        both(apikey=KEY, route="azureopenai_univ", provider="https://res.openai.azure.com/openai", model="gpt-4o"),
    ),
    "v2, azure proxied": (
        "highflame-v2",
        AZURE_PROXIED,
        {},
        NOBODY,
        both(
            apikey=KEY,
            route="azureopenai_univ",
            provider="https://res.cognitiveservices.azure.com/proxy/openai",
            model="gpt-4o",
        ),
    ),
    "v2, gemini": (
        "highflame-v2",
        GEMINI,
        {},
        NOBODY,
        both(
            apikey=KEY,
            route="google_univ",
            provider="https://generativelanguage.googleapis.com/v1beta/openai",
            model="gpt-4o",
        ),
    ),
    "v2, listed": (
        "highflame-v2",
        IPV6,
        {},
        NOBODY,
        both(apikey=KEY, route="openai_univ", provider="http://[fd00::1]:8000/llm/v1", model="gpt-4o"),
    ),
    "compatible": ("openai-compatible", AZURE, {}, NOBODY, {"authorization": f"Bearer {KEY}"}),
    "compatible, with the client's own key": ("openai-compatible", AZURE, {"api_key": None}, NOBODY, {}),
    "embedded": ("embedded", OPENAI, {}, NOBODY, {}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_what_a_gateway_is_told(name: str) -> None:
    gateway, client, changes, caller, expected = HEADERS[name]
    route, _ = routed(gateway, client, caller=caller, **changes)
    assert dict(route.headers) == expected


def test_only_a_key_of_its_own_takes_the_clients_away() -> None:
    assert routed("openai-compatible", AZURE)[0].dropped == {"api-key", "x-api-key", "x-goog-api-key"}
    assert routed("openai-compatible", AZURE, api_key=None)[0].dropped == frozenset()
    assert routed("highflame", AZURE)[0].dropped == frozenset()


def test_credentials_are_in_no_repr() -> None:
    for gateway in ("highflame", "javelin", "openai-compatible"):
        assert KEY not in repr(routed(gateway, OPENAI)[0])


BREAKING_OUT = ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\x00b", "a\x7fb", "a\tb", "ünï", "\ud800", "a\u2028b", "😀"]


@pytest.mark.parametrize("value", BREAKING_OUT)
@pytest.mark.parametrize("name", ["user", "role", "account", "route"])
def test_what_a_caller_says_cannot_break_out_of_its_header(name: str, value: str) -> None:
    route, _ = routed("highflame-v2", OPENAI, caller=CallContext(**{name: value}))  # type: ignore[arg-type]
    assert value not in route.headers.values()
    httpx.Headers(route.headers)
    assert all(header.isascii() and header.isprintable() for header in route.headers.values())


@pytest.mark.parametrize(("value", "sent"), [(" ada ", "ada"), ("a  b", "a  b"), (" ", None), ("", None)])
def test_blanks_around_a_value_are_not_sent(value: str, sent: str | None) -> None:
    """HTTP knows no such header values, and the clients refuse to send them."""
    route, _ = routed("highflame-v2", OPENAI, caller=CallContext(user=value))
    assert route.headers.get("x-highflame-user") == sent


@pytest.mark.parametrize("value", BREAKING_OUT)
def test_neither_can_the_models_name(value: str) -> None:
    for gateway in ("highflame-v2", "highflame"):
        route, url = routed(gateway, OPENAI, model=value)
        assert all(header.isascii() and header.isprintable() for header in route.headers.values())
        assert url.isascii()


# ------------------------------------------------------------------------------------------------- the model's name

MODELS: dict[str, tuple[Client, str | None, str | None]] = {
    "plain": (OPENAI, "gpt-4o", "openai/gpt-4o"),
    "fine-tuned": (OPENAI, "ft:gpt-4o:org::id", "openai/ft:gpt-4o:org::id"),
    "with the provider before it": (OPENAI, "openai/gpt-4o", None),
    "another provider's, asked of openai": (OPENAI, "anthropic/claude", None),
    "of unknown making": (OPENAI, "acme/model", "openai/acme/model"),
    "none": (OPENAI, None, None),
    "a host of many makers": (GROQ, "meta-llama/llama-4", "groq/meta-llama/llama-4"),
    "a host of openai's open models": (GROQ, "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
    "the host before it": (GROQ, "groq/openai/gpt-oss-120b", None),
    "gemini's own way": (GEMINI, "models/gemini-2.0-flash", "gemini/models/gemini-2.0-flash"),
    "a deployment": (AZURE, "dep", "azure/dep"),
    "a listed host, with a prefix": (LOCAL, "ollama/llama3", None),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_models_name_at_highflame(name: str) -> None:
    client, model, expected = MODELS[name]
    assert routed("highflame", client, model=model)[0].model == expected


# ------------------------------------------------------------------------------------------------- whose calls


WHOSE: dict[str, tuple[str, str | None]] = {
    "https://api.openai.com/v1": ("openai", "openai"),
    "https://API.OpenAI.com/v1": ("openai", "openai"),
    "https://api.openai.com./v1": ("openai", "openai"),
    "https://api.openai.com:443/v1": ("openai", "openai"),
    "https://us.api.openai.com/v1": ("openai", "openai"),
    "https://res.openai.azure.com/openai/v1": ("azure.ai.openai", "azure"),
    "https://res.services.ai.azure.com/x": ("azure.ai.openai", "azure"),
    "https://generativelanguage.googleapis.com/v1beta/openai": ("gcp.gemini", "gemini"),
    "https://api.mistral.ai/v1": ("mistral_ai", "mistral"),
    "https://api.openai.com.evil.test/v1": ("openai", None),
    "https://evilapi.openai.com/v1": ("openai", None),
    "https://openai.azure.com/v1": ("openai", None),
    "http://localhost:11434/v1": ("openai", None),
    "http://[::1]:8000/v1": ("openai", None),
}


@pytest.mark.parametrize("url", WHOSE)
def test_whose_host_it_is(url: str) -> None:
    telemetry, prefix = WHOSE[url]
    found = provider_of(Origin.of(url))
    assert (found.prefix if found else None) == prefix
    assert provider_name(Origin.of(url)) == telemetry
    assert provider_name(Origin.of(url, azure=True)) == "azure.ai.openai"


@pytest.mark.parametrize("url", [url for url, (_, prefix) in WHOSE.items() if prefix is None])
def test_unknown_hosts_are_left_alone_unless_they_are_listed(url: str) -> None:
    origin = Origin.of(url)
    assert choose(origin, "m", settings("highflame", reroute_hosts=()), NOBODY) is None
    assert choose(origin, "m", settings("highflame", reroute_hosts=("other.test",)), NOBODY) is None
    for listed in (origin.host, origin.address, "*"):
        route = choose(origin, "m", settings("highflame", reroute_hosts=(listed,)), NOBODY)
        assert route is not None
        assert route.model == "openai/m"


LISTED = [
    ("http://llm.test/v1", "llm.test", True),
    ("http://llm.test/v1", "llm.test:80", True),
    ("https://llm.test/v1", "llm.test:443", True),
    ("https://llm.test/v1", "llm.test:80", False),
    ("https://llm.test:8443/v1", "llm.test", True),
    ("https://llm.test:8443/v1", "llm.test:443", False),
    ("https://sub.llm.test/v1", "llm.test", False),
    ("http://[fd00::1]:8000/v1", "[fd00::1]:8000", True),
    ("http://[fd00::1]/v1", "[fd00::1]:80", True),
    ("http://[fd00::1]/v1", "fd00::1", True),
]


@pytest.mark.parametrize(("url", "listed", "expected"), LISTED)
def test_how_hosts_are_listed(url: str, listed: str, expected: bool) -> None:
    found = choose(Origin.of(url), "m", settings("embedded", reroute_hosts=(listed,)), NOBODY)
    assert (found is not None) is expected


def test_without_a_gateway_every_call_goes_as_it_is() -> None:
    for client in (OPENAI, AZURE, GEMINI, LOCAL):
        assert choose(origin_of(client), "m", Settings(reroute_hosts=("*",)), NOBODY) is None


def test_a_gateway_object_is_in_this_process() -> None:
    gateway = Gateway(providers={}, guard=None)
    route = choose(origin_of(OPENAI), "m", Settings(gateway=gateway), NOBODY)
    gateway.close()
    assert route is not None
    assert route.embedded
    assert route.base_url.endswith(".invalid/v1"), "no resolver knows it"


# ------------------------------------------------------------------------------------------------- origins


ORIGINS = {
    "https://api.openai.com/v1/": "https://api.openai.com/v1",
    "HTTPS://API.OPENAI.COM/V1": "https://api.openai.com/V1",
    "http://[::1]:8000/a/b/": "http://[::1]:8000/a/b",
    "http://[::1]": "http://[::1]",
    "http://host:80": "http://host:80",
    "http://user:secret@host/v1": "http://host/v1",
    "http://host/a%20b/v1": "http://host/a%20b/v1",
}


@pytest.mark.parametrize("url", ORIGINS)
def test_an_origin(url: str) -> None:
    assert Origin.of(url).url == ORIGINS[url]


DEPLOYMENTS: dict[str, tuple[str, bool, str, str | None]] = {
    "per model": ("https://r.openai.azure.com/openai", True, "/deployments/gpt/chat/completions", "gpt"),
    "of the client": ("https://r.openai.azure.com/openai/deployments/dep", True, "/chat/completions", "dep"),
    "encoded": ("https://r.openai.azure.com/openai", True, "/deployments/my%20dep/embeddings", "my dep"),
    "none": ("https://r.openai.azure.com/openai", True, "/files", None),
    "not azure": ("https://r.openai.azure.com/openai", False, "/deployments/gpt/chat/completions", None),
    "a base without openai": ("https://gw.test/x", True, "/deployments/gpt/chat/completions", None),
}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_deployment_is_the_model(name: str) -> None:
    url, azure, path, expected = DEPLOYMENTS[name]
    assert deployment_of(Origin.of(url, azure=azure), path) == expected
