"""Address ranges, the firewall's own addresses, and the names that an address has."""

from __future__ import annotations

import logging
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.networks import (
    AddressRange,
    AddressSet,
    LocalAddresses,
    Network,
    Networks,
    normalise,
    read_proc,
    share_network,
)

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.0.0/16 2 0 2
        |-- 10.1.0.0
           /16 link UNICAST
        |-- 10.1.0.1
           /32 host LOCAL
        |-- 10.1.255.255
           /32 link BROADCAST
Local:
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
     |-- 198.51.100.0
        /28 host LOCAL
Id 100:
     |-- 0.0.0.0
        /0 host LOCAL
     |-- 203.0.113.7
        /32 host LOCAL
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fd000001000000000000000000000001 04 40 00 82     eth0
"""


class Proc:
    """The two files as they are at the moment, and how often they were read."""

    def __init__(self, fib_trie: str = FIB_TRIE, if_inet6: str = IF_INET6) -> None:
        self.files = {"/proc/self/net/fib_trie": fib_trie, "/proc/self/net/if_inet6": if_inet6}
        self.now = 100.0
        self.reads = 0
        self.error: OSError | None = None

    def read(self, path: str) -> str:
        self.reads += 1
        if self.error:
            raise self.error
        return self.files[path]

    def add(self, address: str) -> None:
        self.files["/proc/self/net/fib_trie"] += f"     |-- {address}\n        /32 host LOCAL\n"

    def local(self) -> LocalAddresses:
        return LocalAddresses(reader=self.read, clock=lambda: self.now)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("10.1.0.1", "10.1.0.1"),
        ("::ffff:10.1.0.1", "10.1.0.1"),
        ("::ffff:0:0", "0.0.0.0"),
        ("::FFFF:7f00:1", "127.0.0.1"),
        ("::ffff:127.0.0.1%eth0", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("FD00::1", "fd00::1"),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert str(normalise(text)) == normal
    assert normalise(ip_address(text)) == normalise(text)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("10.1.0.0/16", "10.1.0.0", "10.1.255.255"),
        ("10.1.0.1", "10.1.0.1", "10.1.0.1"),
        ("10.1.0.5 - 10.1.0.9", "10.1.0.5", "10.1.0.9"),
        ("10.1.0.5-10.1.0.5", "10.1.0.5", "10.1.0.5"),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
        ("fd00:1::/64", "fd00:1::", "fd00:1::ffff:ffff:ffff:ffff"),
        ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("::ffff:10.1.0.0/112", "10.1.0.0", "10.1.255.255"),
        ("::ffff:10.1.0.1", "10.1.0.1", "10.1.0.1"),
        ("::1-::ffff:10.1.0.1", "::1", "::ffff:10.1.0.1"),
    ],
)
def test_range(text: str, first: str, last: str) -> None:
    low = ip_address(first)
    assert AddressRange.parse(text) == AddressRange(low.version, int(low), int(ip_address(last)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.1.0.1/16", "has host bits set"),
        ("10.1.0.0/33", "10.1.0.0/33"),
        ("10.1.0.9-10.1.0.5", "10.1.0.5 comes before 10.1.0.9"),
        ("10.1.0.1-fd00::1", "not of one IP version"),
        ("10.1.0.1-::ffff:10.1.0.0", "comes before"),
        ("www.example.org", "does not appear to be"),
        ("10.1.0.1-", "does not appear to be"),
        ("", "does not appear to be"),
    ],
)
def test_bad_range_names_network_and_range(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"expected 10\.1\.0\.0/16") as failure:
        Network("internal", ("10.0.0.1", text))
    assert str(failure.value).startswith(f"network 'internal': {text!r} is no address range (")
    assert why in str(failure.value)


small_ranges = st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda t: AddressRange(4, t[0], t[0] + t[1]))


@given(st.lists(small_ranges, max_size=8), st.integers(0, 60), small_ranges)
def test_address_set_is_the_union_of_its_ranges(ranges: list[AddressRange], number: int, wanted: AddressRange) -> None:
    known = AddressSet(ranges)
    members = {value for each in ranges for value in range(each.first, each.last + 1)}
    assert (IPv4Address(number) in known) == (number in members)
    assert IPv6Address(number) not in known
    assert known.covers(wanted) == members.issuperset(range(wanted.first, wanted.last + 1))
    assert known == AddressSet([AddressRange(4, value, value) for value in members])


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.200.3.4", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("169.254.169.254", True),
        ("fe80::1", True),
        ("febf:ffff::1", True),
        ("10.1.0.1", True),
        ("198.51.100.9", True),  # a local route of sixteen addresses
        ("203.0.113.7", True),
        ("fd00:1::1", True),
        ("10.1.0.2", False),
        ("10.1.255.255", False),
        ("8.8.8.8", False),  # Id 100 has a local route for everything
        ("fd00:1::2", False),
        ("fec0::1", False),
        ("0.0.0.1", False),
    ],
)
def test_local_address(address: str, own: bool) -> None:
    assert (normalise(address) in Proc().local()) is own


def test_addresses_are_read_once_a_second_and_a_change_has_a_new_generation() -> None:
    proc = Proc()
    local = proc.local()
    first, proc.reads = local.generation, 0
    proc.add("192.0.2.9")
    proc.now += 0.99
    assert (local.generation, proc.reads) == (first, 0)
    assert normalise("192.0.2.9") not in local
    proc.now += 0.02
    second = local.generation
    assert (second != first, proc.reads) == (True, 2)
    assert normalise("192.0.2.9") in local
    assert (local.generation, proc.reads) == (second, 2)
    proc.now += 1.0
    assert (local.generation, proc.reads) == (second, 4)


def test_failing_read_keeps_the_last_addresses_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    proc = Proc()
    local = proc.local()
    generation = local.generation
    proc.error = PermissionError(13, "Permission denied")
    with caplog.at_level(logging.WARNING, "fwx.networks"):
        for _ in range(3):
            proc.now += 2
            assert local.generation == generation
    assert normalise("10.1.0.1") in local
    assert [record.getMessage() for record in caplog.records] == [
        "the firewall's own addresses cannot be read, the last known ones hold: [Errno 13] Permission denied"
    ]
    proc.error = None
    proc.add("192.0.2.9")
    proc.now += 2
    assert local.generation != generation


def test_first_read_must_succeed() -> None:
    proc = Proc()
    proc.error = PermissionError(13, "Permission denied")
    with pytest.raises(PermissionError):
        proc.local()


def test_a_kernel_without_ipv6_has_no_ipv6_addresses(tmp_path: object) -> None:
    assert read_proc(f"{tmp_path}/if_inet6") == ""
    with pytest.raises(FileNotFoundError):
        read_proc(f"{tmp_path}/fib_trie")


def test_real_addresses_of_this_host() -> None:
    local = LocalAddresses()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        assert normalise(probe.getsockname()[0]) in local
    assert normalise("192.0.2.254") not in local


NETWORKS = (
    Network("internal", ("127.0.0.0/8", "10.1.0.0/16", "fd00:1::/64")),
    Network("servers", ("10.2.0.0/24",)),
    Network("everything", ("0.0.0.0/0", "::/0")),
    Network("self", ("10.1.0.1", "169.254.7.0/24")),
    Network("around", ("126.0.0.0/7",)),
)


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("10.1.0.2", ("internal", "everything", "any")),
        ("::ffff:10.1.0.2", ("internal", "everything", "any")),
        ("10.2.0.5", ("servers", "everything", "any")),
        ("fd00:1::2", ("internal", "everything", "any")),
        ("8.8.8.8", ("everything", "any")),
        ("126.1.1.1", ("everything", "around", "any")),
        # the firewall's own: never by a wider range
        ("10.1.0.1", ("self", "localhost")),
        ("::ffff:10.1.0.1", ("self", "localhost")),
        ("127.0.0.1", ("internal", "localhost")),
        ("::ffff:127.0.0.1", ("internal", "localhost")),
        ("fd00:1::1", ("localhost",)),
        ("::1", ("localhost",)),
        ("0.0.0.0", ("localhost",)),
        ("::ffff:0.0.0.0", ("localhost",)),
        ("::", ("localhost",)),
        ("169.254.7.9", ("self", "localhost")),
        ("169.254.169.254", ("localhost",)),
        ("fe80::5%eth0", ("localhost",)),
    ],
)
def test_names_of_an_address(address: str, names: tuple[str, ...]) -> None:
    networks = Networks(NETWORKS, Proc().local())
    assert networks.of(address) == names
    assert networks.of(ip_address(address)) == names


def test_external_is_what_no_network_holds() -> None:
    networks = Networks([Network("internal", ("10.1.0.0/16",))], Proc().local())
    assert networks.of("8.8.8.8") == ("external", "any")
    assert networks.of("2001:db8::1") == ("external", "any")


def test_names_follow_the_own_addresses() -> None:
    proc = Proc()
    networks = Networks(NETWORKS, proc.local())
    assert networks.of("10.2.0.5") == ("servers", "everything", "any")
    proc.add("10.2.0.5")
    proc.now += 1.5
    assert networks.of("10.2.0.5") == ("localhost",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["internal", "internal"], "network 'internal': the name is taken by another network"),
        (["external"], "network 'external': the name is predefined"),
        (["localhost"], "network 'localhost': the name is predefined"),
        (["any"], "network 'any': the name is predefined"),
    ],
)
def test_network_names_are_distinct(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Networks([Network(name, ("10.0.0.0/8",)) for name in names], Proc().local())


addresses: st.SearchStrategy[IPv4Address | IPv6Address] = st.one_of(
    st.ip_addresses(),
    st.ip_addresses(network="127.0.0.0/8"),
    st.ip_addresses(network="10.2.0.0/23"),
    st.ip_addresses(network="10.1.0.0/30"),
    st.ip_addresses(network="::ffff:10.1.0.0/126"),
)


@given(addresses)
def test_every_address_is_either_local_or_any(address: IPv4Address | IPv6Address) -> None:
    names = Networks(NETWORKS, Proc().local()).of(address)
    assert ("localhost" in names) != ("any" in names)
    assert ("servers" in names) == (normalise(address) in AddressRange.parse("10.2.0.0/24"))


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("10.5.0.1", "10.5.0.2", True),
        ("203.0.113.1", "192.0.2.9", True),  # both outside
        ("203.0.113.1", "10.5.0.1", False),
        ("10.5.0.1", "10.9.0.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "10.5.0.1", False),  # both are "inside", too
    ],
)
def test_share_network(one: str, other: str, shared: bool) -> None:
    """The firewall itself is no neighbour of those whose network its loopback has been written into."""
    inside = Network("inside", ("10.5.0.0/16", "127.0.0.0/8"))
    networks = Networks([inside, Network("farther", ("10.9.0.0/16",))], Proc().local())
    assert share_network(networks.of(one), networks.of(other)) is shared
    assert share_network(networks.of(other), networks.of(one)) is shared
