"""The listeners of a change: bound beside those in force, until it is in force or called off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fwx.config import load
from fwx.service import Service

TABLE = '[service]\nstate_dir = "{folder}"\n[[listener]]\nname = "{name}"\nkind = "proxy"\nbind = "127.0.0.1:0"\n'


@pytest.mark.parametrize("comes", [True, False])
def test_a_listener_that_comes_is_no_target(tmp_path: Path, comes: bool) -> None:
    """It is bound already while the history is written; a connection to it would wait for ever, or come back."""

    def read(name: str) -> Path:
        file = tmp_path / f"{name}.toml"
        file.write_text(TABLE.format(folder=tmp_path / "state", name=name))
        return file

    async def check() -> None:
        service = Service(load(read("old")))
        ways_in, parts = service.ways_in, service.running.parts
        configuration = load(read("new"))
        coming = await ways_in.prepare(configuration)
        address = coming.made["new"].address
        assert ways_in.is_own_listener(address, "TCP")
        if comes:
            ways_in.use(configuration, {"new": parts.tls["old"]}, parts.local, coming)
        else:
            coming.close()
        assert ways_in.is_own_listener(address, "TCP") is comes
        ways_in.close()
        await service.stop()

    asyncio.run(check())
