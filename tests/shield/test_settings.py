"""The client of Shield: where its settings come from, and what cannot be one."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

from highflame_middleware import (
    APIError,
    ConfigError,
    Highflame,
)
from tests.shield.kit import KEY, ScriptedShield, problem
from tests.shield.test_client import RAW


class TestSettings:
    def test_the_environment_is_read(self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch) -> None:
        """Defect M: the variables that are documented are read."""
        for name, value in {
            "API_KEY": KEY,
            "BASE_URL": there.url,
            "TOKEN_URL": there.token_url,
            "ACCOUNT_ID": "env-a",
            "PROJECT_ID": "env-p",
        }.items():
            monkeypatch.setenv(f"HIGHFLAME_{name}", value)
        with Highflame() as client:
            client.guard.evaluate_prompt("x")
        assert there.exchanges[0].json["api_key"] == KEY
        assert there.asked[0].headers["x-account-id"] == "env-a"

    def test_an_argument_counts_before_the_environment(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HIGHFLAME_API_KEY", "zid_sk_other")
        monkeypatch.setenv("HIGHFLAME_BASE_URL", "http://127.0.0.1:9")
        with there.client() as client:
            client.guard.evaluate_prompt("x")
        assert there.exchanges[0].json["api_key"] == KEY

    def test_an_argument_is_never_taken_for_another_gateways_key(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PORTKEY_API_KEY", "theirs")
        monkeypatch.setenv("HIGHFLAME_GATEWAY", "portkey")
        with pytest.raises(ConfigError, match="Shield needs a key"):
            Highflame(base_url=there.url)
        assert there.client().guard.evaluate_prompt("x").allowed

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({}, "Shield needs a key: give api_key="),
            ({"api_key": ""}, "api_key must be a string that is not empty"),
            ({"api_key": 7}, "api_key must be a string"),
            ({"api_key": "a\nb"}, "api_key holds characters"),
            ({"api_key": "k", "access_token": "t"}, "not both"),
            ({"api_key": "k", "base_url": "shield.test"}, "must begin with http"),
            ({"api_key": "k", "timeout": 0}, "timeout=0 cannot be used"),
            ({"api_key": "k", "timeout": "x"}, "timeout='x' cannot be used"),
            ({"api_key": "k", "max_retries": -1}, "max_retries=-1 cannot be used"),
            ({"api_key": "k", "default_headers": {"Authorization": "x"}}, "'Authorization' is no header"),
            ({"api_key": "k", "default_headers": {"a b": "x"}}, "'a b' is no header"),
            ({"api_key": "k", "default_headers": {"a": "x\r\ny: z"}}, "cannot be sent in a header"),
            ({"api_key": "k", "product": "ä"}, "cannot be sent in a header"),
        ],
    )
    def test_what_cannot_be_used(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            Highflame(**options)

    def test_no_secret_is_shown(self, there: ScriptedShield, caplog: pytest.LogCaptureFixture) -> None:
        """Defect S: neither keys nor texts are logged, whatever the level."""
        with caplog.at_level(logging.DEBUG), there.client() as client:
            client.guard.evaluate_prompt(RAW)
            there.answers = [problem(422, detail=RAW)]
            with pytest.raises(APIError) as caught:
                client.guard.evaluate_prompt(RAW)
            shown = [repr(client), repr(vars(client._service)), caplog.text, str(caught.value), repr(caught.value)]
        assert all(secret not in text for text in shown for secret in (KEY, "token-1", RAW))
        assert caught.value.detail == RAW

    @pytest.mark.parametrize("library", ["httpx", "httpx2"])
    def test_an_own_client_is_used_and_left_open(self, there: ScriptedShield, library: str) -> None:
        """Defect M: whichever base URL there is, it is not lost."""
        module = pytest.importorskip(library)
        with module.Client(headers={"x-own": "1"}) as own:
            for options in ({"base_url": there.url}, {}):
                if not options:
                    own.base_url = there.url + "/own"
                with Highflame(api_key=KEY, token_url=there.token_url, httpx_client=own, **options) as client:
                    assert client.guard.evaluate_prompt("x").allowed
            assert not own.is_closed
        assert [seen.path for seen in there.asked] == ["/v1/shield/guard", "/own/v1/shield/guard"]
        assert {seen.headers["x-own"] for seen in there.server.log} == {"1"}

    @pytest.mark.parametrize("library", ["httpx", "httpx2"])
    async def test_an_own_asynchronous_client(self, there: ScriptedShield, library: str) -> None:
        module = pytest.importorskip(library)
        async with module.AsyncClient(base_url=there.url, auth=("a", "b")) as own:
            client = Highflame(api_key=KEY, token_url=there.token_url, async_httpx_client=own)
            assert (await client.guard.aevaluate_prompt("x")).allowed
            await client.aclose()
            assert not own.is_closed
        assert there.asked[0].headers["authorization"] == "Bearer token-1"

    def test_a_client_serves_again_after_it_was_closed(self, there: ScriptedShield) -> None:
        client = there.client()
        for _ in range(2):
            with client:
                assert client.guard.evaluate_prompt("x").allowed
        assert len(there.exchanges) == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
    def test_a_forked_process_asks_for_itself(self, there: ScriptedShield) -> None:
        with there.client() as client:
            client.guard.evaluate_prompt("x")
            child = os.fork()
            if child == 0:
                try:
                    os._exit(0 if client.guard.evaluate_prompt("x").allowed else 1)
                except BaseException:
                    os._exit(2)
            assert os.waitpid(child, 0)[1] == 0
            assert client.guard.evaluate_prompt("x").allowed
