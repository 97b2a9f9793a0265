"""What stands behind an interface of the copied machine."""

from __future__ import annotations

import pytest

from fwx.doctor.copied import neighbour


@pytest.mark.parametrize(
    ("interface", "host"),
    [
        ("10.1.0.1/24", "10.1.0.2"),
        ("10.1.0.254/24", "10.1.0.253"),
        ("10.1.0.0/31", "10.1.0.1"),
        ("10.1.0.1/31", "10.1.0.0"),
        ("10.1.0.1/32", None),
        ("255.255.255.254/30", "255.255.255.253"),
        ("10.1.0.1/30", "10.1.0.2"),
        ("2001:db8::1/64", "2001:db8::2"),
        ("2001:db8::1/128", None),
    ],
)
def test_neighbour(interface: str, host: str | None) -> None:
    """Another address of the same network that a host can have."""
    assert neighbour(interface) == host
