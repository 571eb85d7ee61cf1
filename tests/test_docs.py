"""The documentation is true: every example in a docstring or a page is run, every name and command in it exists."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import highflame_middleware as package
from highflame_middleware import uninstrument
from highflame_middleware.testing import ScriptedProvider

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    name
    for name in (module.name for module in pkgutil.walk_packages(package.__path__, "highflame_middleware."))
    if not name.endswith("__main__")
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A page's Python blocks are run one after the other, as its reader would; one that cannot be is marked in the page.
BLOCK = re.compile(r"(?P<mark><!-- not run: .+? -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_public_names_have_docstrings_with_examples() -> None:
    """What users depend on is explained: a first line each, and an example where there is something to try."""
    silent = []
    for name in package.__all__:
        value = getattr(package, name)
        if callable(value) and not (value.__doc__ or "").strip():
            silent.append(name)
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [match["code"] for match in BLOCK.finditer(page.read_text("utf-8")) if match["mark"] is None]
    provider = ScriptedProvider([{"text": "Hello!"}])
    with provider.serve() as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        names: dict[str, Any] = {"__name__": "page"}
        try:
            for block in blocks:
                exec(compile(block, str(page), "exec"), names)
        finally:
            uninstrument()
            for value in names.values():
                if hasattr(value, "close") and type(value).__module__.startswith("openai"):
                    value.close()


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_of_the_readme_exist() -> None:
    readme, makefile = (ROOT / "README.md").read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"`make ([a-z-]+)`", readme)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_room_is_on_the_map() -> None:
    """docs/architecture.md names every module and package of the first level."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            assert re.search(rf"`(?:\w+/)?{module.name}/?`", page), module.name


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == package.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(package.__version__)} - ", changelog, re.MULTILINE)


def test_nothing_of_one_machine_is_committed() -> None:
    """No absolute path of a developer's machine, no package index but the public ones."""
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:home|root|Users)/\w+|index-url")
    for name in listed.splitlines():
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".toml", ".json", ".ipynb", "")
            and path.is_file()
            and path != Path(__file__)
        ):
            assert not pattern.search(path.read_text("utf-8", "replace")), name
