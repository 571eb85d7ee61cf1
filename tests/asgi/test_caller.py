"""Who a request comes from: trusted peers only, both families, malformed values as if absent."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware import CallContext, ConfigError, HighflameMiddleware, current_context
from highflame_middleware.asgi.caller import Peers, head_of, read_identity, request_id_of
from tests.gateway_kit import ask

NETWORKS = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("given", "host", "trusted"),
    [
        ([], "127.0.0.1", False),
        ([], None, False),
        (NETWORKS, "10.1.2.3", True),
        (NETWORKS, "11.1.2.3", False),
        (NETWORKS, "192.0.2.7", True),
        (NETWORKS, "192.0.2.8", False),
        (NETWORKS, "2001:db8::1", True),
        (NETWORKS, "2001:db9::1", False),
        (NETWORKS, "::ffff:10.1.2.3", True),
        (NETWORKS, "::ffff:11.1.2.3", False),
        (NETWORKS, "010.1.2.3", False),
        (NETWORKS, "10.1.2.3:80", False),
        (NETWORKS, "testclient", False),
        (NETWORKS, "", False),
        (NETWORKS, None, False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["*"], "192.0.2.8", True),
        (["*"], "testclient", True),
        (["*"], None, True),
        (("10.0.0.1", "*"), None, True),
    ],
)
def test_which_peers_are_trusted(given: Any, host: str | None, trusted: bool) -> None:
    assert Peers.read(given).trust(host) is trusted


def test_peers_may_be_any_iterable() -> None:
    assert Peers.read(iter(["*"])).trust(None)


@pytest.mark.parametrize(
    ("given", "needle"),
    [
        ("10.0.0.0/8", "must be a list"),
        ("*", "must be a list"),
        (["10.0.0.1/8"], "host bits"),
        (["proxy.example"], "'proxy.example'"),
        ([""], "''"),
        (["10.0.0.0/33"], "'10.0.0.0/33'"),
        ([None], "None"),
    ],
)
def test_peers_that_are_none(given: Any, needle: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HighflameMiddleware(lambda *_: None, guard=None, trusted_peers=given)  # type: ignore[arg-type,return-value]
    assert "trusted_peers" in str(caught.value)
    assert needle in str(caught.value)


def headers_of(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], {}),
        ([("x-highflame-user", "ada")], {"user": "ada"}),
        ([("x-javelin-user", "ada")], {"user": "ada"}),
        ([("x-javelin-user", "old"), ("x-highflame-user", "new")], {"user": "new"}),
        ([("x-highflame-user", "new"), ("x-javelin-user", "old")], {"user": "new"}),
        ([("X-Highflame-USER", "ada")], {"user": "ada"}),
        ([("x-highflame-userrole", "admin")], {"role": "admin"}),
        ([("x-highflame-role", "admin")], {"role": "admin"}),
        ([("x-highflame-session", "s")], {"session": "s"}),
        ([("x-highflame-session-id", "s")], {"session": "s"}),
        ([("x-highflame-accountid", "a")], {"account": "a"}),
        ([("x-javelin-account", "a")], {"account": "a"}),
        ([("x-highflame-application", "app"), ("x-highflame-route", "r")], {"application": "app", "route": "r"}),
        ([("x-highflame-user", "first"), ("x-highflame-user", "last")], {"user": "last"}),
        # Malformed, or none of a caller's business.
        ([("x-highflame-user", "")], {}),
        ([("x-highflame-user", "é")], {}),
        ([("x-highflame-user", "a\r\nb")], {}),
        ([("x-highflame-user", "a\tb")], {}),
        ([("x-highflame-user", "x" * 257)], {}),
        ([("x-javelin-user", "old"), ("x-highflame-user", "\x00")], {"user": "old"}),
        ([("x-highflame-bypass", "yes"), ("x-highflame-metadata", "{}"), ("x-highflame-request_id", "1")], {}),
        ([("user", "ada"), ("x-user", "ada"), ("x-highflame-", "ada")], {}),
    ],
)
def test_what_identity_headers_say(headers: list[tuple[str, str]], found: dict[str, str]) -> None:
    assert read_identity(headers_of(*headers)) == found


@pytest.mark.parametrize(
    "given",
    ["abcdefgh", "0af7651916cd43dd8448eb211c80319c", "req-2024.01:02_x/y+z=", "A" * 128],
)
def test_a_well_formed_request_id_is_kept(given: str) -> None:
    assert request_id_of(head_of(headers_of(("X-Request-Id", given)))) == given


@pytest.mark.parametrize(
    "given", ["", "short", "A" * 129, "has a space", "line\r\nend", "<script>", "naïve-value", None]
)
def test_any_other_is_made(given: str | None) -> None:
    headers = head_of(headers_of(("x-request-id", given))) if given is not None else {}
    made = request_id_of(headers)
    assert len(made) == 32
    assert made != request_id_of(headers), "a new one for each request"


IDENTITY = [("x-highflame-user", "ada"), ("x-javelin-userrole", "admin"), ("x-highflame-session", "s1")]


@pytest.mark.parametrize(
    ("trusted", "client", "seen"),
    [
        ((), ("127.0.0.1", 1), (None, None, None)),
        (["192.0.2.0/24"], ("192.0.2.1", 1), ("ada", "admin", "s1")),
        (["192.0.2.0/24"], ("198.51.100.1", 1), (None, None, None)),
        (["192.0.2.0/24"], None, (None, None, None)),
        (["*"], None, ("ada", "admin", "s1")),
    ],
)
@pytest.mark.parametrize("guard", ["embedded", None])
def test_whose_word_the_application_hears(trusted: Any, client: Any, seen: Any, guard: Any) -> None:
    contexts: list[CallContext] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        contexts.append(current_context())

    ask(HighflameMiddleware(app, guard=guard, trusted_peers=trusted), headers=IDENTITY, client=client)
    assert [(context.user, context.role, context.session) for context in contexts] == [seen]
    assert contexts[0].request_id
    assert contexts[0].bypass is None
    assert current_context() == CallContext()


def test_a_server_that_names_no_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert current_context().user is None

    from tests.gateway_kit import scope_of, serve

    async def run() -> None:
        scope = scope_of(headers=IDENTITY)
        del scope["client"]
        await serve(HighflameMiddleware(app, guard=None, trusted_peers=["10.0.0.0/8"]), scope)

    import anyio

    anyio.run(run)
