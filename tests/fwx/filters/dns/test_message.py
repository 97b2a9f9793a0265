"""Messages of DNS: read to the last byte, or refused with the reason."""

from __future__ import annotations

import struct
import time

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.dns.message import FORMERR, REFUSED, Message, MessageError, answer, parse, skip_name
from fwx.filters.dns.types import type_name, type_number
from tests.dns_wire import message, name, query, question, record, response

EDNS = b"\x00" + struct.pack("!HHIH", 41, 1232, 0, 0)


def test_a_query() -> None:
    read = parse(query("WWW.Example"))
    assert (read.id, read.counts, read.is_response, read.opcode, read.rcode) == (7, (1, 0, 0, 0), False, 0, 0)
    assert read.question is not None
    assert (read.question.name, read.question.type, read.question.class_) == ("www.example", 1, 1)
    assert read.udp_size is None


def test_letters_that_are_none() -> None:
    read = parse(message(b"\x04a.\\\x00\x00" + struct.pack("!HH", 1, 1)))
    assert read.question is not None
    assert read.question.name == r"a\046\092\000"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes are no header"),
        (query()[:11], "11 bytes are no header"),
        (query()[:-1], "a question goes beyond the end"),
        (query()[:14], "a name goes beyond the end"),
        (query() + b"\x00", "1 bytes behind the last record"),
        (message(question(), question(), counts=(2, 0, 0, 0)), "2 questions"),
        (message(question(), counts=(1, 1, 0, 0)), "a name goes beyond the end"),
        (message(question(), counts=(1, 5000, 0, 0)), "5001 records"),
        (message(question(), record(), counts=(1, 0, 0, 0)), "16 bytes behind the last record"),
        (message(question(), record()[:-1], counts=(1, 1, 0, 0)), "the data of a record go beyond the end"),
        (message(question(), b"\xc0", counts=(1, 1, 0, 0)), "a pointer goes beyond the end"),
        (
            message(question(), record(b"\xc0\x1d"), counts=(1, 1, 0, 0)),
            "a compression pointer that does not point back",
        ),
        (
            message(question(), record(b"\xc0\x00"), counts=(1, 1, 0, 0)),
            "a compression pointer that does not point back",
        ),
        (message(b"\xc0\x0c\x00\x01\x00\x01"), "a compression pointer that does not point back"),
        (message(b"\x40abc"), "a label of type 1"),
        (message(b"\x80abc"), "a label of type 2"),
        (message(name(".".join(["x" * 63] * 4)) + b"\x00\x01\x00\x01"), "a name of more than 255 bytes"),
        (message(question(), record(data=b"123"), counts=(1, 1, 0, 0)), "an address of 3 bytes"),
        (message(question(), record(kind=28), counts=(1, 1, 0, 0)), "an address of 4 bytes"),
        (message(question(), record(kind=5, data=b"\xc0\x0cx"), counts=(1, 1, 0, 0)), "another size than their names"),
        (message(question(), record(kind=5, data=b""), counts=(1, 1, 0, 0)), "type 5 are too short"),
        (message(question(), record(kind=15, data=b"\x00\x01"), counts=(1, 1, 0, 0)), "type 15 are too short"),
        (message(question(), record(kind=16, data=b"\x05abc"), counts=(1, 1, 0, 0)), "a text goes beyond its record"),
        (message(question(), EDNS, EDNS, counts=(1, 0, 0, 2)), "two OPT records"),
        (message(question(), EDNS, counts=(1, 1, 0, 0)), "an OPT record out of its place"),
        (message(question(), record(kind=41), counts=(1, 0, 0, 1)), "an OPT record out of its place"),
        (message(question(), record(b"\0", 41, b"abc"), counts=(1, 0, 0, 1)), "an EDNS option goes beyond its record"),
        (message(question(), record(b"\0", 41, b"\0\1\0\1"), counts=(1, 0, 0, 1)), "an EDNS option goes beyond"),
    ],
)
def test_what_is_none(data: bytes, words: str) -> None:
    with pytest.raises(MessageError, match=words):
        parse(data)


def test_a_circle_of_pointers() -> None:
    """Two names that point at each other."""
    data = message(question(), b"\xc0\x1f\xc0\x1d", counts=(1, 1, 0, 0))
    with pytest.raises(MessageError, match="does not point back"):
        parse(data)


def test_a_chain_of_pointers_is_bounded() -> None:
    """Each is allowed by itself; together they would be a lot of work for few bytes."""
    chain = bytearray(b"\x00" * 12 + b"\x00")
    for number in range(60):
        chain += (0xC000 | (len(chain) - 2 if number else 12)).to_bytes(2, "big")
    with pytest.raises(MessageError, match="more than 32 pointers"):
        skip_name(bytes(chain), len(chain) - 2)
    assert skip_name(bytes(chain[: 13 + 64]), 13 + 62) == 13 + 64


def test_the_worst_message_is_read_in_time() -> None:
    """4096 records, each with the longest chain of pointers that is allowed."""
    start = message(b"\x00\x00\x01\x00\x01", counts=(1, 4095, 0, 0))
    owner = record(
        b"\xc0\x0c", 99, b"".join((0xC000 | (29 + 2 * n - 2 if n else 12)).to_bytes(2, "big") for n in range(31))
    )
    data = start + owner + record((0xC000 | (29 + 60)).to_bytes(2, "big"), 99, b"") * 4094
    began = time.process_time()
    parse(data)
    assert time.process_time() - began < 2


def test_an_update_may_have_records_without_data() -> None:
    """RFC 2136, 2.4.1: "exists" is said by a record of no data."""
    empty = record(kind=1, data=b"", class_=255)
    assert parse(message(question(kind=6), empty, flags=5 << 11, counts=(1, 1, 0, 0))).opcode == 5
    with pytest.raises(MessageError):
        parse(message(question(), empty, counts=(1, 1, 0, 0)))


RECORDS = [
    ("www.example.", "A", "192.0.2.1"),
    ("www.example.", "AAAA", "2001:db8::1"),
    ("example.", "MX", "10 mail.example."),
    ("example.", "SOA", "ns.example. admin.example. 1 2 3 4 5"),
    ("_x._tcp.example.", "SRV", "1 2 3 host.example."),
    ("example.", "TXT", '"one" "two"'),
    ("example.", "CAA", '0 issue "ca.example"'),
    ("a.example.", "CNAME", "b.example."),
    ("1.2.0.192.in-addr.arpa.", "PTR", "a.example."),
]


@pytest.mark.parametrize("count", range(1, len(RECORDS) + 1))
def test_what_dnspython_writes_is_read(count: int) -> None:
    """The control: another implementation's messages, with compressed names and EDNS."""
    asked = dns.message.make_query("www.example", "ANY", use_edns=0, payload=1400)
    told = dns.message.make_response(asked)
    told.answer = [dns.rrset.from_text(owner, 60, "IN", kind, text) for owner, kind, text in RECORDS[:count]]
    told.additional = told.answer[:1]
    assert parse(asked.to_wire()).udp_size == 1400
    read = parse(told.to_wire())
    assert (read.is_response, read.counts[1:]) == (True, (count, 0, 2))


def cut_anywhere(data: bytes) -> list[bytes]:
    return [data[:place] for place in range(len(data))]


def test_every_beginning_of_a_message_is_refused() -> None:
    asked = dns.message.make_query("www.example", "A", use_edns=0)
    told = dns.message.make_response(asked)
    told.answer = [dns.rrset.from_text(*("example.", 60, "IN"), kind, text) for _, kind, text in RECORDS]
    for part in cut_anywhere(told.to_wire()):
        with pytest.raises(MessageError):
            parse(part)


@given(data=st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    words = ""
    try:
        assert isinstance(parse(data), Message)
    except MessageError as error:
        words = str(error)
    assert len(words) < 100


GOOD = response(extra=b"")


@given(changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_damaged(changes: list[tuple[int, int]]) -> None:
    """What is accepted here, dnspython accepts too, but for what we are right to be laxer about."""
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    try:
        read = parse(bytes(data))
    except MessageError:
        return
    # The data of other types, and what special classes mean, is not looked into.
    if read.opcode == 0 and read.question is not None and data[31:35] == b"\x00\x01\x00\x01":
        dns.message.from_wire(bytes(data), ignore_trailing=False, raise_on_truncation=False)


@pytest.mark.parametrize("rcode", [FORMERR, REFUSED])
@pytest.mark.parametrize("edns", [-1, 0])
def test_an_answer_is_one_for_dnspython(rcode: int, edns: int) -> None:
    asked = dns.message.make_query("www.example", "AAAA", use_edns=edns)
    data = asked.to_wire()
    told = dns.message.from_wire(answer(data, rcode, parse(data)))
    assert asked.is_response(told)
    assert (told.rcode(), told.edns) == (rcode, edns)
    assert len(answer(data, rcode, parse(data))) <= len(data)


def test_an_answer_to_what_cannot_be_read() -> None:
    data = query()[:20]
    assert answer(data, FORMERR, None) == data[:2] + b"\x81\x01" + bytes(8)


@pytest.mark.parametrize(("text", "number"), [("A", 1), ("aaaa", 28), ("TYPE65280", 65280), ("type1", 1)])
def test_types(text: str, number: int) -> None:
    assert type_number(text) == number


@pytest.mark.parametrize("text", ["", "B", "TYPE", "TYPE65536", "TYPE-1", "1"])
def test_no_types(text: str) -> None:
    with pytest.raises(ValueError, match="expected a type of records"):
        type_number(text)


def test_names_of_types() -> None:
    assert (type_name(1), type_name(255), type_name(65280)) == ("A", "ANY", "TYPE65280")
