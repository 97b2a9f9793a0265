"""The handshake of one connection of the proxy port: recognises the protocol, then lets its codec speak."""

from __future__ import annotations

from fwx.interfaces.address import SocketAddress
from fwx.proxy.http_connect import HttpConnectCodec
from fwx.proxy.request import HandshakeError, Outcome, ProxyCodec, ProxyRequest
from fwx.proxy.socks5 import Socks5Codec

_SOCKS4_REJECTED = b"\x00\x5b" + bytes(6)


class ProxyHandshake:
    """What a client of the proxy port and the service say to each other before data flows, without I/O.

    The service makes one for each accepted connection, gives :meth:`receive` what it reads until :attr:`request` is
    there, sends what the calls return, tries the connection and sends :meth:`succeeded` or :meth:`refused`. After
    ``request`` is there it stops calling ``receive``: what it reads from then on goes to the server, after
    ``request.early``. Deadlines are the service's.
    """

    __slots__ = ("_codec", "_failed")

    def __init__(self) -> None:
        self._codec: ProxyCodec | None = None
        self._failed = False

    @property
    def request(self) -> ProxyRequest | None:
        """The client's request, or ``None`` while it is incomplete."""
        return self._codec.request if self._codec is not None else None

    def receive(self, data: bytes) -> bytes:
        """Take *data* that the client sent and return what to send to it now, often nothing.

        :raises HandshakeError: the input is no SOCKS5 and no HTTP CONNECT, is malformed, unsupported or too long.
        :raises RuntimeError: the handshake is over: it has failed or the request is complete.
        """
        if self._failed or self.request is not None:
            raise RuntimeError("the handshake is over, no more data is expected")
        if not data:
            return b""
        try:
            if self._codec is None:
                self._codec = _recognise(data[0])
            return self._codec.receive(data)
        except HandshakeError:
            self._failed = True
            raise

    def eof(self) -> None:
        """Take note that the client will send no more.

        :raises HandshakeError: the request is incomplete.
        """
        if self.request is None:
            self._failed = True
            awaited = self._codec.awaited if self._codec is not None else "it sent anything"
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


def _recognise(first: int) -> ProxyCodec:
    """Return the codec for a connection that starts with the byte *first*.

    :raises HandshakeError: no protocol of the proxy port starts so.
    """
    if first == 0x05:
        return Socks5Codec()
    if chr(first).isascii() and chr(first).isalpha():
        return HttpConnectCodec()
    if first == 0x04:
        raise HandshakeError("SOCKS4 is not spoken by this version, use SOCKS5 or HTTP CONNECT", _SOCKS4_REJECTED)
    if first == 0x16:
        raise HandshakeError("TLS (first byte 0x16) on the proxy port, which speaks SOCKS5 and HTTP without TLS")
    raise HandshakeError(f"first byte 0x{first:02x} is neither SOCKS5 nor HTTP")
