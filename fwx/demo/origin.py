"""The origin: an HTTP server in a process of its own. ``python -m fwx.demo.origin`` prints its address and serves.

``GET /SEED/SIZE`` answers with a text, ``PUT`` with the SHA-256 of what came. Both answers end with the connection,
without a length, because a filter may change it. The process ends with its standard input.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fwx.demo.text import blocks

_BLOCK = 64 << 10


class OriginServer(ThreadingHTTPServer):
    """Takes the demonstration's many short connections at once."""

    request_queue_size = 256
    daemon_threads = True


class OriginHandler(BaseHTTPRequestHandler):
    """One request on one connection."""

    timeout = 30

    def do_GET(self) -> None:
        """Answer with the text of the path."""
        try:
            seed, size = map(int, self.path.strip("/").split("/"))
        except ValueError:
            self.send_error(404, "expected /SEED/SIZE")
            return
        self._begin()
        for block in blocks(seed, size):
            self.wfile.write(block)

    def do_PUT(self) -> None:
        """Answer with the digest of the body."""
        digest = hashlib.sha256()
        left = int(self.headers["Content-Length"])
        while left and (data := self.rfile.read(min(left, _BLOCK))):
            digest.update(data)
            left -= len(data)
        self._begin()
        self.wfile.write(digest.hexdigest().encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the signature is http.server's)
        """Say nothing: the firewall log shows the requests."""

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()


def main() -> None:
    """Serve on a free port of 127.0.0.1 until standard input ends."""
    with OriginServer(("127.0.0.1", 0), OriginHandler) as server:
        host, port = server.server_address[:2]
        print(f"origin listens on {host!s}:{port}", flush=True)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        sys.stdin.buffer.read()
        server.shutdown()
        serving.join()


if __name__ == "__main__":
    main()
