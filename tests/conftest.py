"""What every test may use: the ``requires`` and ``path`` markers, the Debian programs' paths; and the leak check."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import hypothesis
import pytest
import uvloop

from tests.leaks import Leaks
from tests.paths import OPTION, PathRecorder

# No test has a time to keep: how long an example takes is the machine's affair.
hypothesis.settings.register_profile("fwx", deadline=None)
hypothesis.settings.load_profile("fwx")

# Program -> Debian package. `make debian-deps` installs these packages; tests/test_makefile.py compares the two lists.
PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "curl": "curl",
        "danted": "dante-server",
        "dig": "bind9-dnsutils",
        "dnsmasq": "dnsmasq-base",
        "freeradius": "freeradius",
        "gcc": "gcc",
        "gnutls-cli": "gnutls-bin",
        "haproxy": "haproxy",
        "initdb": "postgresql",
        "ip": "iproute2",
        "lftp": "lftp",
        "microsocks": "microsocks",
        "mount": "mount",
        "ncat": "ncat",
        "nft": "nftables",
        "nginx": "nginx",
        "nsenter": "util-linux",
        "openssl": "openssl",
        "postgres": "postgresql",
        "ps": "procps",
        "slapd": "slapd",
        "socat": "socat",
        "socksify": "dante-client",
        "squid": "squid",
        "ss": "iproute2",
        "ssh": "openssh-client",
        "ssh-keygen": "openssh-client",
        "sshd": "openssh-server",
        "swaks": "swaks",
        "systemctl": "systemd",
        "systemd-analyze": "systemd",
        "systemd-socket-activate": "systemd",
        "tcpdump": "tcpdump",
        "tinyproxy": "tinyproxy-bin",
        "tor-resolve": "tor",
        "vsftpd": "vsftpd",
        "wget": "wget",
        "x86_64-w64-mingw32-widl": "mingw-w64-tools",
    }
)


def _find(program: str) -> str | None:
    # Daemons live in sbin, which is not on the path of an ordinary user; those of PostgreSQL by its version.
    versions = map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", *versions])
    return shutil.which(program, path=path)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that ``make paths`` gives."""
    parser.addoption(OPTION, action="store_true", help="write docs/paths.csv from the marked tests that pass")


def pytest_configure(config: pytest.Config) -> None:
    """Have the markers of the ways through the service read and recorded, what tests start compiled once, and SIGINT
    back, which a shell keeps from what it runs in the background and from all that this starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Where the environment forbids it, as images of containers do, each service that a test starts would compile all.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    file = config.rootpath / "docs" / "paths.csv"
    config.pluginmanager.register(PathRecorder(file, write=config.getoption(OPTION)), "paths")


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


_HAS_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that a test has failed: its traceback holds what it had."""
    report = yield
    if report.failed:
        item.stash[_HAS_FAILED] = True
    return report


@pytest.fixture(scope="session")
def _leaks() -> Iterator[Leaks]:
    """What watches over all tests; what the process opens once, and the modules of the tests, are there before."""
    for make in (asyncio.new_event_loop, uvloop.new_event_loop):
        make().close()
    gc.collect()
    gc.freeze()  # so that looking for what a test has left does not look through everything else
    leaks = Leaks()
    with leaks.recording():
        yield leaks
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest, _leaks: Leaks, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every test closes its descriptors, lets go of its buffers and joins its threads; wider fixtures are not its own.

    It comes before the other fixtures of a test, so it looks when they have been torn down.
    """
    _leaks.remember()
    yield

    def forget() -> None:
        request.node.funcargs.clear()
        for record in (*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.get_records("teardown")):
            record.exc_info, record.args = None, ()

    if not request.node.stash.get(_HAS_FAILED, False):
        left = _leaks.left(forget)
        if left:
            pytest.fail("the test leaves\n  " + "\n  ".join(left), pytrace=False)


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
