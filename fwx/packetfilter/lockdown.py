"""What the kernel has dropped in lockdown, while no service was there to log it (B11.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.logrecord import Action, LogRecord
from fwx.interfaces.hresult import FWX_E_FULLDENY_DROPPED

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.packetfilter.messages import Drops


def log_drops(engine: Engine, drops: Drops) -> None:
    """Write the record of a lockdown that this start has ended, if anything was dropped in it.

    The kernel counts and keeps nothing else: one record stands for all packets.
    """
    if drops.packets:
        engine.write_record(
            LogRecord(
                time=engine.wall_clock(),
                action=Action.Denied,
                servername=engine.server_name,
                resultcode=int(FWX_E_FULLDENY_DROPPED),
                reason=f"{drops.packets} packets of {drops.octets} bytes were dropped in lockdown",
            )
        )
