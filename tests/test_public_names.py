"""The public surface is one list, and the list is true."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import highflame_middleware as package


def test_the_list_is_sorted_and_complete() -> None:
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) == {*package._HOMES, "__version__"}


@pytest.mark.parametrize("name", package.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(package, name) is not None
    assert name in dir(package)


@pytest.mark.parametrize("name", sorted(package._HOMES))
def test_every_name_is_public_where_it_is_defined(name: str) -> None:
    home = importlib.import_module(f"highflame_middleware.{package._HOMES[name]}")
    assert name in home.__all__
    assert getattr(home, name) is getattr(package, name)


def test_no_name_is_hidden_by_a_module() -> None:
    """Importing a submodule sets it on the package: a public name like it would be a module from then on."""
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert modules.isdisjoint(package.__all__)


@pytest.mark.parametrize(
    "name", sorted(module.name for module in pkgutil.walk_packages(package.__path__, "highflame_middleware."))
)
def test_every_module_lists_what_it_has(name: str) -> None:
    if name.endswith("__main__"):
        pytest.skip("running it is what it is for")
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'instrumnet'"):
        _ = package.instrumnet  # type: ignore[attr-defined]


def test_every_name_loads_alone() -> None:
    """Each in a fresh interpreter would cost seconds; one after the other from nothing is enough."""
    script = (
        "import highflame_middleware as h, sys\n"
        "for name in h.__all__:\n"
        "    for module in [m for m in sys.modules if m.startswith(f'{h.__name__}.')]: del sys.modules[module]\n"
        "    for known in h._HOMES: h.__dict__.pop(known, None)\n"
        "    getattr(h, name)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
