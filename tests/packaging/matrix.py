"""Runs tests in environments of their own: the seams on several versions of the SDKs, and frameworks above them.

``seams`` is every row on every Python; ``newest`` the newest OpenAI SDK on the other Pythons
and the oldest one on the Python that runs this; ``frameworks`` a real call through each framework;
``rotating`` a part of all of that, another one each day. What there is besides can be
named: ``anthropic`` runs the rows that begin with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVS = ROOT / ".envs"
PYTHONS = ("3.11", "3.12", "3.13")
SEAM_TESTS = ("tests/instrumentation", "tests/replay/test_replay.py::test_the_corpus_of_our_own")
PART = 4


@dataclass(frozen=True)
class Row:
    """One set of versions, and the tests that are run with it."""

    name: str
    packages: tuple[str, ...]
    tests: tuple[str, ...] = SEAM_TESTS
    lenient: bool = False
    newest: bool = False


def _framework(name: str, *packages: str, version: str = "") -> Row:
    folders = ("frameworks", "instrumentation")
    # An adapter has a folder of tests, which are collected where its framework is.
    tests = (
        *(Path("tests") / folder / f"test_{name}.py" for folder in folders),
        Path("tests/integrations") / name,
    )
    return Row(
        "-".join(filter(None, ("framework", name, version))),
        packages,
        tuple(str(path) for path in tests if (ROOT / path).exists()),
        lenient=True,
    )


def _seam(kit: str, version: str, *packages: str) -> Row:
    """A version of an SDK, in an environment that no other SDK has a say in."""
    folder = Path("tests/instrumentation")
    own = sorted(str(folder / path.name) for path in (ROOT / folder).glob(f"test_{kit}_*.py"))
    tests = (str(folder / "test_seam_table.py"), str(folder / "test_leaving.py"), *own)
    return Row(f"{kit}-{version}", packages, tests, lenient=version != "newest")


# The floor, the last of each major, the newest. openai 1.40 passes ``proxies=`` to httpx, which 0.28 refuses.
SEAMS = (
    Row("openai-1.40", ("openai==1.40.0", "httpx<0.28"), newest=True),
    Row("openai-1.109", ("openai==1.109.1",)),
    Row("openai-2.54", ("openai==2.54.0",)),
    Row("openai-newest", ("openai", "httpx2", "websockets"), newest=True),
    _seam("anthropic", "0.34", "anthropic==0.34.2", "httpx<0.28"),
    _seam("anthropic", "0.73", "anthropic==0.73.0"),
    _seam("anthropic", "1.0", "anthropic==1.0.0"),
    _seam("anthropic", "newest", "anthropic"),
    _seam("google", "1.30", "google-genai==1.30.0"),
    _seam("google", "1.65", "google-genai==1.65.0", "aiohttp"),
    _seam("google", "2.34", "google-genai==2.34.0"),
    _seam("google", "newest", "google-genai"),
    _seam("botocore", "1.34", "aiobotocore==2.13.0", "boto3"),
    _seam("botocore", "1.37", "aiobotocore==2.21.1", "boto3"),
    _seam("botocore", "newest", "boto3"),
    _seam("botocore", "newest-aio", "aiobotocore", "boto3"),
    _seam("mistralai", "1", "mistralai==1.0.0"),
    _seam("mistralai", "2", "mistralai<3"),
    _seam("mistralai", "newest", "mistralai"),
    _seam("cohere", "5", "cohere==5.0.0"),
    _seam("cohere", "5.13", "cohere==5.13.0"),
    _seam("cohere", "newest", "cohere"),
    _seam("groq", "0.9", "groq==0.9.0", "httpx<0.28"),
    _seam("groq", "newest", "groq"),
    _seam("together", "2", "together<3"),
    _seam("together", "newest", "together"),
    _seam("websocket", "13", "openai", "websockets==13.1"),
    _seam("websocket", "15", "openai", "websockets==15.0.1"),
)
FRAMEWORKS = (
    # The engine with all that makes it faster or asks a model of the user's.
    Row("engine-extras", ("google-re2", "onnx", "onnxruntime", "openai", "redis", "tokenizers"), ("tests/engine",)),
    _framework("langchain", "langchain-openai", "langchain-anthropic", "langchain-aws", "langchain-google-genai"),
    _framework(
        "langgraph",
        "langchain>=1.4,<2",
        "langgraph>=1.2,<2",
        "langchain-openai",
        "langchain-anthropic",
        "langchain-google-genai",
    ),
    _framework("langgraph", "langchain==1.4.0", "langchain-openai", version="1.4"),
    _framework("llama_index", "llama-index-llms-openai"),
    _framework("agents", "openai-agents"),
    _framework("pydantic_ai", "pydantic-ai-slim[openai,anthropic,google]"),
    _framework("strands", "strands-agents[openai,anthropic]"),
    _framework("crewai", "crewai[anthropic,google-genai,litellm]>=1.15.19,<2"),
    # The oldest CrewAI whose hooks stop what they say no to.
    _framework("crewai", "crewai[anthropic,google-genai,litellm]==1.15.19", version="1.15.19"),
    _framework("litellm", "litellm"),
    _framework(
        "peers",
        "anthropic",
        "openai",
        "openinference-instrumentation-anthropic",
        "openinference-instrumentation-openai",
        "opentelemetry-instrumentation-anthropic",
        "opentelemetry-instrumentation-openai",
        "opentelemetry-instrumentation-openai-v2",
    ),
)


def run(row: Row, python: str) -> tuple[str, bool, str]:
    """Make the environment of a row and run its tests in it."""
    name = f"{row.name} on Python {python}"
    env = ENVS / f"matrix-{row.name}-{python}"
    interpreter = env / "bin" / "python"
    packages = (".[testing,gateway]", "pytest-asyncio", "trio", *row.packages)
    # What a framework or an old SDK leaves open, or deprecates, is not ours to fail on.
    lenient = ("-W", "ignore") if row.lenient else ()
    done = None
    for command in (
        ["uv", "venv", "--quiet", "--allow-existing", "--python", python, str(env)],
        ["uv", "pip", "install", "--quiet", "--python", str(interpreter), "--editable", *packages],
        [str(interpreter), "-m", "pytest", "-q", "-p", "no:cacheprovider", *lenient, *row.tests],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            return name, False, done.stdout + done.stderr
    assert done is not None
    return name, True, done.stdout.strip().splitlines()[-1]


def choose(which: str, here: str, there: list[str]) -> list[tuple[Row, str]]:
    """The rows to run, each with a Python."""
    everything = [(row, python) for python in there for row in SEAMS]
    above = [(row, here) for row in FRAMEWORKS]
    if which == "seams":
        return everything
    if which == "frameworks":
        return above
    if which == "newest":
        # On this Python the newest of everything is what the tests have run with already.
        return [job for job in everything if job[0].newest and (job[1] == here) != job[0].name.endswith("newest")]
    if which == "rotating":
        jobs = [*everything, *above]
        parts = -(-len(jobs) // PART)
        return jobs[datetime.now(UTC).toordinal() % parts :: parts]
    return [(row, python) for row, python in (*everything, *above) if row.name.startswith(which)]


def main(which: str) -> int:
    """Run the chosen rows, two environments at a time."""
    _show_pyenv_versions()
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    there = [python for python in PYTHONS if python == here or _is_there(python)]
    for python in PYTHONS:
        if python not in there:
            print(f"Python {python}: not on this machine, left out")
    jobs = choose(which, here, there)
    if not jobs:
        print(f"{which!r} names no row")
        return 2
    failed = 0
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for name, passed, output in pool.map(lambda job: run(*job), jobs):
            print(f"{name}: {output if passed else 'FAILED'}", flush=True)
            if not passed:
                failed += 1
                print(output, flush=True)
    return 1 if failed else 0


def _show_pyenv_versions() -> None:
    """Where Pythons are managed by pyenv, only those that it is told to show can be found."""
    if shutil.which("pyenv"):
        listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
        os.environ["PYENV_VERSION"] = ":".join(line.strip() for line in listed.stdout.splitlines() if line.strip())


def _is_there(python: str) -> bool:
    found = subprocess.run(["uv", "python", "find", "--quiet", python], capture_output=True, check=False)
    return found.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "newest"))
