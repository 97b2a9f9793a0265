"""The maker of transparent sockets: a process that keeps the privileges which the service gives up.

``fwx serve`` starts it while it is root, where a listener needs sockets that speak for others after that. It keeps
CAP_NET_ADMIN and CAP_NET_BIND_SERVICE alone, makes the sockets that the service orders, and ends with it.
"""

from __future__ import annotations

import argparse
import errno
import signal
import socket
import sys

from fwx.packetfilter.confinement import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, confine
from fwx.transparent.kernel import bound_for_nobody, make_transparent
from fwx.transparent.orders import LARGEST, Answer, Kind, Order, OrderError, pack_answer, unpack_order

# So that the port is chosen when the peer is known: two servers may see the same one.
_IP_BIND_ADDRESS_NO_PORT = 24
# Exit codes: the service has ended; it has sent what is no order; this process could not begin.
ENDED, REFUSED, UNABLE = 0, 1, 2


def make(order: Order) -> socket.socket:
    """Make what *order* asks for. :raises OSError: the kernel refuses."""
    family = order.address.family
    kind = socket.SOCK_STREAM if order.kind is Kind.STREAM else socket.SOCK_DGRAM
    made = socket.socket(family, kind)
    try:
        make_transparent(made, family)
        if order.kind is Kind.ANSWER:
            bound_for_nobody(made, order.address.sockaddr)
        else:
            if order.kind is Kind.STREAM:
                made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind(order.address.sockaddr)
    except BaseException:
        made.close()
        raise
    return made


def serve(link: socket.socket) -> int:
    """Do what comes over *link* until it is closed; return the exit code."""
    while data := link.recv(LARGEST):
        try:
            order = unpack_order(data)
        except OrderError as error:
            print(f"fwx: CRITICAL: transparent sockets: {error}", file=sys.stderr, flush=True)
            return REFUSED
        try:
            made = make(order)
        except OSError as error:
            link.send(pack_answer(Answer(order.serial, error.errno or errno.EIO)))
            continue
        with made:
            socket.send_fds(link, [pack_answer(Answer(order.serial, 0))], [made.fileno()])
    return ENDED


def main(arguments: list[str] | None = None) -> int:
    """Run the maker; the command line is written by :mod:`fwx.transparent.sockets`."""
    parser = argparse.ArgumentParser(prog="fwx.transparent.maker", description=__doc__, allow_abbrev=False)
    parser.add_argument("--link", type=int, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # An end of the whole control group is the service's to act on: it closes the link.
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=options.link) as link:
        try:
            confine(options.uid, options.gid, children=False, keep=(CAP_NET_ADMIN, CAP_NET_BIND_SERVICE))
        except OSError as error:
            link.send(pack_answer(Answer(0, error.errno or errno.EIO)))
            return UNABLE
        link.send(pack_answer(Answer(0, 0)))
        try:
            return serve(link)
        except ConnectionError:  # the service has gone without reading what it asked for
            return ENDED


if __name__ == "__main__":
    sys.exit(main())
