"""Signed receipts: a verdict in a canonical form, and an Ed25519 signature over it."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..extras import require
from ..types import GuardRequest, GuardResponse, Receipt, Secret

__all__ = ["ReceiptSigner"]


class ReceiptSigner:
    """Signs verdicts with a private key (Ed25519, PEM in PKCS #8), which needs ``cryptography`` (``[receipts]``).

    The canonical form is JSON with sorted keys and without spaces. It holds hashes in the place of texts: whoever
    has the text can prove what was decided about it, and nobody else learns what it was.
    """

    algorithm = "Ed25519"

    def __init__(self, pem: str | bytes | Secret, *, key_id: str = "") -> None:
        serialization = require(
            "cryptography.hazmat.primitives.serialization", extra="receipts", needed="cryptography>=42"
        )
        ed25519 = require(
            "cryptography.hazmat.primitives.asymmetric.ed25519", extra="receipts", needed="cryptography>=42"
        )
        given = pem.reveal() if isinstance(pem, Secret) else pem
        try:
            key = serialization.load_pem_private_key(
                given.encode() if isinstance(given, str) else given, password=None
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(f"the receipts' key cannot be read ({type(error).__name__}): give PEM") from None
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise ConfigError("the receipts' key is no Ed25519 key")
        self._key: Any = key
        self._public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.key_id = key_id or hashlib.sha256(self._public).hexdigest()[:16]

    @classmethod
    def from_file(cls, path: str | Path, *, key_id: str = "") -> ReceiptSigner:
        """Read the key from a file."""
        try:
            return cls(Path(path).read_bytes(), key_id=key_id)
        except OSError as error:
            raise ConfigError(f"the receipts' key cannot be read: {error.strerror}") from None

    def sign(self, request: GuardRequest, verdict: GuardResponse, *, at: datetime) -> Receipt:
        """The receipt for a verdict on a question."""
        canonical = json.dumps(
            {
                "action": request.action,
                "actual_decision": verdict.actual_decision.value if verdict.actual_decision else None,
                "content_sha256": _hash(request.content),
                "content_type": request.content_type,
                "decision": verdict.decision.value,
                "mode": verdict.effective_mode,
                "policies": [policy.rule_id for policy in verdict.determining_policies],
                "redacted_sha256": _hash(verdict.redacted_content),
                "request_id": verdict.request_id,
                "session_sha256": _hash(request.session_id or None),
                "timestamp": at.isoformat(),
                "tool": request.tool.name if request.tool is not None else None,
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        return Receipt(
            algorithm=self.algorithm,
            canonical=canonical,
            key_id=self.key_id,
            signature=_encoded(self._key.sign(canonical.encode())),
        )

    def public_keys(self) -> dict[str, Any]:
        """The public key as a JWK set, for whoever checks receipts."""
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": self.algorithm,
                    "kid": self.key_id,
                    "use": "sig",
                    "alg": "EdDSA",
                    "x": _encoded(self._public),
                }
            ]
        }

    def __repr__(self) -> str:
        return f"ReceiptSigner(key_id={self.key_id!r})"


def _hash(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
