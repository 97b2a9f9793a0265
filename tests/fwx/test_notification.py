"""What the service manager is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fwx.notification import READY, STOPPING, extend_timeout, notify


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_told(tmp_path: Path, abstract: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        path = f"\0fwx-test-{tmp_path}" if abstract else str(tmp_path / "notify")
        manager.bind(path)
        for state in (READY, STOPPING):
            notify(state, {"NOTIFY_SOCKET": path.replace("\0", "@")})
            assert manager.recv(100) == state.encode()


def test_more_time_is_asked_for(tmp_path: Path) -> None:
    """B1.13: milliseconds here, microseconds there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        manager.bind(str(tmp_path / "notify"))
        extend_timeout(1500, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=1500000"


def test_nobody_wants_to_hear(caplog: pytest.LogCaptureFixture) -> None:
    notify(READY, {})
    assert caplog.records == []


def test_a_manager_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(tmp_path / "gone")
    notify(READY, {"NOTIFY_SOCKET": path})
    assert caplog.messages == [
        f"the service manager cannot be told READY=1 at {path}: [Errno 2] No such file or directory"
    ]
