"""The conformance kit: proves that an implementation keeps the contract, and tests filters without a network.

:func:`verify` judges the shape of a class or an object. A battery (``check_...``) tries its behaviour and returns a
:class:`Battery`; ``.require()`` raises what failed. :class:`MemoryFirewall` is a firewall without a kernel,
:class:`Playbook` a scripted conversation through it. With pytest, the fixtures ``fwx_firewall``, ``fwx_session``,
``fwx_connection``, ``fwx_socket_pair`` and ``fwx_playbook`` are there.
"""

from __future__ import annotations

from fwx.impl.policy import Rule
from fwx.testing.battery import Battery, Check, ConformanceError, Outcome
from fwx.testing.buffers import PlainBuffer, check_buffer
from fwx.testing.completions import (
    Accepted,
    AcceptRecorder,
    Done,
    Moved,
    MoveRecorder,
    Recorder,
    check_completion,
)
from fwx.testing.connections import check_connection
from fwx.testing.datafilters import AttachingFilter, Dialogue, check_data_filter
from fwx.testing.datagramsockets import check_datagram_socket
from fwx.testing.eventloop import MemoryEventLoop
from fwx.testing.filters import check_filter
from fwx.testing.firewall import MemoryConnection, MemoryFirewall
from fwx.testing.firewalls import check_firewall
from fwx.testing.hosts import FirewallHost, MemoryHost
from fwx.testing.ipfilters import check_ip_filter
from fwx.testing.memory import MemoryNetwork, MemoryPeer, MemoryTransport
from fwx.testing.memoryloop import MemoryLoop
from fwx.testing.memoryudp import MemoryDatagramConnection
from fwx.testing.nameevents import check_name_events
from fwx.testing.netconfigs import check_net_config
from fwx.testing.networksockets import SocketMaker, check_network_socket
from fwx.testing.overlapped import OverlappedMaker, check_overlapped
from fwx.testing.playbook import Playbook, PlaybookError
from fwx.testing.recoverers import check_recoverer
from fwx.testing.sessions import check_session
from fwx.testing.sockets import SocketPair, check_socket, memory_pair, neighbour_pair
from fwx.testing.sslsockets import SslSocketMaker, check_ssl_socket
from fwx.testing.udpdestinations import check_udp_destination
from fwx.testing.users import check_user
from fwx.testing.verification import Breach, breaches, verify

__all__ = [
    "AcceptRecorder",
    "Accepted",
    "AttachingFilter",
    "Battery",
    "Breach",
    "Check",
    "ConformanceError",
    "Dialogue",
    "Done",
    "FirewallHost",
    "MemoryConnection",
    "MemoryDatagramConnection",
    "MemoryEventLoop",
    "MemoryFirewall",
    "MemoryHost",
    "MemoryLoop",
    "MemoryNetwork",
    "MemoryPeer",
    "MemoryTransport",
    "MoveRecorder",
    "Moved",
    "Outcome",
    "OverlappedMaker",
    "PlainBuffer",
    "Playbook",
    "PlaybookError",
    "Recorder",
    "Rule",
    "SocketMaker",
    "SocketPair",
    "SslSocketMaker",
    "breaches",
    "check_buffer",
    "check_completion",
    "check_connection",
    "check_data_filter",
    "check_datagram_socket",
    "check_filter",
    "check_firewall",
    "check_ip_filter",
    "check_name_events",
    "check_net_config",
    "check_network_socket",
    "check_overlapped",
    "check_recoverer",
    "check_session",
    "check_socket",
    "check_ssl_socket",
    "check_udp_destination",
    "check_user",
    "memory_pair",
    "neighbour_pair",
    "verify",
]
