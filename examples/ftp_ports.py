"""A filter that opens the data port of FTP over IPv4, and nothing else: a rule need allow port 21 alone."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from fwx import sdk

LONGEST_LINE = 1024


class FtpControl(sdk.DataPump):
    """Reads the control connection by lines: PASV's and EPSV's answers are announced, PORT is bound and rewritten."""

    def __init__(self, firewall: sdk.IFWXFirewall, session: sdk.IFWXSession, connect: sdk.FwxConnectEvent) -> None:
        super().__init__()
        self.firewall, self.session = firewall, session
        self.connection, self.protocol = connect.piConnection, connect.ProtocolGuid
        self.held = {True: b"", False: b""}

    def inspect(self, to_server: bool, buffer: sdk.IFWXIOBuffer) -> sdk.IFWXIOBuffer | None:
        data = bytes(buffer.GetBufferAndSize())
        *lines, self.held[to_server] = (self.held[to_server] + data).split(b"\n")
        if len(self.held[to_server]) > LONGEST_LINE:
            self.connection.Kill()
        passed = b"".join((self.command if to_server else self.reply)(line + b"\n") for line in lines)
        if not data:
            passed += self.held[to_server]
        return self.firewall.CreateConstBuffer(passed) if passed else None

    def reply(self, line: bytes) -> bytes:
        """The server says where it waits: by 227 with an address, of which only the port is believed, or by 229."""
        passive = re.match(rb"227 .*?(?:\d+,){4}(\d+),(\d+)", line)
        extended = re.match(rb"229 .*\(\|\|\|(\d+)\|\)", line)
        if passive or extended:
            port = int(passive[1]) * 256 + int(passive[2]) if passive else int(extended[1])
            server = self.connection.GetExternalPeerName().with_port(port)
            tcp, flags = sdk.FWX_PROTOCOL_TCP, sdk.FWX_FLAG_TIMEOUT
            self.session.AllowFutureConnect(
                server, None, None, None, tcp, flags, self.protocol, None, None, self.connection
            )
        return line

    def command(self, line: bytes) -> bytes:
        """The client says where it waits: the server is told of a port of the firewall, for the server alone."""
        active = re.match(rb"(?i)PORT (\d+,\d+,\d+,\d+),(\d+),(\d+)\r?\n", line)
        if active is None:
            return line
        host = active[1].decode().replace(",", ".")
        client = sdk.SocketAddress(host, int(active[2]) * 256 + int(active[3]))
        server_alone = self.firewall.CreateIpFilter()
        server = IPv4Address(self.connection.GetExternalPeerName().host)
        server_alone.IncludeRange(server, server)
        bound, _ = self.session.BindForClient(
            [client],
            None,
            self.connection.GetExternalSocketName().with_port(0),
            None,
            sdk.FWX_PROTOCOL_TCP,
            None,
            sdk.FWX_FLAG_TIMEOUT,
            1,
            self.protocol,
            None,
            None,
            server_alone,
        )
        return f"PORT {bound.host.replace('.', ',')},{bound.port >> 8},{bound.port & 255}\r\n".encode()

    def ended(self) -> None:
        self.firewall = self.session = self.connection = None


@sdk.implementer(sdk.IFWXSessionFilter)
class FtpSession(sdk.Unknown):
    def __init__(self, firewall: sdk.IFWXFirewall, session: sdk.IFWXSession) -> None:
        self.firewall, self.session = firewall, session

    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> None:
        connect = pProxyEvent.Parameters.Connect
        control = FtpControl(self.firewall, self.session, connect)
        connect.piConnection.AttachDataFilter(control, sdk.fwx_dfpc_Middle, None)

    def Detach(self) -> None:
        self.firewall = self.session = None


@sdk.implementer(sdk.IFWXFilter)
class FtpPorts(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return FtpSession(self.firewall, piSession)

    def FilterShutdown(self) -> None:
        self.firewall = None
