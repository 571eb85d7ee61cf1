"""Runs the seam's tests on several versions of the SDK and of Python, each in an environment of its own.

``all`` runs every row on every Python; ``default`` every row on the Python that
runs this, and the newest SDK on the others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVS = ROOT / ".envs"
PYTHONS = ("3.11", "3.12", "3.13")
TESTS = ("tests/instrumentation", "tests/replay/test_replay.py::test_the_corpus_of_our_own")


@dataclass(frozen=True)
class Row:
    """One set of versions. The oldest SDK passes ``proxies=`` to httpx, which 0.28 refuses."""

    name: str
    packages: tuple[str, ...]


NEWEST = Row("openai-newest", ("openai", "httpx2"))
ROWS = (
    Row("openai-1.40", ("openai==1.40.0", "httpx<0.28")),
    Row("openai-1.109", ("openai==1.109.1",)),
    Row("openai-2.54", ("openai==2.54.0",)),
    NEWEST,
)


def run(row: Row, python: str) -> tuple[str, bool, str]:
    """Make the environment of a row and run the tests in it."""
    name = f"{row.name} on Python {python}"
    env = ENVS / f"matrix-{row.name}-{python}"
    interpreter = env / "bin" / "python"
    packages = (".[testing,gateway]", "pytest-asyncio", "trio", *row.packages)
    done = None
    for command in (
        ["uv", "venv", "--quiet", "--allow-existing", "--python", python, str(env)],
        ["uv", "pip", "install", "--quiet", "--python", str(interpreter), "--editable", *packages],
        [str(interpreter), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            return name, False, done.stdout + done.stderr
    assert done is not None
    return name, True, done.stdout.strip().splitlines()[-1]


def main(which: str) -> int:
    """Run the matrix, two environments at a time."""
    _show_pyenv_versions()
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    there = [python for python in PYTHONS if python == here or _is_there(python)]
    for python in PYTHONS:
        if python not in there:
            print(f"Python {python}: not on this machine, left out")
    jobs = [(row, python) for python in there for row in ROWS if which == "all" or python == here or row is NEWEST]
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
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "default"))
