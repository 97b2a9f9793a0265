"""Data through a running service: much of it, half-closed, reset, not read, and on a thousand connections."""

from __future__ import annotations

import hashlib
import random
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

MIB = 1 << 20
LOOPS = ("uvloop", "asyncio")

# Passes everything on, but never the buffers that came: cut at odd places, and copied.
CUTTER = """
from __future__ import annotations
from fwx import sdk

class Cut(sdk.DataPump):
    def __init__(self, firewall):
        super().__init__()
        self._firewall = firewall

    def inspect(self, to_server, buffer):
        data = buffer.GetBufferAndSize()
        return self._firewall.CreateIOBuffer(data, len(data))

@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def __init__(self, firewall):
        self._firewall = firewall
    def FirewallEventHandler(self, event):
        event.Parameters.Connect.piConnection.AttachDataFilter(Cut(self._firewall), sdk.fwx_dfpc_Middle, None)
    def Detach(self):
        self._firewall = None
"""
