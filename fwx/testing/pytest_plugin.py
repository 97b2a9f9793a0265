"""The pytest plugin: fixtures for the tests of filters. Installed by the entry point group ``pytest11``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from fwx.filter_loader import make_filter
from fwx.testing.firewall import MemoryConnection, MemoryFirewall
from fwx.testing.playbook import Playbook
from fwx.testing.sockets import SocketPair, memory_pair

PlaybookMaker = Callable[..., Playbook]
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@pytest.fixture
def fwx_firewall() -> Iterator[MemoryFirewall]:
    """A firewall in memory; ``start(factory)`` starts a filter in it. A filter that failed fails the test."""
    firewall = MemoryFirewall()
    yield firewall
    firewall.close()
    if firewall.faults:
        pytest.fail(f"a filter failed: {'; '.join(firewall.faults)}", pytrace=False)


@pytest.fixture
def fwx_session(fwx_firewall: MemoryFirewall) -> Any:
    """The ``IFWXSession`` of a client of :func:`fwx_firewall`."""
    return fwx_firewall.session()


@pytest.fixture
def fwx_connection(fwx_firewall: MemoryFirewall) -> MemoryConnection:
    """An established connection through :func:`fwx_firewall`: the ``IFWXConnection`` and both ends.

    A filter that is to see it is started in a fixture that comes before this one.
    """
    return fwx_firewall.open()


@pytest.fixture
def fwx_socket_pair() -> Iterator[SocketPair]:
    """Two connected ``IFWXSocket`` and what lets happen what is ready to happen."""
    pair = memory_pair()
    yield pair
    pair.close()


@pytest.fixture
def fwx_playbook(fwx_firewall: MemoryFirewall) -> Iterator[PlaybookMaker]:
    """Makes playbooks: ``fwx_playbook(FilterClass, {"option": 1})``, or without a filter. Every one must be played."""
    made: list[Playbook] = []

    def make(filter_class: type | None = None, options: Mapping[str, Any] = _NO_OPTIONS, **keys: Any) -> Playbook:
        if filter_class is not None:
            name = f"filter {len(fwx_firewall.hosts)}"
            host = fwx_firewall.start(lambda: make_filter(filter_class, options), name)
            assert host.state == "ready", host.reason
        made.append(Playbook(fwx_firewall, **keys))
        return made[-1]

    yield make
    forgotten = sum(not book.played for book in made)
    for book in made:
        book.played = True
    if forgotten:
        pytest.fail(f"{forgotten} of {len(made)} playbooks were written and never played: call play()", pytrace=False)
