"""What is published: the source archive holds the whole tree, both ways to the wheel agree, and the wheel runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fwx

pytestmark = [pytest.mark.network, pytest.mark.timeout(600)]

LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
    "__pycache__",
    "*.pyc",
    "*.egg-info",
    "build",
    "_build",
    "dist",
)
# A checkout serves these to tools; an archive of the project has no use for them.
NOT_ARCHIVED = {".gitignore", "fwx/impl", "fwx/interfaces"}
MADE_BY_SETUPTOOLS = {"PKG-INFO"}


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def tree(source_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy: a build leaves folders behind, and reads what an earlier one left."""
    copy = tmp_path_factory.mktemp("packaging") / "tree"
    shutil.copytree(source_tree, copy, symlinks=True, ignore=LEFT_OUT)
    return copy


@pytest.fixture(scope="module")
def by_archive(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source archive and the wheel that was built from it."""
    target = tmp_path_factory.mktemp("by_archive")
    run(sys.executable, "-m", "build", "--outdir", target, tree, cwd=target)
    return target


@pytest.fixture(scope="module")
def from_tree(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that was built from the tree."""
    target = tmp_path_factory.mktemp("from_tree")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", target, tree, cwd=target)
    return only(target, "*.whl")


def test_the_archive_holds_the_whole_tree(source_tree: Path, tmp_path: Path, by_archive: Path) -> None:
    shutil.copytree(source_tree, tmp_path / "tree", symlinks=True, ignore=LEFT_OUT)
    expected = {
        str(path.relative_to(tmp_path / "tree"))
        for path in (tmp_path / "tree").rglob("*")
        if path.is_file() or path.is_symlink()
    }
    with tarfile.open(only(by_archive, "*.tar.gz")) as archive:
        held = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    assert {name for name in held if ".egg-info/" not in name} - MADE_BY_SETUPTOOLS == expected - NOT_ARCHIVED


def test_the_wheel_from_the_archive_is_the_wheel_from_the_tree(by_archive: Path, from_tree: Path) -> None:
    assert members(only(by_archive, "*.whl")) == members(from_tree)


def test_only_fwx_lands_in_site_packages(from_tree: Path) -> None:
    held = members(from_tree)
    dist_info = f"fwx-{fwx.__version__}.dist-info"
    assert {name.split("/")[0] for name in held} == {"fwx", dist_info}
    assert held[f"{dist_info}/top_level.txt"] == b"fwx\n"
    assert {"fwx/py.typed", "fwx/impl/py.typed", "fwx/interfaces/py.typed"} <= held.keys()
    assert any(name.endswith("/LICENSE") for name in held)


def test_the_wheel_holds_every_module(source_tree: Path, from_tree: Path) -> None:
    sources = {
        f"fwx/{path.relative_to(source_tree)}"
        for folder in ("impl", "interfaces")
        for path in (source_tree / folder).rglob("*.py")
    } | {str(path.relative_to(source_tree)) for path in (source_tree / "fwx").rglob("*.py")}
    scripts = {str(path.relative_to(source_tree)) for path in (source_tree / "fwx").rglob("conform.toml")}
    assert scripts
    held = members(from_tree)
    assert {name for name in held if name.endswith((".py", "conform.toml"))} == sources | scripts


def test_the_wheel_runs_in_a_clean_environment(tmp_path: Path, from_tree: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "clean", cwd=tmp_path)
    programs = tmp_path / "clean" / "bin"
    install = ("install", "--quiet", "--no-compile", from_tree)  # what is never imported need not be compiled
    run(sys.executable, "-m", "pip", "--python", programs / "python", *install, cwd=tmp_path)
    empty = tmp_path / "empty.toml"
    empty.touch()
    for command in ([programs / "fwx"], [programs / "python", "-m", "fwx"]):
        assert fwx.__version__ in run(*command, "--version", cwd=tmp_path)
    run(programs / "fwx", "check", empty, cwd=tmp_path)
    assert "IFWXFirewall" in run(programs / "fwx", "components", cwd=tmp_path)
    for name in ("interfaces", "impl"):
        lookup = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is not None)"
        run(programs / "python", "-c", lookup, cwd=tmp_path)
