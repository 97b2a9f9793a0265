"""Does the proxy port answer? ``healthcheck.py HOST PORT`` greets it as a SOCKS5 client; 0 when it answers."""

from __future__ import annotations

import socket
import sys

SECONDS = 4.0


def main(host: str, port: str) -> int:
    """Offer every method; the service chooses one, or none (0xff) where it wants what was not offered."""
    try:
        with socket.create_connection((host, int(port)), SECONDS) as client:
            client.sendall(b"\x05\x02\x00\x02")
            answer = client.recv(2)
    except OSError as error:
        print(f"{host}:{port}: {error}", file=sys.stderr)
        return 1
    if answer[:1] == b"\x05":
        return 0
    print(f"{host}:{port}: answers {answer!r}, not as SOCKS5", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
