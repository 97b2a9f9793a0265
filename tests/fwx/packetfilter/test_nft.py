"""The two ways to nftables: which one is taken, and what each makes of a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwx.packetfilter import nft as nft_module
from fwx.packetfilter.nft import Nft, NftError, NftProgram, find_nft


@pytest.mark.requires("nft")
def test_what_nftables_refuses(nft: Nft) -> None:
    with pytest.raises(NftError, match="No such file or directory"):
        nft.run([{"list": {"table": {"family": "inet", "name": "nothing"}}}])
    with pytest.raises(NftError, match="Error: "):
        nft.has("get element inet nothing nowhere { 1 }")
    with pytest.raises(NftError):
        nft.run([{"nonsense": {}}])
    assert nft.run([{"list": {"tables": None}}])[0]["metainfo"]


@pytest.mark.requires("nft")
def test_the_program_takes_the_place_of_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_module, "LIBRARY", "libnothing.so.1")
    assert isinstance(find_nft(), NftProgram)


def test_neither_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_module, "LIBRARY", "libnothing.so.1")
    monkeypatch.setattr(nft_module, "_PATH", "/nowhere")
    with pytest.raises(OSError, match=r"libnothing.*install the Debian package nftables"):
        find_nft()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no JSON", "no JSON of nftables"),
        ("echo '[]'", "no JSON of nftables"),
        ("exit 3", "without a word"),
        ("echo one >&2; echo two >&2; exit 1", "^one$"),
        ("exec sleep 100", "timed out"),
    ],
)
def test_a_program_that_misbehaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    program = tmp_path / "nft"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(nft_module, "_PATH", str(tmp_path))
    monkeypatch.setattr(nft_module, "_CHILD_SECONDS", 0.3)
    with pytest.raises(NftError, match=words):
        NftProgram().run([])
