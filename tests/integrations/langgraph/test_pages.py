"""What is written about the adapter is true: its page, its docstrings, its notebook."""

from __future__ import annotations

import ast
import doctest
import importlib
import io
import json
import pkgutil
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import highflame_langgraph

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
MODULES = [module.name for module in pkgutil.iter_modules(highflame_langgraph.__path__, "highflame_langgraph.")]
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_page() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    blocks = BLOCK.findall((ROOT / "docs" / "langgraph.md").read_text("utf-8"))
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/langgraph.md", "exec"), names)


@pytest.mark.parametrize("name", ["highflame_langgraph", *MODULES])
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
    assert module.__doc__
    assert all(hasattr(module, public) for public in module.__all__)


def test_public_names_are_sorted_and_have_docstrings() -> None:
    assert sorted(highflame_langgraph.__all__) == highflame_langgraph.__all__
    assert all((getattr(highflame_langgraph, name).__doc__ or "").strip() for name in highflame_langgraph.__all__)


def test_the_notebook() -> None:
    """Run cell by cell, as its reader would: what it prints is what is kept in it."""
    notebook = json.loads((ROOT / "notebooks" / "langgraph.ipynb").read_text("utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        assert printed_by("".join(cell["source"]), names) == kept_in(cell), f"cell {number}"


def printed_by(source: str, names: dict[str, Any]) -> str:
    """What a cell writes, the value of its last expression included."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # type: ignore[attr-defined]
            if value is not None:
                print(repr(value))
    return out.getvalue()


def kept_in(cell: dict[str, Any]) -> str:
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")
