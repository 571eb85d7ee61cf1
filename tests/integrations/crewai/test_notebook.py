"""notebooks/crewai.ipynb does what it says: its cells are run on an event loop, as a notebook runs them."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")
NOTEBOOK = Path(__file__).resolve().parents[3] / "notebooks" / "crewai.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("CREWAI_DISABLE_TELEMETRY", "CREWAI_TRACING_ENABLED", "CREWAI_TESTING"):
        monkeypatch.setenv(name, "true")
    yield
    logging.disable(logging.NOTSET)


def test_what_is_kept_is_what_comes_out() -> None:
    async def main() -> list[str]:
        names: dict[str, Any] = {"__name__": "__main__"}
        said = []
        for cell in CELLS:
            code = compile("".join(cell["source"]), "crewai.ipynb", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                ran = eval(code, names)
                if inspect.isawaitable(ran):
                    await ran
            said.append(out.getvalue())
        return said

    said = asyncio.run(main())
    kept = ["".join("".join(output["text"]) for output in cell["outputs"]) for cell in CELLS]
    assert said == kept
    whole = "".join(kept)
    assert "outbox: [('collector@example.net', '4111 1111 1111 1111')" in whole
    enforced = kept[5]
    assert "collector" not in enforced
    assert "[REDACTED:github_token]" in enforced
