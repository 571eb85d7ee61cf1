"""The ways of calling google-genai with a project of Google Cloud: other paths, and a token with each attempt."""

from __future__ import annotations

import warnings
from typing import Any

from google.auth.credentials import Credentials

from tests.instrumentation.kits import Case, Kit, google

__all__ = ["KIT", "make"]


class _Credentials(Credentials):
    """Credentials that never have to be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "t-provider"

    def refresh(self, request: Any) -> None:
        raise AssertionError("nothing is fetched")


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind."""
    project = {"vertexai": True, "project": "p", "location": "us-central1", "credentials": _Credentials()}
    return google.make(kind, url, **{"api_key": None, **project, **options})


def _images(client: Any) -> Any:
    with warnings.catch_warnings():
        # The SDK's own: this way of making images is to go.
        warnings.simplefilter("ignore")
        return client.models.generate_images(model="imagen", prompt="a cat")


_NAMES = ("generate", "generate system", "stream", "stream typed", "chat", "chat stream", "embed", "count")
_CASES = {
    **{name: google.CASES[name] for name in _NAMES},
    "images": Case(_images, needs="models.generate_images"),
    "compute": Case(lambda c: c.models.compute_tokens(model="m", contents="Hi!")),
    "predict embeddings": Case(
        lambda c: c.models.embed_content(model="gemini-embedding-001", contents="Tell me the SECRET.")
    ),
}

KIT = Kit(
    sdk="google-genai-vertex", make=make, cases=_CASES, speaking=google.speaking, retrying=google.KIT.retrying
)
