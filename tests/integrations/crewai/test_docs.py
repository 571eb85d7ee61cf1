"""docs/crewai.md and the docstrings are true: their examples are run."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import highflame_crewai
from highflame_middleware.testing import ScriptedProvider
from tests.test_docs import BLOCK

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).resolve().parents[3]


def test_the_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    provider = ScriptedProvider([{"text": "I keep no card numbers."}])
    names: dict[str, Any] = {"__name__": "page"}
    with provider.serve() as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        for match in BLOCK.finditer((ROOT / "docs" / "crewai.md").read_text("utf-8")):
            exec(compile(match["code"], "crewai.md", "exec"), names)
    said = capsys.readouterr().out
    assert "I keep no card numbers." in said
    assert "Blocked at the prompt stage" in said
    assert "[REDACTED:credit_card]" in str(provider.requests[0])
    assert "4111" not in str(provider.requests)


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(highflame_crewai.__path__)])
def test_docstrings(name: str) -> None:
    module = import_module(f"highflame_crewai.{name}")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
