"""No search for garbage in between, and afterwards as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwx import composition, config, config_source
from fwx.config import load
from fwx.garbage import uncollected
from fwx.impl.networks import LocalAddresses


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_as_it_was_afterwards_whatever_happens(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    with pytest.raises(KeyError, match="False"), uncollected(), uncollected():
        {}[gc.isenabled()]
    assert gc.isenabled() is enabled


def test_nothing_is_sought_while_a_configuration_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.enable()
    seen: dict[str, bool] = {}

    def watch(module: object, name: str) -> None:
        original = getattr(module, name)

        def noted(*args: object) -> object:
            seen[name] = gc.isenabled()
            return original(*args)

        monkeypatch.setattr(module, name, noted)

    for module, name in ((config_source, "loads"), (config, "reference_problems"), (composition, "_policy_of")):
        watch(module, name)
    file = tmp_path / "fwx.toml"
    file.write_text("")
    composition.policy_of(load(file), LocalAddresses(reader=lambda path: ""))
    assert seen == {"loads": False, "reference_problems": False, "_policy_of": False}
    assert gc.isenabled()
