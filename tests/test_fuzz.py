"""The corpus of the fuzz targets goes through the parsers, without atheris."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"
ENTRIES = sorted(FUZZ.glob("corpus/*/*"))
TARGETS = sorted({entry.parent.name for entry in ENTRIES})


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a module of the folder; it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(FUZZ))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(FUZZ) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize("entry", ENTRIES, ids=[f"{entry.parent.name}-{entry.name}" for entry in ENTRIES])
def test_the_corpus(targets: Any, entry: Path) -> None:
    targets(entry.parent.name).one_input(entry.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_notices(targets: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A parser that raises what it must not makes the target fail."""

    def broken(self: object, data: bytes) -> bytes:
        raise ZeroDivisionError

    for place in (
        "fwx.proxy.ProxyHandshake",
        "fwx.proxy.http_forward.ClientSide",
        "fwx.proxy.http_forward.ServerSide",
        "fwx.proxy.proxy_header.ProxyHeaderCodec",
        "fwx.proxy.socks5_client.Socks5Client",
        "fwx.proxy.http_connect_client.HttpConnectClient",
    ):
        monkeypatch.setattr(f"{place}.receive", broken)
    monkeypatch.setattr("fwx.proxy.socks5_datagram.parse_datagram", lambda data: broken(None, data))
    monkeypatch.setattr("fwx.impl.clienthello._message", lambda data: broken(None, data))
    monkeypatch.setattr("fwx.directories.radius_packet.read_response", lambda data, *_, **__: broken(None, data))
    for filter_name in ("smtp", "ftp"):
        monkeypatch.setattr(f"fwx.filters.{filter_name}.dialogue.Dialogue.from_client", broken)
    monkeypatch.setattr("fwx.filters.dns.guard.parse", lambda data: broken(None, data))
    with pytest.raises(ZeroDivisionError):
        targets(name).one_input(b"x")


def test_each_target_has_a_corpus_and_is_run(targets: Any, source_tree: Path) -> None:
    known = targets("run").TARGETS
    assert sorted(known) == TARGETS
    for name in known:
        assert len(list((FUZZ / "corpus" / name).iterdir())) >= 8
    makefile = (source_tree / "Makefile").read_text()
    assert re.search(r"^FUZZ_TARGETS := (.*)$", makefile.replace("\\\n", ""), re.MULTILINE)[1].split() == list(known)  # type: ignore[index]
