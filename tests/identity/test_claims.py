"""What a payload says, in both profiles: who acts, who did, for whom, how far it reaches; and hostile payloads."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.errors import ConfigError
from highflame_middleware.identity import read_claims
from highflame_middleware.identity.claims import MAX_ACTORS, TRUST_LEVELS

WRITER, EDITOR, ROOT = (f"spiffe://d/acc/pro/agent/{name}" for name in ("writer", "editor", "root"))


def chain(*subjects: str, **outermost: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for subject in reversed(subjects):
        found = {"sub": subject, **({"act": found} if found else {})}
    return {**found, **outermost}


@pytest.mark.parametrize(
    ("payload", "actor", "prior", "human"),
    [
        ({"sub": WRITER}, WRITER, (), None),
        # Legacy: act is who delegated, or whose key it was. Neither acts, and neither is the human.
        ({"sub": WRITER, "act": {"sub": EDITOR}}, WRITER, (), None),
        ({"sub": WRITER, "act": {"sub": "user-1"}, "grant_type": "api_key"}, WRITER, (), None),
        ({"sub": WRITER, "act": chain(EDITOR, ROOT)}, WRITER, (), None),
        # rfc8693: the outermost act presents it.
        ({"sub": "user-1", "principal_type": "user"}, "user-1", (), "user-1"),
        ({"sub": "user-1", "principal_type": "user", "act": chain(WRITER)}, WRITER, (), "user-1"),
        ({"sub": "u", "principal_type": "user", "act": chain(WRITER, EDITOR, ROOT)}, WRITER, (EDITOR, ROOT), "u"),
        ({"sub": ROOT, "principal_type": "workload", "act": chain(WRITER, EDITOR)}, WRITER, (EDITOR,), None),
        ({"sub": ROOT, "principal_type": "unknown", "act": chain(WRITER)}, WRITER, (), None),
        ({"sub": ROOT, "principal_type": "User", "act": chain(WRITER)}, WRITER, (), None),
    ],
)  # fmt: skip
def test_who_acts_in_either_profile(
    payload: dict[str, Any], actor: str, prior: tuple[str, ...], human: str | None
) -> None:
    claims = read_claims(payload)
    assert (claims.current_actor, claims.prior_actors, claims.human) == (actor, prior, human)


def test_an_actors_attributes_are_its_own() -> None:
    """Beside an actor the top level is about the principal: what the actor lacks is not taken from there."""
    payload = {
        "sub": ROOT,
        "principal_type": "workload",
        "trust_level": "first_party",
        "external_id": "root",
        "identity_type": "service",
    }
    assert read_claims(payload).trust_level == "first_party"
    plain = read_claims({**payload, "act": chain(WRITER)})
    assert (plain.trust_level, plain.external_id, plain.identity_type) == ("", "", "")
    named = chain(WRITER, EDITOR, trust_level="unverified", external_id="writer")
    described = read_claims({**payload, "act": named})
    assert (described.trust_level, described.external_id) == ("unverified", "writer")
    legacy = read_claims({**payload, "principal_type": None, "act": chain(EDITOR, trust_level="unverified")})
    assert legacy.trust_level == "first_party"


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ({"scopes": ["tools:read", "tools:write"]}, ("tools:read", "tools:write")),
        ({"scope": "tools:read  tools:write"}, ("tools:read", "tools:write")),
        ({"scope": ["tools:read"]}, ("tools:read",)),
        ({"scopes": [], "scope": "tools:read"}, ()),
        ({"scopes": ["tools:read", 7, None]}, ("tools:read",)),
        ({"scopes": {"tools:read": True}}, ()),
        ({}, ()),
    ],
)
def test_scopes_are_an_array_or_words(given: dict[str, Any], scopes: tuple[str, ...]) -> None:
    assert read_claims({"sub": "a", **given}).scopes == scopes


def test_all_else_that_is_said() -> None:
    claims = read_claims(
        {
            "sub": WRITER, "iss": "i", "aud": "one", "jti": "j", "iat": 1, "exp": 2.5, "nbf": 1, "account_id": "a",
            "project_id": "p", "mission_id": "m", "session_id": "s", "task_id": "t", "cnf": {"jkt": "thumb"},
            "resource": ["r1", "r2"], "delegation_depth": 2, "capabilities": ["c"], "allowed_tools": ["x"],
            "mine": 1,
        }
    )  # fmt: skip
    assert (claims.aud, claims.resource, claims.tenant) == (("one",), ("r1", "r2"), ("a", "p"))
    assert (claims.issued_at, claims.expires_at, claims.jkt, claims.mission_id) == (1.0, 2.5, "thumb", "m")
    assert (claims.is_delegated, claims.capabilities, claims.allowed_tools, claims.raw["mine"]) == (
        True,
        ("c",),
        ("x",),
        1,
    )
    with pytest.raises(TypeError):
        claims.raw["mine"] = 2  # type: ignore[index]


@pytest.mark.parametrize("level", range(len(TRUST_LEVELS)))
def test_trust_is_an_order(level: int) -> None:
    claims = read_claims({"sub": "a", "trust_level": TRUST_LEVELS[level]})
    assert [claims.is_trusted(found) for found in TRUST_LEVELS] == [place <= level for place in range(3)]


@pytest.mark.parametrize("said", ["", "FIRST_PARTY", "root", None, 2])
def test_a_level_that_is_unknown_is_below_all(said: Any) -> None:
    assert not read_claims({"sub": "a", "trust_level": said}).is_trusted("unverified")


def test_a_level_that_there_is_not_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="first-party"):
        read_claims({"sub": "a", "trust_level": "first_party"}).is_trusted("first-party")


def test_a_chain_has_an_end() -> None:
    subjects = [f"agent-{place}" for place in range(MAX_ACTORS)]
    payload = {"sub": "user-1", "principal_type": "user"}
    assert len(read_claims({**payload, "act": chain(*subjects)}).actors) == MAX_ACTORS
    with pytest.raises(ValueError, match="more than 16"):
        read_claims({**payload, "act": chain(*subjects, "one-more")})


@pytest.mark.parametrize(
    "act", ["writer", [], {}, {"sub": ""}, {"sub": 7}, {"sub": "a", "act": {"sub": None}}, False, 0]
)
def test_a_chain_that_names_nobody_is_not_read(act: Any) -> None:
    """Passed over, it would make whoever is next the actor."""
    with pytest.raises(ValueError, match="names nobody"):
        read_claims({"sub": "user-1", "principal_type": "user", "act": act})


@pytest.mark.parametrize(
    "cnf", [{}, {"x5t#S256": "thumb"}, {"jkt": ""}, {"jkt": "é"}, {"jkt": 7}, "thumb", True, []]
)
def test_a_token_that_is_bound_otherwise_is_not_read(cnf: Any) -> None:
    """Passed over, it would be anybody's who has it."""
    with pytest.raises(ValueError, match="bound"):
        read_claims({"sub": "a", "cnf": cnf})


@pytest.mark.parametrize("value", [None, True, 7, 1e400, float("nan"), [], {}, "x", ["x", 1], {"jkt": 7}, 10**400])
def test_whatever_the_types_nothing_breaks(value: Any) -> None:
    names = [name for name in read_claims({"sub": "a"}).__slots__ if name not in ("actors", "raw")]
    payload = dict.fromkeys([*names, "iat", "exp", "nbf", "scope"], value)
    claims = read_claims(payload)
    for name in ("sub", "iss", "status", "trust_level", "jkt"):
        assert isinstance(getattr(claims, name), str)
    assert all(isinstance(scope, str) for scope in claims.scopes)
