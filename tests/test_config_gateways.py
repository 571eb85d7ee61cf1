"""Which gateway is meant, what HIGHFLAME_BASE_URL means with it, and what the old names are worth."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from highflame_middleware import ConfigError, Gateway, Mode, Settings
from highflame_middleware.config import DEFAULT_BASE_URLS
from tests.test_config import READ, SOURCES, URL, load, plain, toml

WHICH: dict[str, tuple[dict[str, str], dict[str, Any], tuple[Any, Any]]] = {
    "nothing": ({}, {}, (None, None)),
    "a key": ({"HIGHFLAME_API_KEY": "k"}, {}, ("highflame", DEFAULT_BASE_URLS["highflame"])),
    "a key as argument": ({}, {"api_key": "k"}, ("highflame", DEFAULT_BASE_URLS["highflame"])),
    "a key and a URL": ({"HIGHFLAME_API_KEY": "k", "HIGHFLAME_GATEWAY_URL": URL}, {}, ("highflame", URL)),
    "a URL": ({"HIGHFLAME_GATEWAY_URL": URL}, {}, ("openai-compatible", URL)),
    "a URL as argument": ({}, {"base_url": URL}, ("openai-compatible", URL)),
    "off, with a key": ({"HIGHFLAME_API_KEY": "k", "HIGHFLAME_GATEWAY": "off"}, {}, (None, None)),
    "off by argument, with a URL": ({"HIGHFLAME_GATEWAY_URL": URL}, {"gateway": None}, (None, None)),
    "embedded, with a key": ({"HIGHFLAME_API_KEY": "k"}, {"gateway": "embedded"}, ("embedded", None)),
    "a key taken back": ({"HIGHFLAME_API_KEY": "k"}, {"api_key": None}, (None, None)),
    "v2": (
        {"HIGHFLAME_API_KEY": "k"},
        {"gateway": "highflame-v2"},
        ("highflame-v2", DEFAULT_BASE_URLS["highflame-v2"]),
    ),
    "javelin": ({"HIGHFLAME_API_KEY": "k"}, {"gateway": "javelin"}, ("javelin", DEFAULT_BASE_URLS["javelin"])),
    "portkey": ({"HIGHFLAME_API_KEY": "k"}, {"gateway": "portkey"}, ("portkey", DEFAULT_BASE_URLS["portkey"])),
    "portkey, on this machine": ({}, {"gateway": "portkey"}, ("portkey", "http://localhost:8787/v1")),
    "portkey, by its own variables": (
        {"PORTKEY_API_KEY": "k", "PORTKEY_PROXY": URL},
        {"gateway": "portkey"},
        ("portkey", URL),
    ),
    "portkey, its own key alone": (
        {"PORTKEY_API_KEY": "k"},
        {"gateway": "portkey"},
        ("portkey", DEFAULT_BASE_URLS["portkey"]),
    ),
    "portkey, without its key": (
        {"PORTKEY_API_KEY": "k"},
        {"gateway": "portkey", "api_key": None},
        ("portkey", "http://localhost:8787/v1"),
    ),
    "portkey's variables mean portkey only": ({"PORTKEY_API_KEY": "k"}, {}, (None, None)),
}


@pytest.mark.parametrize("name", WHICH)
def test_which_gateway_is_meant(name: str) -> None:
    environ, arguments, expected = WHICH[name]
    settings = load(environ, **arguments)
    assert (settings.gateway, settings.gateway_url) == expected


@pytest.mark.parametrize("gateway", ["highflame", "highflame-v2", "javelin"])
def test_highflames_gateways_need_a_key(gateway: str) -> None:
    with pytest.raises(
        ConfigError, match=f"gateway='{gateway}' needs a key: give api_key= or set HIGHFLAME_API_KEY"
    ):
        load(gateway=gateway)


def test_a_custom_header_shows_its_value_to_nobody() -> None:
    settings = load(headers={"X-Key": "hush-hush"})
    assert "hush-hush" not in repr(settings)
    assert "x-key" in repr(settings)


def test_a_gateway_of_unknown_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs to know where it is: give base_url= or set HIGHFLAME_GATEWAY_URL"):
        load(gateway="openai-compatible")


@pytest.mark.parametrize("gateway", [None, "embedded"])
def test_a_url_that_nothing_would_use_is_refused(gateway: str | None) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        load(gateway=gateway, base_url=URL)


def test_a_gateway_object_is_taken_as_it_is() -> None:
    gateway = Gateway(providers={}, guard=None)
    assert load(gateway=gateway).gateway is gateway
    gateway.close()


# What HIGHFLAME_BASE_URL means: the Shield, but to the two dialects of old the gateway.
NAMED = "http://named.test"
BASE_URL: dict[str, tuple[dict[str, str], dict[str, Any], tuple[str | None, str | None]]] = {
    "no gateway": ({}, {}, (None, NAMED)),
    "highflame": ({"HIGHFLAME_API_KEY": "k"}, {}, (DEFAULT_BASE_URLS["highflame"], NAMED)),
    "openai-compatible": ({"HIGHFLAME_GATEWAY_URL": URL}, {}, (URL, NAMED)),
    "embedded": ({}, {"gateway": "embedded"}, (None, NAMED)),
    "v2": ({"HIGHFLAME_API_KEY": "k"}, {"gateway": "highflame-v2"}, (NAMED, None)),
    "javelin": ({"HIGHFLAME_API_KEY": "k", "HIGHFLAME_GATEWAY": "javelin"}, {}, (NAMED, None)),
    "javelin, its URL as argument": (
        {"HIGHFLAME_API_KEY": "k"},
        {"gateway": "javelin", "base_url": URL},
        (URL, NAMED),
    ),
    "javelin, its URL named": (
        {"HIGHFLAME_API_KEY": "k", "HIGHFLAME_GATEWAY_URL": URL},
        {"gateway": "javelin"},
        (URL, NAMED),
    ),
    "javelin, the shield as argument": (
        {"HIGHFLAME_API_KEY": "k"},
        {"gateway": "javelin", "shield_url": "http://shield.test"},
        (NAMED, "http://shield.test"),
    ),
}


@pytest.mark.parametrize("name", BASE_URL)
def test_what_highflame_base_url_means(name: str) -> None:
    environ, arguments, expected = BASE_URL[name]
    settings = load({"HIGHFLAME_BASE_URL": NAMED, **environ}, **arguments)
    assert (settings.gateway_url, settings.shield_url) == expected


@pytest.mark.parametrize("gateway", ["highflame-v2", "javelin"])
def test_the_shield_is_never_taken_for_the_gateway(gateway: str) -> None:
    """Only the variable has two meanings: a setting called shield_url has one, wherever it stands."""
    Path("highflame.toml").write_text(toml("", gateway=gateway, api_key="k", shield_url="http://shield.test"))
    for settings in (load(), load(shield_url="http://shield.test")):
        assert (settings.gateway_url, settings.shield_url) == (DEFAULT_BASE_URLS[gateway], "http://shield.test")


def test_the_variable_wins_over_the_files_url_in_both_meanings() -> None:
    Path("highflame.toml").write_text(toml("", gateway="javelin", api_key="k", base_url="http://file.test"))
    assert load({"HIGHFLAME_BASE_URL": NAMED}).gateway_url == NAMED


# ------------------------------------------------------------------------------------------------- old names


@pytest.mark.parametrize("name", SOURCES)
def test_every_old_name_works_with_one_warning(name: str) -> None:
    variable, (_, environment, _), others = SOURCES[name]
    environ = {f"JAVELIN_{variable}": environment}
    there = {key: value for key, value in others.items() if key != name}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, second = load(environ, **there), load(environ, **there)
    assert plain(getattr(first, name)) == plain(getattr(second, name)) == READ.get(environment, environment)
    messages = [(item.category, str(item.message)) for item in caught]
    new = f"HIGHFLAME_{variable}"
    assert messages == [(DeprecationWarning, f"JAVELIN_{variable} is the old name of {new}; it still works")]


def test_the_new_name_wins_in_silence() -> None:
    settings = load({"HIGHFLAME_MODE": "monitor", "JAVELIN_MODE": "alert"})
    assert settings.mode is Mode.MONITOR


def test_an_empty_old_name_is_no_name() -> None:
    assert load({"JAVELIN_GUARD": "", "JAVELIN_MODE": " "}) == Settings()


def test_an_empty_new_name_does_not_hide_the_old_one() -> None:
    with pytest.warns(DeprecationWarning, match="JAVELIN_MODE is the old name"):
        assert load({"HIGHFLAME_MODE": "", "JAVELIN_MODE": "alert"}).mode is Mode.ALERT
