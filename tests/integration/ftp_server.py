"""A small FTP server: one file, active and passive, and a journal of where the data connections came from."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

FILE = bytes(range(256)) * 4096


class FtpServer:
    """Serves :data:`FILE` under any name, and takes uploads.

    :ivar commands: the commands that have come. :ivar peers: the other ends of its data connections.
    :ivar passive: the ports where it waited.
    """

    def __init__(
        self, make: Callable[[], socket.socket] = socket.socket, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """*make* makes its sockets, in the namespace that it lives in."""
        self.commands: list[str] = []
        self.peers: list[tuple[str, int]] = []
        self.passive: list[int] = []
        self.uploads: list[bytes] = []
        self.extended = False
        self._make = make
        self._host = host
        self._open = contextlib.ExitStack()
        self._listener = self._listen(port)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
        self._open.close()

    def _listen(self, port: int = 0) -> socket.socket:
        listener = self._open.enter_context(self._make())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one server after the other at a port
        listener.bind((self._host, port))
        listener.listen(5)
        return listener

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._talk, args=(client,)))
            self._threads[-1].start()

    def _talk(self, client: socket.socket) -> None:
        data: Callable[[], socket.socket] | None = None
        with client, client.makefile("rwb") as lines, contextlib.suppress(ConnectionError):

            def say(text: str) -> None:
                lines.write(f"{text}\r\n".encode())
                lines.flush()

            say("220 ready")
            for line in lines:
                command, _, argument = line.decode().strip().partition(" ")
                self.commands.append(line.decode().strip())
                match command.upper():
                    case "USER":
                        say("331 password")
                    case "PASS":
                        say("230 welcome")
                    case "PWD":
                        say('257 "/"')
                    case "TYPE" | "CWD" | "OPTS":
                        say("200 fine")
                    case "EPSV" if self.extended:
                        data, port = self._wait()
                        say(f"229 Entering Extended Passive Mode (|||{port}|)")
                    case "PASV":
                        data, port = self._wait()
                        say(f"227 Entering Passive Mode ({self._host.replace('.', ',')},{port >> 8},{port & 255}).")
                    case "PORT":
                        numbers: list[Any] = re.findall(r"\d+", argument)
                        data = self._call(".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5]))
                        say("200 fine")
                    case "EPRT" if self.extended:
                        host, port = argument.split("|")[2:4]
                        data = self._call(host, int(port))
                        say("200 fine")
                    case "RETR" | "STOR" if data is not None:
                        say("150 here it comes")
                        self._transfer(command.upper(), data)
                        data = None
                        say("226 that was it")
                    case "QUIT":
                        say("221 bye")
                        return
                    case _:
                        say("502 not here")

    def _wait(self) -> tuple[Callable[[], socket.socket], int]:
        listener = self._listen()
        listener.settimeout(60)
        port = listener.getsockname()[1]
        self.passive.append(port)

        def come() -> socket.socket:
            with listener:
                return listener.accept()[0]

        return come, port

    def _call(self, host: str, port: int) -> Callable[[], socket.socket]:
        def connect() -> socket.socket:
            sock = self._make()
            sock.settimeout(60)
            sock.connect((host, port))
            return sock

        return connect

    def _transfer(self, command: str, data: Callable[[], socket.socket]) -> None:
        with data() as sock:
            self.peers.append(sock.getpeername())
            if command == "RETR":
                sock.sendall(FILE)
            else:
                parts = []
                while part := sock.recv(1 << 16):
                    parts.append(part)
                self.uploads.append(b"".join(parts))
