"""Every dialect for every client and format: where a call goes, by which name, with which headers; or past it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from highflame_middleware import Settings
from highflame_middleware.caller import CallContext
from highflame_middleware.codecs import CODECS
from highflame_middleware.config import DEFAULT_BASE_URLS
from highflame_middleware.route import (
    DIALECTS,
    Detour,
    Origin,
    Route,
    choose,
    deployment_of,
    format_of,
    headers_for,
    place,
)

KEY = "zid_sk_1"
NOBODY = CallContext()
GW = "http://gw.test/prefix/v1"


@dataclass(frozen=True)
class Client:
    """An SDK's client: its base URL, the format of its call and the path and query of it as they are sent."""

    url: str
    spoken: str
    codec: str | None
    path: str
    model: str | None = "m"
    azure: bool = False

    @property
    def origin(self) -> Origin:
        return Origin.of(self.url, azure=self.azure)


ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123%3Ainference-profile%2Fus.anthropic.claude-3-sonnet-20240229-v1%3A0"
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com"
VERTEX = "https://us-east5-aiplatform.googleapis.com/v1"
CLAUDE = f"{VERTEX.removesuffix('/v1')}/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict"

CLIENTS: dict[str, Client] = {
    "openai chat": Client("https://api.openai.com/v1", "openai", "openai-chat", "/v1/chat/completions"),
    "openai responses": Client("https://api.openai.com/v1", "openai", "openai-responses", "/v1/responses"),
    "openai embeddings": Client("https://api.openai.com/v1", "openai", "openai-embeddings", "/v1/embeddings"),
    "openai images": Client("https://api.openai.com/v1", "openai", "openai-images", "/v1/images/generations"),
    "openai files": Client("https://api.openai.com/v1", "openai", None, "/v1/files?after=a%2Fb", None),
    "azure chat": Client(
        "https://res.openai.azure.com/openai",
        "openai",
        "openai-chat",
        "/openai/deployments/my%20dep/chat/completions?api-version=2024-06-01",
        azure=True,
    ),
    "groq chat": Client("https://api.groq.com/openai/v1", "groq", "openai-chat", "/openai/v1/chat/completions"),
    "together chat": Client("https://api.together.xyz/v1", "together", "openai-chat", "/v1/chat/completions"),
    "mistral chat": Client("https://api.mistral.ai", "mistral", "openai-chat", "/v1/chat/completions"),
    "mistral ocr": Client("https://api.mistral.ai", "mistral", None, "/v1/ocr"),
    "gemini by openai": Client(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "openai",
        "openai-chat",
        "/v1beta/openai/chat/completions",
    ),
    "gemini": Client(
        "https://generativelanguage.googleapis.com", "gemini", "gemini", "/v1beta/models/m:generateContent?key=k"
    ),
    "gemini on vertex": Client(
        "https://aiplatform.googleapis.com",
        "gemini",
        "gemini",
        "/v1beta1/publishers/google/models/m:generateContent",
    ),
    "anthropic": Client("https://api.anthropic.com", "anthropic", "anthropic-messages", "/v1/messages?beta=true"),
    "anthropic count": Client(
        "https://api.anthropic.com", "anthropic", "anthropic-messages", "/v1/messages/count_tokens"
    ),
    "anthropic models": Client("https://api.anthropic.com", "anthropic", None, "/v1/models", None),
    "openai realtime": Client("https://api.openai.com/v1", "openai", "openai-realtime", "/v1/realtime?model=m"),
    "anthropic by openai": Client("https://api.anthropic.com/v1", "openai", "openai-chat", "/v1/chat/completions"),
    "anthropic on azure": Client(
        "https://res.services.ai.azure.com/anthropic", "anthropic", "anthropic-messages", "/anthropic/v1/messages"
    ),
    "anthropic batches": Client(
        "https://api.anthropic.com", "anthropic", "anthropic-messages", "/v1/messages/batches?limit=2", None
    ),
    "anthropic on bedrock": Client(BEDROCK, "anthropic", "anthropic-messages", f"/model/{ARN}/invoke"),
    "anthropic on vertex": Client(VERTEX, "anthropic", "anthropic-messages", CLAUDE.removeprefix(VERTEX[:-3])),
    "bedrock converse": Client(BEDROCK, "bedrock", "bedrock-converse", f"/model/{ARN}/converse", unquote(ARN)),
    "bedrock invoke": Client(BEDROCK, "bedrock", "bedrock-invoke", f"/model/{ARN}/invoke", unquote(ARN)),
    "bedrock guardrail": Client(BEDROCK, "bedrock", None, "/guardrail/g/version/1/apply", None),
    "bedrock by openai": Client(f"{BEDROCK}/openai/v1", "openai", "openai-chat", "/openai/v1/chat/completions"),
    "cohere chat": Client("https://api.cohere.com", "cohere", "cohere-chat", "/v2/chat"),
    "cohere by openai": Client(
        "https://api.cohere.ai/compatibility/v1", "openai", "openai-chat", "/compatibility/v1/chat/completions"
    ),
    "listed": Client("http://llm.test:8000/v1", "openai", "openai-chat", "/v1/chat/completions"),
}
DIRECT = "direct"
# What comes after the gateway's base URL, and the model's other name there; by dialect in the order of COLUMNS.
COLUMNS = ("highflame", "highflame-v2", "javelin", "portkey", "openai-compatible", "embedded")
CHAT = "/chat/completions"


def plainly(path: str, renamed: str | None) -> tuple[tuple[str, str | None], ...]:
    """Below the base URL of every gateway; only the current Highflame gateway knows the model by another name."""
    return ((path, renamed), *[(path, None)] * 5)


def at_v2(current: Any, older: Any, others: Any, compatible: Any = DIRECT) -> tuple[Any, ...]:
    return current, older, older, others, compatible, compatible


def under(segment: str, renamed: str) -> tuple[tuple[str, str | None], ...]:
    """OpenAI's API under a provider's name at the header-routed gateways."""
    return (CHAT, renamed), *[(f"/{segment}{CHAT}", None)] * 2, *[(CHAT, None)] * 3


PLACES: dict[str, tuple[Any, ...]] = {
    "openai chat": plainly(CHAT, "openai/m"),
    "openai responses": plainly("/responses", "openai/m"),
    "openai embeddings": plainly("/embeddings", "openai/m"),
    "openai images": plainly("/images/generations", "openai/m"),
    "openai files": plainly("/files?after=a%2Fb", None),
    "azure chat": (
        (CHAT, "azure/my dep"),
        *[("/openai/deployments/my%20dep/chat/completions?api-version=2024-06-01", None)] * 2,
        *[(CHAT, None)] * 3,
    ),
    "groq chat": under("groq", "groq/m"),
    "together chat": under("together", "together/m"),
    "mistral chat": plainly(CHAT, "mistral/m"),
    "mistral ocr": at_v2(DIRECT, DIRECT, DIRECT),
    "gemini by openai": plainly(CHAT, "gemini/m"),
    "gemini": at_v2(DIRECT, DIRECT, DIRECT),
    "gemini on vertex": at_v2(DIRECT, DIRECT, DIRECT),
    "anthropic": at_v2(
        ("/messages?beta=true", "anthropic/m"), ("/model/messages?beta=true", None), ("/messages?beta=true", None)
    ),
    "anthropic by openai": under("anthropic", "anthropic/m"),
    "anthropic on azure": at_v2(DIRECT, DIRECT, DIRECT),
    "anthropic batches": at_v2(DIRECT, DIRECT, DIRECT),
    "anthropic count": at_v2(DIRECT, DIRECT, ("/messages/count_tokens", None)),
    "anthropic models": at_v2(DIRECT, DIRECT, DIRECT),
    "openai realtime": (*[DIRECT] * 3, ("/realtime?model=m", None), DIRECT, DIRECT),
    "anthropic on bedrock": at_v2(DIRECT, (f"/model/{ARN}/invoke", None), DIRECT),
    "anthropic on vertex": at_v2(DIRECT, DIRECT, DIRECT),
    "bedrock converse": at_v2(DIRECT, (f"/model/{ARN}/converse", None), DIRECT),
    "bedrock invoke": at_v2(DIRECT, (f"/model/{ARN}/invoke", None), DIRECT),
    "bedrock guardrail": at_v2(DIRECT, DIRECT, DIRECT),
    "bedrock by openai": plainly(CHAT, "bedrock/m"),
    "cohere chat": at_v2(DIRECT, DIRECT, DIRECT),
    "cohere by openai": under("cohere", "cohere/m"),
    "listed": plainly(CHAT, "openai/m"),
}
# What such a call would be called where it goes past the gateway.
FORMATS = {
    "mistral ocr": "mistral",
    "gemini": "gemini",
    "gemini on vertex": "vertex-gemini",
    "anthropic": "anthropic-messages",
    "anthropic on azure": "azure-anthropic-messages",
    "anthropic batches": "anthropic-batches",
    "anthropic count": "anthropic-count_tokens",
    "anthropic models": "anthropic",
    "openai realtime": "openai-realtime",
    "anthropic on bedrock": "bedrock-anthropic-messages",
    "anthropic on vertex": "vertex-anthropic-messages",
    "bedrock converse": "bedrock-converse",
    "bedrock invoke": "bedrock-invoke",
    "bedrock guardrail": "bedrock",
    "cohere chat": "cohere-chat",
}


def settings(gateway: str, **changes: Any) -> Settings:
    given: dict[str, Any] = {"gateway": gateway, "reroute_hosts": ("llm.test",)}
    if gateway != "embedded":
        given |= {"api_key": KEY, "base_url": GW}
    return Settings(**{**given, **changes})


def chosen(
    gateway: str, name: str, caller: CallContext = NOBODY, given: dict[str, str] | None = None, **changes: Any
) -> Route | Detour | None:
    client = CLIENTS[name]
    model = deployment_of(client.origin, client.path.removeprefix("/openai")) or client.model
    return choose(
        client.origin,
        model,
        settings(gateway, **changes),
        caller,
        spoken=client.spoken,
        codec=client.codec,
        path=client.path,
        given=given or {},
    )


def routed(gateway: str, name: str, *args: Any, **changes: Any) -> Route:
    route = chosen(gateway, name, *args, **changes)
    assert isinstance(route, Route)
    return route


def test_the_table_is_complete() -> None:
    assert set(PLACES) == set(CLIENTS)
    assert all(len(row) == len(COLUMNS) for row in PLACES.values())
    assert set(COLUMNS) == set(DIALECTS)


@pytest.mark.parametrize("gateway", COLUMNS)
@pytest.mark.parametrize("name", PLACES)
def test_where_a_call_goes(name: str, gateway: str) -> None:
    client, expected = CLIENTS[name], PLACES[name][COLUMNS.index(gateway)]
    route = chosen(gateway, name)
    if expected == DIRECT:
        assert route == Detour(dialect=gateway, format=FORMATS[name])
        return
    assert isinstance(route, Route)
    url = place(route, client.origin, client.path)
    base = "http://highflame-gateway.invalid/v1" if gateway == "embedded" else GW
    assert (url, route.model) == (f"{base}{expected[0]}", expected[1])
    assert str(httpx.URL(url)) == url, "left as it is by whoever sends it"
    assert route.signed is ("bedrock" in (client.codec or "") or name == "anthropic on bedrock")


@pytest.mark.parametrize("gateway", COLUMNS)
def test_what_is_not_carried_goes_along_where_the_settings_say_so(gateway: str) -> None:
    assert isinstance(chosen(gateway, "cohere chat"), Detour)
    for carries in (("*",), ("cohere",), ("gemini", "cohere-chat"), ("cohere-*",)):
        assert isinstance(chosen(gateway, "cohere chat", carries=carries), Route)
    for carries in (("coh",), ("cohere-chat-v1",), ("chat",)):
        assert isinstance(chosen(gateway, "cohere chat", carries=carries), Detour)


# Every format, and the dialects that carry it; "" where none does.
EVERYWHERE = "highflame, highflame-v2, javelin, portkey, openai-compatible, embedded"
PLAIN = ("chat", "responses", "completions", "embeddings", "audio", "images", "moderations", "resources", "threads")
CARRIED: dict[str, str] = {
    **{f"openai-{name}": EVERYWHERE for name in PLAIN},
    "openai-realtime": "portkey",
    "websocket-openai-realtime": "portkey",
    "anthropic-messages": "highflame, highflame-v2, javelin, portkey",
    "bedrock-converse": "highflame-v2, javelin",
    "bedrock-invoke": "highflame-v2, javelin",
}


@pytest.mark.parametrize(
    "codec", [*(name for name in CODECS if name != "any-json"), "websocket", "websocket-openai-realtime"]
)
def test_what_each_dialect_carries(codec: str) -> None:
    """A new format is carried by nobody until somebody says who does."""
    takers = [name for name, dialect in DIALECTS.items() if dialect.takes(codec)]
    assert ", ".join(takers) == CARRIED.get(codec, "")
    assert all(dialect.takes(codec, (codec,)) for dialect in DIALECTS.values())


def test_a_listed_host_is_no_way_around_what_a_gateway_carries() -> None:
    local = Origin.of("http://llm.test")
    for codec, kind in (("anthropic-messages", Detour), ("openai-chat", Route)):
        found = choose(local, "m", settings("openai-compatible"), NOBODY, spoken="anthropic", codec=codec)
        assert isinstance(found, kind)


def test_an_unlisted_host_is_left_alone_whatever_it_speaks() -> None:
    origin = Origin.of("http://127.0.0.1:8000")
    for spoken, codec in (("anthropic", "anthropic-messages"), ("bedrock", "bedrock-converse"), ("openai", None)):
        assert choose(origin, "m", settings("highflame"), NOBODY, spoken=spoken, codec=codec) is None


AMAZON = {
    "https://bedrock-runtime.us-east-1.amazonaws.com": "bedrock-converse",
    "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com": "bedrock-converse",
    "https://vpce-0a-b1.bedrock-runtime.eu-west-1.vpce.amazonaws.com": "bedrock-converse",
    "https://bedrock-runtime.cn-north-1.amazonaws.com.cn": "bedrock-converse",
}


@pytest.mark.parametrize("url", AMAZON)
def test_amazons_hosts(url: str) -> None:
    assert format_of(Origin.of(url), "bedrock", "bedrock-converse") == AMAZON[url]
    assert format_of(Origin.of(url), "anthropic", "anthropic-messages") == "bedrock-anthropic-messages"


# ------------------------------------------------------------------------------------------------- headers


def both(**values: str) -> dict[str, str]:
    return {f"x-{family}-{name}": value for family in ("highflame", "javelin") for name, value in values.items()}


TOLD: dict[str, dict[str, str]] = {
    "openai chat": both(route="openai_univ", provider="https://api.openai.com/v1", model="m"),
    "openai files": both(route="openai_univ", provider="https://api.openai.com/v1"),
    "azure chat": both(route="azureopenai_univ", provider="https://res.openai.azure.com/openai", model="my dep"),
    "groq chat": both(route="openai_univ", provider="https://api.groq.com/openai/v1", model="m"),
    "mistral chat": both(route="mistral_univ", provider="https://api.mistral.ai/v1", model="m"),
    "gemini by openai": both(
        route="google_univ", provider="https://generativelanguage.googleapis.com/v1beta/openai", model="m"
    ),
    "anthropic": both(route="anthropic_univ", provider="https://api.anthropic.com/v1", model="m"),
    "bedrock converse": both(
        route="awsbedrock",
        provider=BEDROCK,
        model="arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-3-sonnet-v1:0",
    ),
    "listed": both(route="openai_univ", provider="http://llm.test:8000/v1", model="m"),
}


@pytest.mark.parametrize("gateway", ["highflame-v2", "javelin"])
@pytest.mark.parametrize("name", TOLD)
def test_what_a_header_routed_gateway_is_told(name: str, gateway: str) -> None:
    assert dict(routed(gateway, name).headers) == {**both(apikey=KEY), **TOLD[name]}


PORTKEY: dict[str, tuple[str, dict[str, Any], CallContext, dict[str, str]]] = {
    "openai": ("openai chat", {}, NOBODY, {"x-portkey-provider": "openai"}),
    "anthropic": ("anthropic", {}, NOBODY, {"x-portkey-provider": "anthropic"}),
    "mistral": ("mistral chat", {}, NOBODY, {"x-portkey-provider": "mistral-ai"}),
    "together": ("together chat", {}, NOBODY, {"x-portkey-provider": "together-ai"}),
    "gemini": ("gemini by openai", {}, NOBODY, {"x-portkey-provider": "google"}),
    "azure": ("azure chat", {}, NOBODY, {"x-portkey-provider": "azure-openai"}),
    "a self-hosted model": (
        "listed",
        {},
        NOBODY,
        {"x-portkey-provider": "openai", "x-portkey-custom-host": "http://llm.test:8000/v1"},
    ),
    "a virtual key": ("openai chat", {"virtual_api_key": "vk-1"}, NOBODY, {"x-portkey-virtual-key": "vk-1"}),
    "a config": (
        "openai chat",
        {"route": "pc-1"},
        NOBODY,
        {"x-portkey-provider": "openai", "x-portkey-config": "pc-1"},
    ),
    "the caller's config wins": (
        "openai chat",
        {"route": "pc-1"},
        CallContext(route='{"retry": {"attempts": 2}}', user="ada", request_id="r-1"),
        {
            "x-portkey-provider": "openai",
            "x-portkey-config": '{"retry": {"attempts": 2}}',
            "x-portkey-metadata": '{"_user": "ada"}',
            "x-portkey-trace-id": "r-1",
        },
    ),
    "a user of any name": (
        "openai chat",
        {},
        CallContext(user='a"\r\nx-evil: 1 ü'),
        {"x-portkey-provider": "openai", "x-portkey-metadata": '{"_user": "a\\"\\r\\nx-evil: 1 \\u00fc"}'},
    ),
}


@pytest.mark.parametrize("name", PORTKEY)
def test_what_portkey_is_told(name: str) -> None:
    client, changes, caller, expected = PORTKEY[name]
    assert dict(routed("portkey", client, caller, **changes).headers) == {"x-portkey-api-key": KEY, **expected}


def test_portkey_is_told_of_the_azure_deployment_that_the_url_named() -> None:
    client, route = CLIENTS["azure chat"], routed("portkey", "azure chat")
    assert headers_for(route, client.origin, client.path) == {
        "x-portkey-azure-deployment-id": "my%20dep",
        "x-portkey-azure-api-version": "2024-06-01",
        "x-portkey-azure-resource-name": "res",
    }
    assert headers_for(routed("javelin", "azure chat"), client.origin, client.path) == {}
    assert headers_for(routed("portkey", "openai chat"), CLIENTS["openai chat"].origin, client.path) == {}


def test_portkey_on_ones_own_machine_asks_for_no_key() -> None:
    route = routed("portkey", "openai chat", api_key=None, base_url=None)
    assert (route.base_url, dict(route.headers)) == ("http://localhost:8787/v1", {"x-portkey-provider": "openai"})
    assert routed("portkey", "openai chat", base_url=None).base_url == DEFAULT_BASE_URLS["portkey"]


# ------------------------------------------------------------------------------------------------- per call

GIVEN: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "a route for one call": ("javelin", {"x-highflame-route": "mine"}, both(route="mine")),
    "under the older name": ("highflame-v2", {"x-javelin-route": "mine"}, both(route="mine")),
    "the newer name counts": (
        "javelin",
        {"x-javelin-route": "old", "x-highflame-route": "new"},
        both(route="new"),
    ),
    "a client's own key for the gateway": ("javelin", {"x-javelin-apikey": "other"}, both(apikey="other")),
    "a user, a role": (
        "javelin",
        {"x-highflame-user": "bob", "x-highflame-userrole": "admin"},
        both(user="bob", userrole="admin"),
    ),
    "what breaks out counts for nothing": ("javelin", {"x-highflame-user": "b\r\nx: y"}, both(user="ada")),
    "highflame, a token": ("highflame", {"x-highflame-token": "eyJ.t"}, {"x-highflame-token": "eyJ.t"}),
    "highflame, a key": ("highflame", {"x-highflame-apikey": "other"}, {"x-highflame-apikey": "other"}),
    "portkey, a config": ("portkey", {"x-portkey-config": "pc-2"}, {"x-portkey-config": "pc-2"}),
    "portkey, a provider": ("portkey", {"x-portkey-provider": "xyz"}, {"x-portkey-provider": "xyz"}),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_the_caller_says_itself_counts(name: str) -> None:
    gateway, given, expected = GIVEN[name]
    caller = CallContext(route="context", user="ada")
    headers = routed(gateway, "openai chat", caller, given, route="setting").headers
    assert {key: headers.get(key) for key in expected} == expected


def test_a_token_takes_the_place_of_the_key() -> None:
    headers = routed("highflame", "openai chat", given={"x-highflame-token": "eyJ.t"}).headers
    assert dict(headers) == {"x-highflame-token": "eyJ.t"}


@pytest.mark.parametrize(
    ("caller", "setting", "expected"),
    [("cheap", "mine", "cheap"), (None, "mine", "mine"), ("cheap", None, "cheap"), (None, None, "openai_univ")],
)
def test_the_route_of_the_context_counts_before_the_settings(
    caller: str | None, setting: str | None, expected: str
) -> None:
    route = routed("javelin", "openai chat", CallContext(route=caller), route=setting)
    assert route.headers["x-highflame-route"] == route.headers["x-javelin-route"] == expected


@pytest.mark.parametrize("gateway", [name for name in COLUMNS if name != "embedded"])
def test_headers_of_the_settings_go_along(gateway: str) -> None:
    route = routed(gateway, "openai chat", headers={"X-Team": "core", "x-key": "hush"})
    assert (route.headers["x-team"], route.headers["x-key"]) == ("core", "hush")
    assert "hush" not in repr(route)


def test_headers_of_the_settings_are_the_gateways_alone() -> None:
    assert not routed("embedded", "openai chat", headers={"x-team": "core"}).headers


@pytest.mark.parametrize("gateway", COLUMNS)
def test_what_is_lacking_is_not_carried(gateway: str) -> None:
    assert isinstance(chosen(gateway, "openai responses"), Route)
    for lacks in (("openai-responses",), ("openai",), ("*",)):
        assert isinstance(chosen(gateway, "openai responses", lacks=lacks, carries=("*",)), Detour)
    assert isinstance(chosen(gateway, "openai chat", lacks=("openai-responses",)), Route)


INTO = ("openai-chat", "openai-responses", "anthropic-messages")


def translated(gateway: str, name: str, **changes: Any) -> Route | Detour | None:
    client = CLIENTS[name]
    return choose(
        client.origin,
        client.model,
        settings(gateway, **changes),
        NOBODY,
        spoken=client.spoken,
        codec=client.codec,
        path=client.path,
        into=INTO,
    )


@pytest.mark.parametrize("gateway", COLUMNS)
def test_into_what_a_call_is_translated(gateway: str) -> None:
    route = translated(gateway, "gemini")
    assert isinstance(route, Route)
    assert route.into == "openai-chat"
    base = "http://highflame-gateway.invalid/v1" if gateway == "embedded" else GW
    assert place(route, CLIENTS["gemini"].origin, "/chat/completions") == f"{base}/chat/completions"
    assert route.model == ("gemini/m" if gateway == "highflame" else None)
    route = translated(gateway, "gemini", lacks=("openai-chat",))
    assert isinstance(route, Route)
    assert route.into == "openai-responses"
    assert isinstance(translated(gateway, "gemini", lacks=("openai", "anthropic")), Detour)
    route = translated(gateway, "openai chat")
    assert isinstance(route, Route)
    assert route.into is None, "what is carried stays as it is"


def test_the_header_routed_gateways_are_told_where_google_has_openais_api() -> None:
    route = translated("javelin", "gemini")
    assert isinstance(route, Route)
    told = "https://generativelanguage.googleapis.com/v1beta/openai"
    assert route.headers["x-javelin-provider"] == route.headers["x-highflame-provider"] == told
