"""Patching among other patchers: whatever the order of coming and going, calls are covered and all is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import openai._base_client as base_client
import pytest
import wrapt
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from highflame_middleware import instrument, uninstrument
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.instrumentation.patches import Patches
from highflame_middleware.testing import FakeGuard
from tests.instrumentation.kits.openai import MESSAGES, speaking
from tests.servers import Server

Start = Callable[..., Instrumentation]

# Every class that anybody in these tests patches.
OWNERS = (
    base_client.BaseClient,
    base_client.SyncAPIClient,
    base_client.AsyncAPIClient,
    openai.OpenAI,
    openai.AsyncOpenAI,
    openai.AzureOpenAI,
)


def snapshot() -> list[dict[str, Any]]:
    import httpx

    owners = [*OWNERS, httpx.Client, httpx.AsyncClient]
    return [dict(vars(owner)) for owner in owners]


class Peer:
    """An instrumentor as others write them: wrapt around an inherited method, undone by unwrapping.

    wrapt puts its wrapper on the class it is told, not on the one that defines
    the method; undoing it leaves the plain method there. It is silent where
    OpenTelemetry's instrumentors are asked to be.
    """

    def __init__(self, owner: type, name: str) -> None:
        self._owner, self._name = owner, name
        self.calls: list[Any] = []

    def install(self) -> None:
        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            assert instance is not None
            if is_instrumentation_enabled():
                self.calls.append(kwargs.get("options") or args[1])
            return wrapped(*args, **kwargs)

        wrapt.wrap_function_wrapper(self._owner, self._name, wrapper)

    def remove(self) -> None:
        function = getattr(self._owner, self._name)
        if isinstance(function, wrapt.ObjectProxy):
            setattr(self._owner, self._name, function.__wrapped__)


@contextmanager
def peer_on(owner: type) -> Iterator[Peer]:
    """A peer whose traces are swept up afterwards, whatever the test did."""
    before = dict(vars(owner))
    peer = Peer(owner, "request")
    try:
        yield peer
    finally:
        uninstrument()
        if "request" in before:
            type.__setattr__(owner, "request", before["request"])
        elif "request" in vars(owner):
            type.__delattr__(owner, "request")


def call(provider: Server) -> str:
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
        reply = client.chat.completions.create(model="m", messages=MESSAGES)
    return str(reply.choices[0].message.content)


@pytest.mark.parametrize("owner", [openai.OpenAI, base_client.SyncAPIClient], ids=["subclass", "base class"])
@pytest.mark.parametrize("order", ["peer first", "ours first"])
@pytest.mark.parametrize("undo", ["peer first", "ours first"])
def test_stacked_with_a_peer(
    owner: type, order: str, undo: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = speaking()
    provider.respond = speaking()
    before = snapshot()
    guard = FakeGuard(redact=["SECRET"])
    with peer_on(owner) as peer:
        if order == "peer first":
            peer.install()
            routed(guard=guard)
        else:
            routed(guard=guard)
            peer.install()
        assert call(provider) == "The [redacted] is out."
        assert (provider.log, len(gateway.log), len(peer.calls)) == ([], 1, 1)
        assert len(guard.requests) == 2, "guarded once each way"

        if undo == "peer first":
            peer.remove()
            assert call(provider) == "The [redacted] is out.", "still covered when the peer has gone"
            assert (provider.log, len(gateway.log)) == ([], 2)
            uninstrument()
        else:
            uninstrument()
            assert call(provider) == "The SECRET is out.", "ours is inert below the peer's wrapper"
            assert (len(provider.log), len(gateway.log), len(peer.calls)) == (1, 1, 2)
            peer.remove()
        provider.log.clear()
        assert call(provider) == "The SECRET is out."
        assert len(provider.log) == 1
    if undo == "peer first" or owner is openai.OpenAI:
        assert snapshot() == before


def test_the_peer_sees_what_the_guard_made_of_it(provider: Server, gateway: Server, routed: Start) -> None:
    with peer_on(openai.OpenAI) as peer:
        peer.install()
        routed(guard=FakeGuard(redact=["SECRET"]))
        call(provider)
        assert "SECRET" not in str(peer.calls[0].json_data)


def test_undo_restores_exactly(routed: Start) -> None:
    before = snapshot()
    routed().uninstrument()
    assert snapshot() == before
    for _ in range(3):
        handle = routed()
        assert snapshot() != before
        handle.uninstrument()
    assert snapshot() == before


def test_a_patch_by_name_and_by_inheritance() -> None:
    class Base:
        def act(self) -> str:
            return "base"

    class Owning(Base):
        def act(self) -> str:
            return f"owning {super().act()}"

    class Inheriting(Base):
        pass

    for cls in (Base, Owning, Inheriting):
        cls.__module__ = "package.module"
    before = [dict(vars(cls)) for cls in (Base, Owning, Inheriting)]
    patches = Patches()

    def wrap(original: Any) -> Callable[..., str]:
        return lambda self: f"<{original.__get__(self, type(self))()}>"

    patches.replace_in_tree(Base, "act", "package", wrap)
    assert (Base().act(), Owning().act(), Inheriting().act()) == ("<base>", "<owning <base>>", "<base>")
    patches.undo()
    assert [dict(vars(cls)) for cls in (Base, Owning, Inheriting)] == before
    patches.undo()


def test_a_foreign_subclass_is_left_alone() -> None:
    class Base:
        def act(self) -> str:
            return "base"

    class Users(Base):
        def act(self) -> str:
            return f"users {super().act()}"

    Base.__module__, Users.__module__ = "package.module", "application"
    patches = Patches()
    patches.replace_in_tree(Base, "act", "package", lambda original: lambda self: f"<{original(self)}>")
    assert Users().act() == "users <base>"
    patches.undo()


def test_instrumented_functions_keep_their_names() -> None:
    instrument(gateway=None, guard=None)
    assert base_client.SyncAPIClient.request.__name__ == "request"
    assert base_client.SyncAPIClient.request.__qualname__ == "SyncAPIClient.request"
