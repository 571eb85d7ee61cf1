"""For the tests of applications that use this library: a guard and a provider that do as told, spans, restoring.

>>> from highflame_middleware import instrument
>>> from highflame_middleware.testing import FakeGuard, ScriptedProvider
>>> provider = ScriptedProvider([{"text": "The code is 4711."}])
>>> guard = FakeGuard(redact=["4711"])
>>> with instrument(guard=guard, gateway=None), provider.openai() as client:
...     reply = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hi"}])
>>> reply.choices[0].message.content
'The code is [redacted].'
>>> [request.stage.label for request in guard.requests], len(provider.requests)
(['prompt', 'response'], 1)
"""

from .guards import FakeGuard
from .provider import ScriptedProvider
from .server import serve_on_thread
from .spans import CapturedSpans, captured_spans

__all__ = ["CapturedSpans", "FakeGuard", "ScriptedProvider", "captured_spans", "serve_on_thread"]
