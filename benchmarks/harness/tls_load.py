"""Certificates and clients for TLS: ``openssl s_time`` for handshakes, Python's ``ssl`` for bulk."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
from pathlib import Path

from harness import load, tools
from harness.process import PATIENCE, find, run_to_end
from harness.socket_load import Done

KEYS = {"ECDSA": ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), "RSA": ("rsa:2048",)}
_BLOCK = 256 << 10
_MARK = b"\x01"


def make_certificate(folder: Path, kind: str) -> Path:
    """Make a certificate of *kind* (one of :data:`KEYS`) for 127.0.0.1; return the file that holds it and its key."""
    key, certificate, both = (folder / f"{kind}.{suffix}" for suffix in ("key", "crt", "pem"))
    command = [find("openssl") or "openssl", "req", "-x509", "-newkey", *KEYS[kind], "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    run_to_end([*command, "-keyout", str(key), "-out", str(certificate)])
    both.write_text(certificate.read_text() + key.read_text())
    both.chmod(0o644)  # relays that drop root read it
    return both


def shake(port: int, clients: int, seconds: float, resumed: bool) -> Done:
    """Shake hands, ask and take the answer, on a new connection each time; *clients* do so at a time.

    :raises RuntimeError: a connection failed, or a handshake was not of the kind that was asked for.
    """
    command = [find("openssl") or "openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-www", "/x"]
    command += ["-reuse" if resumed else "-new", "-time", tools.whole(seconds)]
    started = time.monotonic()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(clients)
    ]
    try:
        said = [process.communicate(timeout=seconds + PATIENCE) for process in running]
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"openssl s_time did not end within {error.timeout:g} s") from error
    finally:
        for process in running:
            process.kill()
            process.wait()
    spent = time.monotonic() - started
    return Done(sum(_counted(*each, resumed) for each in said), 0, spent)


def _counted(output: str, errors: str, resumed: bool) -> int:
    """Read the number of connections; for each of them s_time has written ``*``, or ``r`` where it was resumed."""
    found = re.search(r"([*r]+)\s+(\d+) connections in ", output)
    if found is None:
        raise RuntimeError(f"openssl s_time: {errors.strip()[-300:] or output.strip()[-300:]}")
    marks, count = found[1], int(found[2])
    if marks.count("r" if resumed else "*") < count:
        raise RuntimeError(f"{count} handshakes, but marked {sorted(set(marks))}")
    return count


def count_until_mark(server: socket.socket) -> None:
    """Count the zeros that a client sends, until another byte comes; answer with the number, 8 bytes."""
    room = memoryview(bytearray(1 << 20))
    while True:
        client, _ = server.accept()
        total = 0
        with client:
            while count := client.recv_into(room):
                total += count
                if room[count - 1]:
                    client.sendall(total.to_bytes(8, "big"))
                    break


def push(port: int, seconds: float) -> tuple[int, float]:
    """Send zeros for *seconds*; return the bytes that arrived and the seconds until they had."""
    block = bytes(_BLOCK)
    with _connected(port) as client:
        started = time.monotonic()
        client.sendall(block)
        while time.monotonic() - started < seconds:
            client.sendall(block)
        client.sendall(_MARK)
        answer = b""
        while len(answer) < 8:
            more = client.recv(8 - len(answer))
            if not more:
                raise RuntimeError("the connection was closed before all had arrived")
            answer += more
        return int.from_bytes(answer, "big"), time.monotonic() - started


def pull(port: int, seconds: float) -> tuple[int, float]:
    """Take what comes for *seconds*; return how many bytes that were, and the time it took."""
    room = memoryview(bytearray(_BLOCK))
    total = 0
    with _connected(port) as client:
        started = time.monotonic()
        while load.goes_on(spent := time.monotonic() - started, seconds, total):
            count = client.recv_into(room)
            if not count:
                raise RuntimeError("the connection was closed")
            total += count
    return total, spent


def _connected(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE))
