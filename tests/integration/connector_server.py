"""A server of the Connector protocol, in a process of its own: ``connector_server.py HOST PORT``.

One client at a time. ``CONNECT tcp P`` and ``CONNECT udp P`` have it wait at its port P; to ``OFFER`` it says such a
line itself; ``LISTEN tcp P`` and ``LISTEN udp P`` name where the client waits, and ``GO`` has it connect there. Whoever
comes gets PAYLOAD.
"""

from __future__ import annotations

import socket
import sys

PAYLOAD = bytes(range(256)) * 400


def serve(control: socket.socket, host: str) -> None:
    """Do what one client says."""
    waiting: socket.socket | None = None
    back: tuple[str, str, int] | None = None
    stream = control.makefile("rwb")
    for line in stream:
        words = line.decode().split()
        match words:
            case ["CONNECT", transport, *_, port]:
                waiting = bound(host, transport, int(port))
                reply = "OK"
            case ["OFFER"]:
                waiting = bound(host, "tcp", 0)
                reply = f"CONNECT tcp {waiting.getsockname()[1]}"
            case ["LISTEN", transport, *named, port]:
                back = (transport, named[0] if named else control.getpeername()[0], int(port))
                reply = "OK"
            case ["GO"] if back is not None:
                send_to(host, *back)
                reply = "SENT"
            case ["WAIT"] if waiting is not None:
                send_from(waiting)
                reply = "SENT"
            case _:
                reply = "WHAT"
        stream.write(f"{reply}\r\n".encode())
        stream.flush()
    if waiting is not None:
        waiting.close()


def bound(host: str, transport: str, port: int) -> socket.socket:
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    if transport == "tcp":
        sock.listen()
    sock.settimeout(60)
    return sock


def send_to(host: str, transport: str, name: str, port: int) -> None:
    """Send the payload to where the client waits; of datagrams the first part."""
    if transport == "udp":
        with bound(host, "udp", 0) as datagrams:
            datagrams.sendto(PAYLOAD[:1000], (name, port))
    else:
        with socket.create_connection((name, port), 10) as secondary:
            secondary.sendall(PAYLOAD)


def send_from(waiting: socket.socket) -> None:
    """Send the payload to whoever comes to *waiting*; of datagrams the first part."""
    if waiting.type == socket.SOCK_DGRAM:
        _, peer = waiting.recvfrom(100)
        waiting.sendto(PAYLOAD[:1000], peer)
    else:
        with waiting.accept()[0] as secondary:
            secondary.sendall(PAYLOAD)


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    with socket.create_server((host, port)) as listener:
        print("ready", flush=True)
        while True:
            with listener.accept()[0] as control:
                try:
                    serve(control, host)
                except OSError as error:
                    print(error, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
