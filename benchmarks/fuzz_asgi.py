"""Look for inputs that the ASGI door cannot stand, by coverage: tests/asgi/test_fuzz*.py, driven by atheris.

``python -m benchmarks.fuzz_asgi [seconds] [name of a test …]``: each test for its share of the seconds, in a
process of its own. What fails is raised as the test would, and its input kept under build/. Wants atheris, which
has wheels for Linux.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["highflame_middleware"]):
    from tests.asgi import test_fuzz, test_fuzz_identity, test_fuzz_replies

_TARGETS = {
    name: test.hypothesis
    for module in (test_fuzz, test_fuzz_identity, test_fuzz_replies)
    for name, test in vars(module).items()
    if hasattr(test, "hypothesis")
}
_KEPT = Path("build")
# Short inputs end before an example is whole: it begins with ones that make many.
_SEEDS, _LENGTH = 64, 2048


def main(seconds: int, names: Sequence[str]) -> int:
    """Run each test for its share of the time: 1 where one fails."""
    share = max(seconds // len(names), 1)
    _KEPT.mkdir(exist_ok=True)
    failed = []
    for name in names:
        print(f"\n{name}: {share} s", flush=True)
        with TemporaryDirectory() as corpus:
            for number in range(_SEEDS):
                Path(corpus, str(number)).write_bytes(random.randbytes(_LENGTH))
            command = [sys.executable, "-m", "benchmarks.fuzz_asgi", "--one", name, str(share), corpus]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _fuzz(name: str, seconds: str, corpus: str) -> None:
    """Run one test; it ends the process, with 0 once the time is over."""
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={4 * _LENGTH}",
        "-len_control=0",
        f"-artifact_prefix={_KEPT}/fuzz-{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, corpus], _TARGETS[name].fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _fuzz(*sys.argv[2:])
    else:
        sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 120, sys.argv[2:] or list(_TARGETS)))
