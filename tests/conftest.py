"""What every test may use: the ``requires`` marker and the paths of the Debian programs it names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

# Program -> Debian package. `make debian-deps` installs these packages; tests/test_makefile.py compares the two lists.
PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "curl": "curl",
        "danted": "dante-server",
        "dig": "bind9-dnsutils",
        "dnsmasq": "dnsmasq-base",
        "gcc": "gcc",
        "haproxy": "haproxy",
        "ip": "iproute2",
        "ncat": "ncat",
        "nft": "nftables",
        "nginx": "nginx",
        "ps": "procps",
        "ss": "iproute2",
        "x86_64-w64-mingw32-widl": "mingw-w64-tools",
    }
)


def _find(program: str) -> str | None:
    # Daemons live in sbin, which is not on the path of an ordinary user.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return shutil.which(program, path=path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose ``requires`` marker names a program that is not there; with FWX_CI=1 it fails instead."""
    for program in (name for marker in item.iter_markers("requires") for name in marker.args):
        if program not in PROGRAMS:
            pytest.fail(f"@pytest.mark.requires({program!r}): tests/conftest.py does not know it", pytrace=False)
        if _find(program) is None:
            reason = f"needs the program {program} (Debian package {PROGRAMS[program]}; make debian-deps)"
            if os.environ.get("FWX_CI") == "1":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)


@pytest.fixture(scope="session")
def program_path() -> Callable[[str], str]:
    """Return the function that gives the full path of a program named in a ``requires`` marker."""

    def path_of(program: str) -> str:
        found = _find(program)
        assert found is not None, f"mark the test with @pytest.mark.requires({program!r})"
        return found

    return path_of


@pytest.fixture(scope="session")
def debian_packages() -> frozenset[str]:
    """Return the Debian packages of all programs that a test may require."""
    return frozenset(PROGRAMS.values())


@pytest.fixture(scope="session")
def source_tree() -> Path:
    """Return the top folder of the checkout."""
    return Path(__file__).resolve().parent.parent
