"""Which credentials a gateway gets to see: of each client, at each dialect; and what a redirect leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.route import Route, place, readdressed, taken_off
from tests.test_route_dialects import CLIENTS, KEY, chosen, routed, translated

# What the SDKs of these clients put on a request, by the client; and in its query.
BORNE: dict[str, dict[str, str]] = {
    "openai chat": {"authorization": "Bearer sk-1", "openai-organization": "org"},
    "azure chat": {"api-key": "az-1"},
    "anthropic": {"x-api-key": "sk-ant-1", "anthropic-version": "2023-06-01"},
    "gemini": {"x-goog-api-key": "AIza-1"},
    "gemini by openai": {"authorization": "Bearer AIza-1"},
    "bedrock converse": {
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host, Signature=s",
        "x-amz-date": "20260101T000000Z",
        "x-amz-security-token": "token",
        "x-amz-content-sha256": "hash",
        "amz-sdk-request": "attempt=1",
    },
    "bedrock by openai": {"authorization": "Bearer bedrock-key"},
}
OWN = f"Bearer {KEY}"
SIGNED = BORNE["bedrock converse"]
# Which of the client's credentials arrive, by dialect and client, and what else is done to them.
ARRIVES: dict[tuple[str, str], dict[str, str]] = {
    ("highflame", "openai chat"): {"authorization": "Bearer sk-1"},
    ("highflame", "azure chat"): {"api-key": "az-1"},
    ("highflame", "anthropic"): {"x-api-key": "sk-ant-1"},
    ("highflame", "gemini by openai"): {"authorization": "Bearer AIza-1"},
    ("highflame", "bedrock by openai"): {"authorization": "Bearer bedrock-key"},
    ("highflame-v2", "openai chat"): {"authorization": "Bearer sk-1"},
    ("highflame-v2", "azure chat"): {"api-key": "az-1"},
    ("javelin", "anthropic"): {"x-api-key": "sk-ant-1"},
    ("javelin", "bedrock converse"): {name: SIGNED[name] for name in SIGNED if name != "amz-sdk-request"},
    ("portkey", "openai chat"): {"authorization": "Bearer sk-1"},
    ("portkey", "azure chat"): {"authorization": "Bearer az-1"},
    ("portkey", "anthropic"): {"x-api-key": "sk-ant-1"},
    ("openai-compatible", "openai chat"): {"authorization": OWN},
    ("openai-compatible", "azure chat"): {"authorization": OWN},
    ("openai-compatible", "anthropic"): {"authorization": OWN},
    ("openai-compatible", "gemini"): {"authorization": OWN},
    ("openai-compatible", "bedrock by openai"): {"authorization": OWN},
}


def sent(route: Route, borne: dict[str, str]) -> dict[str, str]:
    """A request's headers as the gateway gets them."""
    dropped, headers = readdressed(route, borne)
    return {**{name: value for name, value in borne.items() if name not in dropped}, **headers}


def credentials(headers: dict[str, str]) -> dict[str, str]:
    keys = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
    return {name: value for name, value in headers.items() if name in keys or name.startswith("x-amz-")}


@pytest.mark.parametrize(("gateway", "name"), ARRIVES)
def test_which_credentials_a_gateway_gets(gateway: str, name: str) -> None:
    route = routed(gateway, name, carries=("anthropic", "gemini"))
    arrived = sent(route, BORNE[name])
    assert credentials(arrived) == ARRIVES[gateway, name]
    others = BORNE[name].items() - credentials(BORNE[name]).items()
    assert others <= arrived.items(), "what is no credential goes along"


@pytest.mark.parametrize("name", BORNE)
def test_a_virtual_key_takes_the_place_of_every_key(name: str) -> None:
    route = chosen("portkey", name, virtual_api_key="vk-1", carries=("*",))
    assert isinstance(route, Route)
    left = credentials(sent(route, BORNE[name]))
    assert left == {key: value for key, value in left.items() if key.startswith("x-amz-") and route.signed}


def test_without_a_key_of_its_own_a_gateway_gets_the_clients() -> None:
    route = routed("openai-compatible", "anthropic", api_key=None, carries=("anthropic",))
    assert credentials(sent(route, BORNE["anthropic"])) == {"x-api-key": "sk-ant-1"}


@pytest.mark.parametrize("gateway", ["highflame", "highflame-v2", "javelin", "portkey", "openai-compatible"])
@pytest.mark.parametrize("signature", ["AWS4-HMAC-SHA256 C", "aws4-hmac-sha256 C", "AWS4-ECDSA-P256-SHA256 C"])
def test_a_signature_goes_to_no_gateway_that_does_not_carry_what_was_signed(gateway: str, signature: str) -> None:
    """An OpenAI call to a host of one's own, signed: whoever gets the signature learns who signs, and for what."""
    changes: dict[str, Any] = {"api_key": None} if gateway == "openai-compatible" else {}
    arrived = sent(routed(gateway, "listed", **changes), {**SIGNED, "authorization": signature})
    assert credentials(arrived) == {}


QUERIES = {
    "/v1beta/models/m:generateContent?key=AIza-1": "/v1beta/models/m:generateContent",
    "/v1beta/models/m:generateContent?alt=sse&key=A&x=a%2Fb": "/v1beta/models/m:generateContent?alt=sse&x=a%2Fb",
    "/v1beta/models/m:generateContent?%6Bey=AIza-1": "/v1beta/models/m:generateContent",
    "/v1beta/models/m:generateContent?monkey=1&keys=2": "/v1beta/models/m:generateContent?monkey=1&keys=2",
    "/v1beta/models/m:generateContent?access_token=t": "/v1beta/models/m:generateContent",
}


@pytest.mark.parametrize("path", QUERIES)
def test_googles_key_in_the_query_stays_behind(path: str) -> None:
    origin = CLIENTS["gemini"].origin
    route = routed("openai-compatible", "gemini", carries=("gemini",))
    assert place(route, origin, path) == f"{route.base_url}{QUERIES[path]}"
    without_key = routed("openai-compatible", "gemini", api_key=None, carries=("gemini",))
    assert place(without_key, origin, path) == f"{route.base_url}{path}", "the client's own key is asked for"


def test_a_parameter_called_key_is_a_credential_at_googles_only() -> None:
    route = routed("openai-compatible", "openai files")
    assert place(route, CLIENTS["openai files"].origin, "/v1/files?key=a").endswith("/files?key=a")


def test_what_a_redirect_away_from_the_gateway_leaves_behind() -> None:
    route = routed("javelin", "openai chat", headers={"x-team": "core"})
    present = {
        **SIGNED,
        **BORNE["anthropic"],
        **route.headers,
        "X-Portkey-Config": "c",
        "Cookie": "c",
        "accept": "*",
    }
    left = set(present) - {name for name in present if name.lower() in taken_off(route, present)}
    assert left == {"anthropic-version", "amz-sdk-request", "accept"}


def test_no_credential_is_in_a_repr() -> None:
    for gateway in ("highflame", "javelin", "portkey", "openai-compatible"):
        assert KEY not in repr(routed(gateway, "openai chat", headers={"x-key": KEY}))


# Of a call that is translated for OpenAI's API: what arrives of the client's headers.
TRANSLATED: dict[tuple[str, str], dict[str, str]] = {
    ("highflame", "gemini"): {"authorization": "Bearer AIza-1"},
    ("highflame", "bedrock converse"): {},
    ("portkey", "gemini"): {"authorization": "Bearer AIza-1"},
    ("openai-compatible", "gemini"): {"authorization": OWN},
    ("openai-compatible", "anthropic"): {"authorization": OWN},
    ("openai-compatible", "bedrock converse"): {"authorization": OWN},
}


@pytest.mark.parametrize(("gateway", "name"), TRANSLATED)
def test_which_credentials_go_along_with_a_translated_call(gateway: str, name: str) -> None:
    arrived = sent(into_chat(gateway, name), BORNE[name])
    added = {header for header in arrived if header.startswith(("x-highflame-", "x-portkey-"))}
    assert {header: value for header, value in arrived.items() if header not in added} == TRANSLATED[gateway, name]


def test_a_translated_call_and_the_clients_own_key() -> None:
    assert sent(into_chat("openai-compatible", "anthropic", api_key=None), BORNE["anthropic"]) == {
        "authorization": "Bearer sk-ant-1"
    }
    virtual = sent(into_chat("portkey", "gemini", virtual_api_key="vk-1"), BORNE["gemini"])
    assert "AIza-1" not in str(virtual)


def into_chat(gateway: str, name: str, **changes: Any) -> Route:
    route = translated(gateway, name, **changes)
    assert isinstance(route, Route)
    assert route.into == "openai-chat"
    return route
