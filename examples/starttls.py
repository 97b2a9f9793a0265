"""A filter that speaks TLS for a mail server that cannot: it offers STARTTLS, and decrypts what comes then.

A rule names it for the server's port. What the client sends after STARTTLS is TLS on the filter's internal socket and
plain text on the external one.
"""

from __future__ import annotations

from typing import Any

from fwx import sdk

CLIENT, SERVER, READY, SENT = "from the client", "from the server", "ready", "sent "
LONGEST_LINE = 2048


@sdk.implementer(sdk.IFWXDataFilter, sdk.IFWXIOCompletion)
class MailTls(sdk.Unknown):
    """One connection: each direction has one buffer under way, and a line of the client is held until it is whole."""

    def __init__(self, firewall: Any, credentials: sdk.TlsCredentials) -> None:
        self.firewall = firewall
        self.credentials = credentials
        self.held = b""
        self.offered = self.secure = False

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.client, self.server = piInternalSocket, pIExternalSocket
        self.client.Recv(None, self, CLIENT)
        self.server.Recv(None, self, SERVER)

    def Detach(self) -> None:
        self.client = self.server = self.firewall = None

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: sdk.IFWXIOBuffer,
        UserData: Any,
        ExternalAddress: Any,
        ExternalAddressLength: int,
    ) -> None:
        if self.client is None:
            return
        if not fSuccess:
            self.client.Close(True)
            self.server.Close(True)
        elif UserData == READY:
            self.begin_tls()
        elif UserData.startswith(SENT):
            source = UserData.removeprefix(SENT)
            (self.client if source == CLIENT else self.server).Recv(None, self, source)
        elif not pIOBuffer.GetBufferSizes()[1]:
            if UserData == CLIENT and self.held:  # a last line that has no end
                self.server.Send(self.firewall.CreateConstBuffer(self.held), None, 0)
            (self.server if UserData == CLIENT else self.client).Shutdown(False)
        elif UserData == SERVER:
            self.send(self.client, self.offer(pIOBuffer), SERVER)
        elif self.secure:
            self.send(self.server, pIOBuffer, CLIENT)
        else:
            self.take_lines(bytes(pIOBuffer.GetBufferAndSize()))

    def send(self, socket: Any, buffer: Any, source: str) -> None:
        """Send *buffer*; when it has been taken, ask for more from the *source*."""
        socket.Send(buffer, self, SENT + source)

    def offer(self, buffer: Any) -> Any:
        """Put STARTTLS into the server's first list of what it can do."""
        head, newline, rest = bytes(buffer.GetBufferAndSize()).partition(b"\r\n")
        if self.offered or self.secure or not head.startswith(b"250-"):
            return buffer
        self.offered = True
        return self.firewall.CreateConstBuffer(head + newline + b"250-STARTTLS\r\n" + rest)

    def take_lines(self, data: bytes) -> None:
        """Pass whole lines on, up to the one that asks for TLS."""
        self.held += data
        passed = b""
        while b"\n" in self.held:
            line, _, rest = self.held.partition(b"\n")
            self.held = rest
            if line.strip().upper() == b"STARTTLS":
                if passed:
                    self.server.Send(self.firewall.CreateConstBuffer(passed), None, 0)
                ready = self.firewall.CreateConstBuffer(b"220 go ahead\r\n")
                self.client.Send(ready, self, READY)
                return
            passed += line + b"\n"
        if passed:
            self.send(self.server, self.firewall.CreateConstBuffer(passed), CLIENT)
        elif len(self.held) > LONGEST_LINE:
            self.client.Close(True)
        else:
            self.client.Recv(None, self, CLIENT)

    def begin_tls(self) -> None:
        """Lay TLS over the client's socket. What came behind STARTTLS is TLS's, or an attack that TLS refuses."""
        plain = sdk.UnreadSocket(self.firewall, self.client, self.held)
        self.held, self.secure = b"", True
        self.client = self.firewall.QueryInterface(sdk.IFWXFirewall2).CreateSSLNetworkSocket(
            False, None, None, self.credentials, None, sdk.fwxClientSide, sdk.GUID_NULL, 0, 0, False, plain
        )
        self.client.Recv(None, self, CLIENT)


@sdk.implementer(sdk.IFWXSessionFilter)
class MailSession(sdk.Unknown):
    def __init__(self, firewall: Any, credentials: sdk.TlsCredentials) -> None:
        self.firewall = firewall
        self.credentials = credentials

    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> None:
        connection = pProxyEvent.Parameters.Connect.piConnection
        connection.AttachDataFilter(MailTls(self.firewall, self.credentials), sdk.fwx_dfpc_PostTrust, None)

    def Detach(self) -> None:
        self.firewall = None


@sdk.implementer(sdk.IFWXFilter)
class StartTls(sdk.Unknown):
    """The filter; its options are the files of the certificate and of the key."""

    class Options(sdk.FilterOptions):
        certificate: str
        key: str

    def __init__(self, options: Options) -> None:
        # Made once, before root is given up: it reads the files.
        self.credentials = sdk.TlsCredentials(certificate=options.certificate, key=options.key)

    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return MailSession(self.firewall, self.credentials)

    def FilterShutdown(self) -> None:
        """Nothing to give back."""
