"""Coming and going: twice, in threads, after a fork; what is refused and what is reported."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from highflame_middleware import ConfigError, Gateway, Mode, Settings, instrument, uninstrument
from highflame_middleware.instrumentation import Instrumentation, installation
from highflame_middleware.testing import FakeGuard, ScriptedProvider
from tests.instrumentation.kits.openai import CASES, KIT, MESSAGES, speaking
from tests.servers import Server

Start = Callable[..., Instrumentation]


def test_twice_with_the_same_settings_is_once() -> None:
    first = instrument(mode="monitor")
    assert instrument(mode="monitor") is first
    assert instrument(mode=Mode.MONITOR) is first
    first.uninstrument()
    first.uninstrument()
    assert not first.active
    assert instrument(mode="monitor") is not first


@pytest.mark.parametrize("other", [{"mode": "enforce"}, {"guard": None}, {"deadline": 1}, {}])
def test_twice_with_other_settings_is_an_error(other: dict[str, Any]) -> None:
    instrument(mode="monitor")
    with pytest.raises(ConfigError, match="instrumented already, with other settings"):
        instrument(**other)


def test_the_handle_is_a_context_manager() -> None:
    with instrument() as handle:
        assert handle.active
        assert "openai" in handle.status()
    assert not handle.active
    assert handle.status()["openai"].state == "waiting"


def test_uninstrumenting_nothing_does_nothing() -> None:
    uninstrument()
    uninstrument()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gateway": "openai-compatible"}, "give base_url= or set HIGHFLAME_GATEWAY_URL"),
        ({"gateway": "highflame"}, "give api_key= or set HIGHFLAME_API_KEY"),
        (
            {"settings": Settings(), "gateway": "kong"},
            "unknown: use one of highflame, highflame-v2, javelin, portkey",
        ),
        ({"gateway": "litellm"}, "unknown: use one of highflame"),
        ({"gateway": 7}, "cannot be used"),
        ({"gateway": print}, r"neither a name nor a highflame_middleware\.Gateway"),
        ({"guard": "shield"}, "guard=.shield. needs a key"),
        ({"guard": 7}, "cannot be used: give one of embedded"),
        ({"mode": "watch"}, "unknown: use one of enforce, monitor, alert, modify"),
        ({"deadline": 0}, "give seconds above 0"),
        ({"deadline": None}, "every wait is bounded"),
        ({"fail_open": "maybe"}, "neither true nor false"),
        ({"base_url": "gateway.example"}, "must begin with http"),
        ({"base_url": "https://user:pw@gateway.example"}, "without credentials"),
        ({"settings": "missing.toml"}, "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        instrument(**arguments)
    assert instrument().active, "and nothing of it is left"


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'guards'"):
        instrument(guards=None)  # type: ignore[call-arg]


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        instrument(gateway="openai-compatible", base_url="https://user:hunter2@gateway.example")
    assert "hunter2" not in str(caught.value)


def test_in_threads_there_is_one() -> None:
    handles: list[Instrumentation] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        handles.append(instrument(mode="monitor"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(handle) for handle in handles}) == 1


def test_going_while_others_call(provider: Server) -> None:
    """Instrumenting and taking it back under load: no call fails, none is left half-way."""
    provider.respond = speaking()
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
            while not stop.is_set():
                try:
                    client.chat.completions.create(model="m", messages=MESSAGES)
                except BaseException as error:
                    failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    turns = 0
    while (len(provider.log) < 100 or turns < 10) and not failures:
        with instrument(guard=FakeGuard(redact=["SECRET"])):
            turns += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_after_a_fork_both_sides_are_instrumented() -> None:
    """As under gunicorn with preload: instrumented in the parent, used in the workers."""
    script = """
import os, sys
from highflame_middleware import instrument, BlockedError, Gateway
from highflame_middleware.testing import FakeGuard, ScriptedProvider
import openai
provider = ScriptedProvider([{"text": "The SECRET is out."}])
instrument(guard=FakeGuard(redact=["SECRET"], local=False), deadline=5)
client = provider.openai()
def ask():
    reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    return reply.choices[0].message.content
assert ask() == "The [redacted] is out."
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ask() == "The [redacted] is out." else 1)
    children.append(pid)
statuses = [os.waitpid(pid, 0)[1] for pid in children]
assert statuses == [0, 0, 0], statuses
assert ask() == "The [redacted] is out."
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", script], check=True, timeout=60)


def test_a_version_that_is_too_old_is_left_alone_and_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(installation, "_installed", lambda distribution: "1.39.0")
    with caplog.at_level(logging.ERROR, "highflame_middleware"):
        handle = instrument()
    status = handle.status()["openai"]
    assert (status.state, status.version, status.needed) == ("too old", "1.39.0", "1.40")
    assert str(status) == "openai 1.39.0: too old (found 1.39.0, needed 1.40)"
    assert "neither guarded nor routed" in caplog.text


def test_a_seam_that_cannot_be_patched_does_not_break_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(openai._base_client.BaseClient, "_build_request")
    status = instrument().status()["openai"]
    assert (status.state, status.reason) == ("degraded", "AttributeError while patching")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "guard embedded, mode enforce, failing closed; calls keep their own base URL and credentials"),
        ({"guard": None}, "no guard; calls keep their own base URL and credentials"),
        ({"mode": "monitor"}, "guard embedded, mode monitor; calls keep"),
        ({"fail_open": True}, "mode enforce, failing open; calls keep"),
        ({"guard": FakeGuard()}, "guard fake, mode enforce"),
        (
            {"api_key": "zid_sk_1"},
            "go to https://gateway.highflame.ai/llm/v1 with the configured gateway key and the",
        ),
        ({"base_url": "http://gw:4000/v1"}, "go to http://gw:4000/v1 with the client's own credentials"),
        (
            {"gateway": "openai-compatible", "base_url": "http://gw/v1", "api_key": "key-1"},
            "go to http://gw/v1 with the configured gateway key in place of the client's",
        ),
        ({"gateway": "embedded"}, "go through the gateway in this process"),
        (
            {"gateway": "highflame", "api_key": "zid_sk_1", "on_unsupported": "refuse"},
            "the client's own credentials; formats it does not carry are refused",
        ),
        (
            {"gateway": "portkey", "settings": Settings(virtual_api_key="key-1")},
            "go to http://localhost:8787/v1 with the configured virtual key in place of the client's; "
            "formats it does not carry go to their own hosts",
        ),
    ],
)
def test_the_start_up_line_says_which_credentials_go_where(
    settings: dict[str, Any], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "highflame_middleware"):
        instrument(**settings)
    assert line in caplog.text
    assert "zid_sk_1" not in caplog.text
    assert "key-1" not in caplog.text


def test_the_environment_alone_is_enough(
    monkeypatch: pytest.MonkeyPatch, gateway: Server, provider: Server
) -> None:
    monkeypatch.setenv("HIGHFLAME_API_KEY", "zid_sk_1")
    monkeypatch.setenv("HIGHFLAME_GATEWAY_URL", f"{gateway.url}/llm/v1")
    instrument(guard=None)
    with openai.OpenAI(api_key="k") as client:
        # The default base URL is OpenAI's own: a known host, so the call is rerouted without being listed.
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert gateway.log[0].json["model"] == "openai/gpt-4o"
    assert gateway.log[0].headers["x-highflame-apikey"] == "zid_sk_1"


def test_through_the_gateway_in_this_process(provider: Server) -> None:
    gateway = Gateway(
        providers={"local": {"base_url": f"{provider.url}/v1"}, "echo": {"scripts": [{"text": "Hi."}]}}
    )
    provider.respond = speaking()
    with (
        instrument(gateway=gateway, guard=FakeGuard(redact=["SECRET"])),
        openai.OpenAI(api_key="k", max_retries=0) as client,
    ):
        ask = client.chat.completions.create
        local = ask(model="local/llama", messages=MESSAGES)
        echo = ask(model="m", messages=MESSAGES, extra_headers={"x-highflame-provider": "echo"})
    gateway.close()
    assert local.choices[0].message.content == "The [redacted] is out."
    assert echo.choices[0].message.content == "Hi."
    (seen,) = provider.log
    assert (seen.path, seen.json["model"]) == ("/v1/chat/completions", "llama")
    assert seen.headers["authorization"] == "Bearer k", "without a key of its own the upstream gets the caller's"
    assert not [name for name in seen.headers if name.startswith("x-highflame-")]


def test_the_embedded_gateway_by_name_and_file(provider: Server, tmp_path: Any) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'gateway = "embedded"\n[providers.here]\nbase_url = "{provider.url}/v1"\n')
    with instrument(settings=str(file), guard=None), openai.OpenAI(api_key="k", max_retries=0) as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
    assert provider.paths == ["/v1/chat/completions"]


def test_a_call_that_no_provider_takes_goes_its_own_way(provider: Server) -> None:
    """Two providers and no default: a call that names none is the client's own affair, guarded all the same."""
    provider.respond = speaking()
    gateway = Gateway(providers={"a": {"scripts": []}, "b": {"scripts": []}})
    settings = Settings(gateway=gateway, guard=FakeGuard(redact=["SECRET"]), reroute_hosts=("*",))
    with instrument(settings=settings), openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        reply = client.chat.completions.create(model="m", messages=MESSAGES)
    assert reply.choices[0].message.content == "The [redacted] is out."
    assert len(provider.log) == 1


def test_a_provider_without_sockets_serves_both_kinds() -> None:
    import asyncio

    provider = ScriptedProvider([{"text": "Hi."}])
    with provider.openai() as client:
        assert client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content == "Hi."

    async def ask() -> str:
        async with provider.async_openai() as client:
            reply = await client.chat.completions.create(model="m", messages=MESSAGES)
        return str(reply.choices[0].message.content)

    assert asyncio.run(ask()) == "Hi."


def test_only_and_exclude_say_whose_calls_are_caught(provider: Server) -> None:
    guard = FakeGuard()
    for choice in ({"exclude": ["openai"]}, {"only": ["anthropic"]}):
        with instrument(guard=guard, **choice) as handle:
            assert handle.status()["openai"].state == "excluded"
            KIT.perform("sync", provider, CASES["chat"])
    assert guard.requests == []
    with instrument(guard=guard, only=["openai"]) as handle:
        assert handle.status()["openai"].state == "patched"
        KIT.perform("sync", provider, CASES["chat"])
    assert guard.requests != []


def test_a_name_that_is_no_sdk_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"exclude names 'opnai', which is no SDK known here: use .*openai"):
        instrument(exclude=["opnai"])
