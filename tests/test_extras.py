"""Optional packages: imported when needed, refused in one wording when absent or too old."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from highflame_middleware.errors import ConfigError, MissingExtraError
from highflame_middleware.extras import require

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with some version where it is found."""

    def write(version: str | None, code: str = "", module: str = "optional_thing") -> None:
        (tmp_path / f"{module}.py").write_text(code)
        if version is not None:
            folder = tmp_path / f"{module}-{version}.dist-info"
            folder.mkdir()
            name = module.replace("_", "-")
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def asked(needed: str = "optional-thing>=1.40", module: str = "optional_thing") -> Any:
    return require(module, extra="gateway", needed=needed)


def test_an_absent_package_is_named_with_what_to_install() -> None:
    with pytest.raises(MissingExtraError) as caught:
        asked()
    assert str(caught.value) == (
        "this needs optional-thing>=1.40, and found none: pip install 'highflame-middleware[gateway]'"
    )
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize("version", ["1.40", "1.40.0", "1.40.1", "1.100", "2.0", "2", "1.40.0.post1", "10.0.0rc1"])
def test_a_version_that_is_new_enough(version: str, install: Install) -> None:
    install(version, "ANSWER = 42")
    assert asked().ANSWER == 42


@pytest.mark.parametrize("version", ["1.39.9", "1.4", "1.4.99", "0.9", "1", "0.48b0"])
def test_a_version_that_is_too_old_is_refused_unused(version: str, install: Install) -> None:
    install(version, "raise RuntimeError('imported')")
    with pytest.raises(MissingExtraError, match=f"needs optional-thing>=1.40, and found {version}: pip install"):
        asked()


def test_a_module_without_metadata_is_taken_as_it_is(install: Install) -> None:
    install(None, "ANSWER = 42")
    assert asked().ANSWER == 42


def test_what_the_package_itself_lacks_is_not_blamed_on_the_extra(install: Install) -> None:
    install("2.0", "import a_dependency_that_is_not_there")
    with pytest.raises(ModuleNotFoundError) as caught:
        asked()
    assert not isinstance(caught.value, MissingExtraError)
    assert caught.value.name == "a_dependency_that_is_not_there"


def test_a_part_that_an_installed_version_lacks(install: Install) -> None:
    install("2.0")
    with pytest.raises(MissingExtraError, match=r"and found 2\.0"):
        asked(module="optional_thing.part")


def test_an_error_of_the_package_stays_its_own(install: Install) -> None:
    install("2.0", "raise RuntimeError('broken')")
    with pytest.raises(RuntimeError, match="broken"):
        asked()
