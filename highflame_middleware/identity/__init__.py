"""Who calls: agents' tokens (ZeroID, or any issuer of JWTs) verified in this process. Needs the extra ``identity``.

For a door there is one object, and three questions to it::

    verifier = TokenVerifier(issuer="https://auth.highflame.ai", resource="https://api.example.com")
    authenticator = Authenticator(verifier)

    identity = authenticator.authenticate(headers, method, url)          # blocking; raises an IdentityError
    identity = await authenticator.aauthenticate(headers, method, url)   # asyncio or trio
    refusal = authenticator.refuse(error)                                # its status, headers and body

``headers`` are pairs as ASGI has them (names in any case, bytes or strings) or a mapping; ``url`` is what the
caller called, whole, for proofs of possession (`Authenticator` takes ``origin=`` where a proxy hides it).
``scopes=`` and ``min_trust=`` ask for more than the verifier does, for one path say. `IdentityError`, and nothing
else, means that the caller is not let in; an absent token is a `TokenError` too, with the code ``missing_token``.

`Identity` has the verified ``claims`` (`AgentClaims`: ``current_actor``, ``prior_actors``, ``human``, ``scopes``,
tenant, ``mission_id``…), the ``token`` itself as a `Secret` for calls that go on with it, and ``context()``:
keyword arguments for `highflame_middleware.context`.

==========================  ========================================================  ======  ======================
error                       ``code``                                                  status  challenge
==========================  ========================================================  ======  ======================
`TokenError`                ``missing_token``                                         401     the schemes, bare
`TokenError`                ``invalid_request`` (two tokens, unreadable, too long)    400     ``invalid_request``
`TokenError`                ``token_expired``, ``token_not_yet_valid``,               401     ``invalid_token``
                            ``invalid_signature``, ``invalid_issuer``,
                            ``invalid_audience``, ``unsupported_algorithm``,
                            ``invalid_token`` (malformed, a claim is missing),
                            ``token_inactive`` (its agent may not call now),
                            ``credential_not_found``
`RevokedError`              ``token_revoked``                                         401     ``invalid_token``
`TokenError`                ``invalid_dpop_proof``                                    401     ``invalid_dpop_proof``
`TokenError`                ``use_dpop_nonce`` (its ``nonce`` is the one to use)      401     ``use_dpop_nonce``
`InsufficientError`         ``insufficient_scope`` (its ``scopes`` would do),         403     ``insufficient_scope``
                            ``insufficient_trust``
`IdentityUnavailableError`  ``network_error``, ``overloaded``,                        503     none; Retry-After
                            ``configuration_error`` (this service's own credentials)
==========================  ========================================================  ======  ======================

A refusal's headers are (name, value) pairs in lower case: one ``www-authenticate`` per scheme, with
``resource_metadata`` where the authenticator knows it; `protected_resource` makes that document (RFC 9728), and
`step_up_challenge` what a door answers to ask for a stronger login (RFC 9470).

The other way round, `TokenClient` gets tokens: for a service key, and by delegation.
"""

from .authenticator import Authenticator, Identity
from .challenge import (
    Refusal,
    challenges,
    protected_resource,
    protected_resource_url,
    refuse,
    step_up_challenge,
)
from .claims import Actor, AgentClaims, read_claims
from .dpop import Nonces, Proofs, ReplayStore, SeenProofs
from .grants import AccessToken, TokenClient, actor_assertion
from .introspection import Introspection
from .replays import RedisProofs
from .revocation import DelegationChain
from .verifier import Standing, TokenVerifier

__all__ = [
    "AccessToken",
    "Actor",
    "AgentClaims",
    "Authenticator",
    "DelegationChain",
    "Identity",
    "Introspection",
    "Nonces",
    "Proofs",
    "RedisProofs",
    "Refusal",
    "ReplayStore",
    "SeenProofs",
    "Standing",
    "TokenClient",
    "TokenVerifier",
    "actor_assertion",
    "challenges",
    "protected_resource",
    "protected_resource_url",
    "read_claims",
    "refuse",
    "step_up_challenge",
]
