"""Importing any module of fwx has no effect, and the list of packages in setup.cfg is complete."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_EVERYTHING = """
import importlib, logging, os, pkgutil, signal, stat, threading
import zope.component  # puts its own adapter hook in place
from zope.interface.interface import adapter_hooks

def sockets():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            mode = os.stat(f"/proc/self/fd/{name}").st_mode
        except FileNotFoundError:
            continue  # the descriptor that listed the folder
        if stat.S_ISSOCK(mode):
            found.append(name)
    return sorted(found)

def state():
    registry = zope.component.getGlobalSiteManager()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "sockets": sockets(),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "environment": dict(os.environ),
        "signal handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "root log handlers": list(logging.getLogger().handlers),
        "adapter hooks": list(adapter_hooks),
        "site manager": zope.component.getSiteManager() is registry,
        "utilities": list(registry.registeredUtilities()),
        "adapters": list(registry.registeredAdapters()),
        "subscribers": list(registry.registeredSubscriptionAdapters()),
        "handlers": list(registry.registeredHandlers()),
    }

before = state()
import fwx
count = 1
for module in pkgutil.walk_packages(fwx.__path__, "fwx."):
    importlib.import_module(module.name)
    count += 1
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, {name: (before[name], after[name]) for name in changed}
for name in ("utilities", "adapters", "subscribers", "handlers"):
    assert not after[name], f"the global registry holds {name}: {after[name]}"
print(count)
"""


def run_isolated(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # Measuring coverage would be an effect, and would count the packages that these tests make up.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def modules_on_disk(source_tree: Path) -> set[Path]:
    return {path for folder in ("fwx", "impl", "interfaces") for path in (source_tree / folder).rglob("*.py")}


def test_importing_every_module_has_no_effect_and_warns_of_nothing(source_tree: Path) -> None:
    result = run_isolated(IMPORT_EVERYTHING, source_tree)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == len(modules_on_disk(source_tree)), "some module is in no package"


@pytest.mark.parametrize(
    ("effect", "seen_as"),
    [
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
        ("import socket; kept = socket.socket()", "sockets"),
        ("import zope.component as c, zope.interface as i; c.provideUtility(1, i.Interface)", "utilities"),
        ("import warnings; warnings.warn('at import', DeprecationWarning)", "DeprecationWarning"),
    ],
)
def test_an_effect_at_import_would_be_seen(tmp_path: Path, effect: str, seen_as: str) -> None:
    module = tmp_path / "fwx" / "__init__.py"
    module.parent.mkdir()
    module.touch()
    assert run_isolated(IMPORT_EVERYTHING, tmp_path).returncode == 0
    module.write_text(effect)
    result = run_isolated(IMPORT_EVERYTHING, tmp_path)
    assert result.returncode == 1
    assert seen_as in result.stderr


def test_setup_cfg_lists_every_package(source_tree: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(source_tree / "setup.cfg")
    listed = setup["options"]["packages"].split()
    folders = {path.parent.relative_to(source_tree) for path in modules_on_disk(source_tree)}
    on_disk = {".".join(folder.parts) for folder in folders if (source_tree / folder / "__init__.py").exists()}
    assert len(folders) == len(on_disk), "a folder with modules has no __init__.py"
    assert sorted(listed) == sorted(
        f"fwx.{name}" if name.split(".")[0] in {"impl", "interfaces"} else name for name in on_disk
    )
