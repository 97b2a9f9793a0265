"""A client of the Connector protocol, in a process of its own: ``connector_client.py HOST PORT WAY SECONDARY [PROXY]``.

WAY is ``connect-tcp``, ``connect-udp``, ``offer``, ``listen`` or ``listen-udp``; SECONDARY is the port; PROXY is
``HOST:PORT`` of a SOCKS5 proxy. It prints what it has agreed on and waits for a line of its input before it uses that,
then prints how much it has got, and waits again before it leaves.
"""

from __future__ import annotations

import socket
import sys


def through(proxy: str, host: str, port: int) -> socket.socket:
    """Connect, by a proxy where there is one."""
    if not proxy:
        return socket.create_connection((host, port), 10)
    name, _, number = proxy.rpartition(":")
    sock = socket.create_connection((name, int(number)), 10)
    sock.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(host) + port.to_bytes(2, "big"))
    reply = b""
    while len(reply) < 12:
        data = sock.recv(12 - len(reply))
        if not data:
            break
        reply += data
    if reply[:4] != b"\5\0\5\0":
        raise SystemExit(f"the proxy says {reply!r}")
    return sock


def to_end(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(65536):
        data += part
    return data


def main() -> None:
    host, port, way, secondary = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    proxy = sys.argv[5] if len(sys.argv) > 5 else ""
    control = through(proxy, host, port)
    stream = control.makefile("rwb")

    def ask(line: str) -> str:
        stream.write(f"{line}\r\n".encode())
        stream.flush()
        answer: bytes = stream.readline()
        return answer.decode().strip()

    def tell(line: str) -> None:
        print(line, flush=True)
        sys.stdin.readline()

    own = control.getsockname()[0]
    listener = socket.create_server((own, secondary)) if way == "listen" else None
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.settimeout(60)
    if way == "listen-udp":
        datagrams.bind((own, secondary))
    first = {
        "connect-tcp": f"CONNECT tcp {secondary}",
        "connect-udp": f"CONNECT udp {secondary}",
        "offer": "OFFER",
        "listen": f"LISTEN tcp {own} {secondary}",
        "listen-udp": f"LISTEN udp {own} {secondary}",
    }[way]
    answer = ask(first)
    tell(answer)
    if way == "offer":
        secondary = int(answer.split()[-1])
    stream.write(b"GO\r\n" if way.startswith("listen") else b"WAIT\r\n")
    stream.flush()
    if listener is not None:
        listener.settimeout(60)
        data = to_end(listener.accept()[0])
    elif way == "connect-udp":
        datagrams.connect((host, secondary))
        datagrams.send(b"hello")
        data = datagrams.recv(65536)
    elif way == "listen-udp":
        data = datagrams.recv(65536)
    else:
        data = to_end(through(proxy, host, secondary))
    stream.readline()
    tell(f"got {len(data)}")


if __name__ == "__main__":
    main()
