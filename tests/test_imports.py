"""Light to import: what is loaded when, by module name, each in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("httpx", "httpx2", "pydantic", "starlette", "fastapi", "opentelemetry.sdk", "openai", "anthropic", "anyio")


def loaded_by(script: str) -> set[str]:
    """The heavy packages that a script has loaded when it ends."""
    probe = f"{script}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True, timeout=60)
    modules = json.loads(done.stdout.splitlines()[-1])
    return {heavy for heavy in HEAVY for module in modules if module == heavy or module.startswith(f"{heavy}.")}


@pytest.mark.parametrize(
    "script",
    [
        "import highflame_middleware",
        "from highflame_middleware import BlockedError, GuardRequest, Settings, context",
        "from highflame_middleware import instrument; instrument()",
        "from highflame_middleware import instrument; instrument(guard=lambda request: True, gateway=None)",
        "from highflame_middleware import EmbeddedGuard, GuardRequest\n"
        "EmbeddedGuard().evaluate(GuardRequest(content='hello'))",
        "from highflame_middleware import Highflame; Highflame(api_key='zid_sk_1')",
        "from highflame_middleware import instrument; instrument(guard='shield', api_key='zid_sk_1', gateway=None)",
        "from highflame_middleware import Shield; Shield('embedded').prompt(lambda text: text)('hello')",
    ],
)
def test_nothing_heavy_is_loaded(script: str) -> None:
    assert loaded_by(script) == set()


def test_the_package_alone_loads_nothing_of_itself() -> None:
    script = (
        "import highflame_middleware as h, sys; print(sorted(m for m in sys.modules if m.startswith(h.__name__)))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['highflame_middleware', 'highflame_middleware._version']"


def test_instrumenting_waits_for_the_sdk() -> None:
    """The import hook fires when the user imports it, not before, and leaves the module's loader alone."""
    script = (
        "import sys\n"
        "from highflame_middleware import instrument\n"
        "handle = instrument()\n"
        "assert handle.status()['openai'].state == 'waiting', handle.status()\n"
        "assert 'openai' not in sys.modules\n"
        "import openai, importlib.machinery\n"
        "assert handle.status()['openai'].state == 'patched', handle.status()\n"
        "loader = sys.modules['openai._base_client'].__loader__\n"
        "assert isinstance(loader, importlib.machinery.SourceFileLoader), loader\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_library_is_quiet() -> None:
    script = (
        "from highflame_middleware import instrument\n"
        "from highflame_middleware.testing import FakeGuard, ScriptedProvider\n"
        "provider = ScriptedProvider([{'text': 'a key'}])\n"
        "with instrument(guard=FakeGuard(redact=['key'])), provider.openai() as client:\n"
        "    client.chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'hi'}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")
