"""Builds the wheel, looks into it, installs it alone, and uses it as a stranger would. Run as a program."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".envs" / "uv" / "bin" / "uv"

USE = """
import importlib.metadata as metadata, pathlib
import highflame_middleware as package
assert "site-packages" in package.__file__, package.__file__
assert metadata.version("highflame-middleware") == package.__version__
assert pathlib.Path(package.__file__).with_name("py.typed").is_file()
(entry,) = metadata.entry_points(group="opentelemetry_instrumentor", name="highflame")
instrumentor = entry.load()()
instrumentor.instrument()
instrumentor.uninstrument()
from highflame_middleware import EmbeddedGuard, Gateway, GuardRequest, instrument
verdict = EmbeddedGuard().evaluate(GuardRequest(content="card 4111 1111 1111 1111"))
assert verdict.decision.value == "modify", verdict
with instrument() as handle:
    assert handle.status()["openai"].state == "absent"
import httpx
gateway = Gateway(providers={"echo": {"scripts": [{"text": "Hi."}]}})
with httpx.Client(transport=gateway.transport(httpx), base_url="http://gateway/v1") as client:
    messages = [{"role": "user", "content": "hello"}]
    reply = client.post("/chat/completions", json={"model": "m", "messages": messages})
assert reply.json()["choices"][0]["message"]["content"] == "Hi.", reply.text
from highflame_middleware import MissingExtraError
from highflame_middleware.cli import main
try:
    from highflame_middleware.testing import ScriptedProvider
    ScriptedProvider([]).openai()
except MissingExtraError as error:
    assert "needs openai>=1.40, and found none: pip install 'highflame-middleware[openai]'" in str(error), error
else:
    raise AssertionError("openai is not installed here")
"""


def main() -> int:
    """Check the wheel; the exit status is what a Makefile wants."""
    with tempfile.TemporaryDirectory() as folder:
        out, env = Path(folder) / "dist", Path(folder) / "env"
        _run(UV, "build", "--quiet", "--wheel", "--out-dir", out, ROOT)
        (wheel,) = out.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        shipped = {"highflame_middleware", "highflame_crewai", "highflame_langgraph"}
        strays = {name.split("/")[0] for name in names} - shipped
        assert all(stray.endswith(".dist-info") for stray in strays), strays
        assert "highflame_middleware/demo/scripts.json" in names
        assert "highflame_crewai/py.typed" in names
        assert "highflame_langgraph/py.typed" in names
        _run(UV, "venv", "--quiet", "--python", sys.executable, env)
        _run(UV, "pip", "install", "--quiet", "--python", env / "bin" / "python", wheel)
        _run(env / "bin" / "python", "-W", "error", "-c", USE, cwd=folder)
        said = subprocess.run(
            [env / "bin" / "highflame-middleware", "guard", "hello"], capture_output=True, text=True, check=True
        )
        assert said.stdout == "allow\n", said
        print(f"{wheel.name}: {len(names)} files, installed alone and used")
    return 0


def _run(*command: object, cwd: str | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


if __name__ == "__main__":
    sys.exit(main())
