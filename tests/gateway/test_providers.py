"""The gateway's configuration: what is wrong with it is said when it is made; and which provider takes a call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from highflame_middleware import ConfigError, Gateway, Secret, Settings
from highflame_middleware.gateway import Scripted, Upstream
from highflame_middleware.gateway.providers import choose_provider, read_providers

URL = "http://localhost:1/v1"

# What is given as the provider "p": what the error must speak of.
WRONG: dict[str, tuple[Any, tuple[str, ...]]] = {
    "no table": ("http://x/v1", ("'p'", "base_url or scripts")),
    "empty": ({}, ("'p'", "base_url or scripts")),
    "both kinds": ({"base_url": URL, "scripts": []}, ("'p'", "either")),
    "unknown setting": ({"base_url": URL, "retries": 3}, ("'p'", "'retries'", "api_key_env")),
    "no scheme": ({"base_url": "localhost:1/v1"}, ("'p'", "http://")),
    "no host": ({"base_url": "http:///v1"}, ("'p'", "host")),
    "bad port": ({"base_url": "http://x:port/v1"}, ("'p'", "base_url")),
    "no text": ({"base_url": None}, ("'p'", "base_url")),
    "credentials in the URL": ({"base_url": "http://me:pw@x/v1"}, ("'p'", "credentials")),
    "query in the URL": ({"base_url": "http://x/v1?api-version=1"}, ("'p'", "query")),
    "key empty": ({"base_url": URL, "api_key": ""}, ("'p'", "api_key")),
    "key with a line end": ({"base_url": URL, "api_key": "a\r\nb"}, ("'p'", "api_key")),
    "key not ASCII": ({"base_url": URL, "api_key": "schlüssel"}, ("'p'", "api_key")),
    "key no text": ({"base_url": URL, "api_key": 7}, ("'p'", "api_key")),
    "key not in the environment": ({"base_url": URL, "api_key_env": "NO_SUCH"}, ("'p'", "NO_SUCH")),
    "key twice": ({"base_url": URL, "api_key": "k", "api_key_env": "PATH"}, ("'p'", "not both")),
    "timeout no number": ({"base_url": URL, "timeout": "soon"}, ("'p'", "timeout='soon'", "3600")),
    "timeout zero": ({"base_url": URL, "timeout": 0}, ("'p'", "timeout=0")),
    "timeout not finite": ({"base_url": URL, "timeout": float("nan")}, ("'p'", "timeout=nan")),
    "timeout a bool": ({"base_url": URL, "timeout": True}, ("'p'", "timeout=True")),
    "scripts with a URL's settings": ({"scripts": [], "timeout": 3}, ("'p'", "no other setting")),
    "scripts no list": ({"scripts": 7}, ("'p'", "list of tables")),
    "scripts of no tables": ({"scripts": ["Hello"]}, ("'p'", "list of tables")),
    "file absent": ({"scripts": "absent.json"}, ("'p'", "absent.json")),
    "script with an unknown field": ({"scripts": [{}, {"txt": "Hi"}]}, ("'p'", "script 1", "'txt'", "text")),
    "script given ready-made": (Scripted(scripts=({"txt": "Hi"},)), ("'p'", "script 0", "'txt'")),
    "text no text": ({"scripts": [{"text": 5}]}, ("script 0", "text=5")),
    "chunks one text": ({"scripts": [{"chunks": "Hello"}]}, ("script 0", "chunks")),
    "condition unknown": ({"scripts": [{"when": {"contain": "x"}}]}, ("script 0", "when", "contains")),
    "condition no table": ({"scripts": [{"when": "x"}]}, ("script 0", "when")),
    "tool without a name": ({"scripts": [{"tool_calls": [{"arguments": {}}]}]}, ("script 0", "tool_calls")),
    "tool as a table": ({"scripts": [{"tool_calls": {"name": "f"}}]}, ("script 0", "tool_calls")),
    "error no table": ({"scripts": [{"error": 500}]}, ("script 0", "error=500")),
    "error that is none": ({"scripts": [{"error": {"status": 200}}]}, ("script 0", "400 to 599")),
    "delay no number": ({"scripts": [{"delay": "1s"}]}, ("script 0", "delay='1s'")),
    "delay negative": ({"scripts": [{"delay": -1}]}, ("script 0", "delay=-1")),
    "cut no count": ({"scripts": [{"cut": "2"}]}, ("script 0", "cut='2'")),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_provider_that_cannot_be_read_says_what_which_and_what_to_do(name: str) -> None:
    row, needles = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        Gateway(providers={"p": row}, guard=None)
    for needle in needles:
        assert needle in str(caught.value)


@pytest.mark.parametrize("text", ["me:pw@x", "sk-very-secret\r\n"])
def test_an_error_never_repeats_a_credential(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(providers={"p": {"base_url": f"http://{text}/v1", "api_key": f"\0{text}"}}, guard=None)
    assert "pw" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        Gateway(providers={"p": {"base_url": URL, "api_key": f"\0{text}"}}, guard=None)
    assert text.strip() not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b", "two words", "naïve", 7])
def test_a_name_that_no_caller_could_write_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="header"):
        read_providers({name: {"scripts": []}})


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        ({"default": "nobody"}, "'nobody'"),
        ({"default": "nobody", "providers": {"p": {"scripts": []}}}, "there are: p"),
        ({"keys": "k"}, "list of keys"),
        ({"keys": ["", "k"]}, "not empty"),
        ({"providers": ["p"]}, "table of providers"),
        ({"mode": "watch"}, "monitor"),
        ({"deadline": 0}, "deadline"),
        ({"guard": "shield"}, "needs a key"),
        ({"guard": 7}, "guard=7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_a_config_error(arguments: dict[str, Any], needle: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(**arguments)
    assert needle in str(caught.value)


def test_scripts_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scripts.json"
    for content in ([{"text": "Hi"}], {"scripts": [{"text": "Hi"}]}):
        path.write_text(json.dumps(content), "utf-8")
        (provider,) = read_providers({"p": {"scripts": path}}).values()
        assert provider == Scripted(scripts=({"text": "Hi"},))
    path.write_bytes(b"\xff[")
    with pytest.raises(ConfigError, match=r"scripts\.json"):
        read_providers({"p": {"scripts": str(path)}})


def test_a_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UP_KEY", "sk-1\n")
    (provider,) = read_providers({"p": {"base_url": f"{URL}/", "api_key_env": "UP_KEY", "timeout": 5}}).values()
    assert provider == Upstream(base_url=URL, api_key=Secret("sk-1"), timeout=5)
    assert "sk-1" not in repr(provider)


def test_a_gateway_from_settings_and_arguments() -> None:
    settings = Settings(providers={"a": {"scripts": []}, "b": {"scripts": []}}, default_provider="b", guard=None)
    assert Gateway(settings=settings).providers == ("a", "b")
    assert Gateway(settings=settings, providers={"b": {"scripts": []}}).providers == ("b",)


def test_the_environments_gateway_is_not_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHFLAME_GATEWAY", "openai-compatible")
    monkeypatch.setenv("HIGHFLAME_GATEWAY_URL", "http://elsewhere/v1")
    assert Gateway(providers={"p": {"scripts": []}}, guard=None).providers == ("p",)


@pytest.mark.parametrize(
    ("row", "lends"),
    [({"base_url": URL}, False), ({"base_url": URL, "api_key": "k"}, True), ({"scripts": []}, False)],
    ids=["callers bring theirs", "a key of its own", "scripts"],
)
def test_whether_a_gateway_lends_keys(row: Any, lends: bool) -> None:
    assert Gateway(providers={"p": row}, guard=None).lends_keys is lends


A, B = Upstream(base_url="http://a/v1"), Upstream(base_url="http://b/v1")


@pytest.mark.parametrize(
    ("default", "named", "model", "chosen"),
    [
        (None, "b", "m", ("b", None)),
        (None, "b", "a/m", ("b", None)),
        ("a", "nobody", "a/m", None),
        ("a", "", "a/m", None),
        (None, None, "b/m", ("b", "m")),
        ("a", None, "b/org/m", ("b", "org/m")),
        ("a", None, "b/", ("b", "")),
        ("a", None, "org/m", ("a", None)),
        ("a", None, "/m", ("a", None)),
        ("a", None, "b", ("a", None)),
        ("a", None, None, ("a", None)),
        (None, None, "m", None),
        (None, None, None, None),
    ],
)
def test_which_provider_takes_a_call(default: Any, named: Any, model: Any, chosen: Any) -> None:
    choice = choose_provider({"a": A, "b": B}, default, named=named, model=model)
    assert (choice and (choice.name, choice.model)) == chosen


@pytest.mark.parametrize(("names", "takes"), [(["a"], True), (["a", "b"], False), ([], False)])
def test_the_only_provider_is_the_default(names: list[str], takes: bool) -> None:
    gateway = Gateway(providers={name: {"scripts": []} for name in names}, guard=None)
    assert gateway.takes("m") is takes
    assert gateway.takes("a/m") is bool(names)


def test_two_gateways_of_one_settings_object_are_two(tmp_path: Path) -> None:
    settings = Settings(providers={"a": {"scripts": []}}, guard=None)
    first, second = Gateway(settings=settings), Gateway(settings=settings, keys=["k"])
    assert (first.asks_for_keys, second.asks_for_keys) == (False, True)
