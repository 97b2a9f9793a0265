"""The handshake of one connection of the proxy port: recognises the protocol, then lets its codec speak."""

from __future__ import annotations

from fwx.interfaces.address import SocketAddress
from fwx.proxy.http_connect import HttpConnectCodec
from fwx.proxy.request import Credentials, Demand, HandshakeError, Outcome, ProxyCodec, ProxyRequest
from fwx.proxy.socks4 import Socks4Codec
from fwx.proxy.socks5 import Socks5Codec

_CONNECT = b"CONNECT "


class ProxyHandshake:
    """What a client of the proxy port and the service say to each other before data flows, without I/O.

    The service makes one for each accepted connection and gives :meth:`receive` what it reads, and sends what the calls
    return, until one of these is there:

    - :attr:`credentials`: it has them checked, and calls :meth:`accepted`, after which it goes on, or :meth:`rejected`;
    - :attr:`request`: it tries the connection and sends :meth:`succeeded` or :meth:`refused`. What it reads from now on
      goes to the server, after ``request.early``;
    - :attr:`forward`: the client speaks plain HTTP, which is no handshake (:mod:`fwx.proxy.http_forward`).

    Deadlines are the service's.
    """

    __slots__ = ("_codec", "_demand", "_failed", "_start", "forward")

    def __init__(self, demand: Demand = "off") -> None:
        """*demand* says whether clients have to authenticate."""
        self._demand: Demand = demand
        self._codec: ProxyCodec | None = None
        self._failed = False
        self._start = b""
        self.forward: bytes | None = None

    @property
    def request(self) -> ProxyRequest | None:
        """The client's request, or ``None`` while it is incomplete."""
        return self._codec.request if self._codec is not None else None

    @property
    def credentials(self) -> Credentials | None:
        """What the client wants to be known by and has not been checked, or ``None``."""
        return self._codec.credentials if self._codec is not None else None

    @property
    def is_over(self) -> bool:
        """No more data is expected, for the time being or for good."""
        return self._failed or self.forward is not None or (self.request or self.credentials) is not None

    def receive(self, data: bytes) -> bytes:
        """Take *data* that the client sent and return what to send to it now, often nothing.

        :raises HandshakeError: the input is no protocol of the proxy port, is malformed, unsupported or too long.
        :raises RuntimeError: no data is expected: the handshake is over, or credentials are being checked.
        """
        if self.is_over:
            raise RuntimeError("the handshake is over, no more data is expected")
        if not data:
            return b""
        try:
            if self._codec is None:
                data = self._start + data
                self._codec = self._recognise(data)
                if self._codec is None:
                    return b""
                self._start = b""
            return self._codec.receive(data)
        except HandshakeError:
            self._failed = True
            raise

    def accepted(self) -> bytes:
        """Go on after :attr:`credentials` were found right; return what to send. :attr:`request` may be there now.

        :raises HandshakeError: what had come behind them is malformed.
        """
        codec = self._asking()
        try:
            return codec.accepted()
        except HandshakeError:
            self._failed = True
            raise

    def rejected(self) -> bytes:
        """Return the reply to wrong :attr:`credentials`, whatever is wrong with them; the service then closes."""
        reply = self._asking().rejected()
        self._failed = True
        return reply

    def _asking(self) -> ProxyCodec:
        if self._codec is None or self._codec.credentials is None or self._failed:
            raise RuntimeError("there are no credentials to answer")
        return self._codec

    def eof(self) -> None:
        """Take note that the client will send no more.

        :raises HandshakeError: the request is incomplete.
        """
        if self.request is None:
            self._failed = True
            awaited = self._codec.awaited if self._codec is not None else "it sent anything"
            if self._start:
                awaited = "its HTTP request head was complete"
            raise HandshakeError(f"the client closed before {awaited}")

    def succeeded(self, bound: SocketAddress) -> bytes:
        """Return the reply that the connection was made from the local address *bound*.

        :raises ValueError: *bound* is a name and the protocol has to tell the address (SOCKS5).
        :raises RuntimeError: the request is incomplete.
        """
        return self._complete().succeeded(bound)

    def refused(self, outcome: Outcome) -> bytes:
        """Return the reply that the connection was not made because of *outcome*; the service then closes.

        :raises RuntimeError: the request is incomplete.
        """
        return self._complete().refused(outcome)

    def _complete(self) -> ProxyCodec:
        if self._codec is None or self._codec.request is None:
            raise RuntimeError("there is no request to reply to")
        return self._codec

    def _recognise(self, start: bytes) -> ProxyCodec | None:
        """Return the codec for a connection that starts with *start*; ``None`` where there is none, or not yet.

        :raises HandshakeError: no protocol of the proxy port starts so.
        """
        first = start[0]
        if first == 0x05:
            return Socks5Codec(self._demand)
        if first == 0x04:
            return Socks4Codec(self._demand)
        if chr(first).isascii() and chr(first).isalpha():
            if start.startswith(_CONNECT):
                return HttpConnectCodec(self._demand)
            if _CONNECT.startswith(start):
                self._start = start
            else:
                self.forward = start
            return None
        if first == 0x16:
            raise HandshakeError("TLS (first byte 0x16) on the proxy port, which speaks SOCKS and HTTP without TLS")
        raise HandshakeError(f"first byte 0x{first:02x} is neither SOCKS nor HTTP")
