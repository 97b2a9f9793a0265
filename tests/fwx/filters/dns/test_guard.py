"""Which queries pass, with which responses; what the client is told of the others."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from fwx.filters.dns.guard import MOST_OUTSTANDING, Guard, Rules, Verdict
from tests.dns_wire import message, query, question, record, response

RULES = Rules(
    opcodes=frozenset({0}),
    classes=frozenset({1}),
    types=None,
    refused_types=frozenset({252, 255}),
    names=frozenset({("example", "bad"), ("local",)}),
    name_length=100,
    udp_size=4096,
    answers=True,
)


def edns(size: int) -> bytes:
    return b"\x00" + struct.pack("!HHIH", 41, size, 0, 0)


def guard(*, stream: bool = False, rules: Rules = RULES) -> Guard:
    return Guard(rules, stream=stream)


def rcode(verdict: Verdict) -> int | None:
    """What the client is told; it is a response with the number of the query."""
    if not verdict.reply:
        return None
    number, flags = struct.unpack_from("!HH", verdict.reply)
    assert (number, flags >> 15) == (7, 1)
    return flags & 15


def test_a_query_and_its_response() -> None:
    judge = guard()
    assert judge.query(query("www.Example")).passes
    assert judge.response(response("WWW.example")).passes
    late = judge.response(response())
    assert (late.passes, late.words) == (False, "the server: a response that nobody has asked for: A www.example")


@pytest.mark.parametrize(
    ("data", "told", "words"),
    [
        (query(kind=252), 5, "type AXFR"),
        (query(kind=255), 5, "type ANY"),
        (query(class_=3), 5, "class 3"),
        (query("a.bad.example"), 5, "name a.bad.example"),
        (query("BAD.example"), 5, "name bad.example"),
        (query("printer.local"), 5, "name printer.local"),
        (query("x" * 60 + "." + "y" * 50), 5, "a name of 113 bytes"),
        (message(question(), flags=4 << 11), 5, "opcode 4"),
        (message(question(), flags=5 << 11), 5, "opcode 5"),
        (message(counts=(0, 0, 0, 0)), 1, "no question"),
        (message(question(), flags=0x0140), 1, "flags that a query does not have"),
        (message(question(), flags=0x0300), 1, "flags that a query does not have"),
        (message(question(), flags=0x0103), 1, "flags that a query does not have"),
        (message(question(), record(), counts=(1, 1, 0, 0)), 1, "a query with 1 answers, 0 authorities and 0"),
        (message(question(), record(), counts=(1, 0, 1, 0)), 1, "a query with 0 answers, 1 authorities and 0"),
        (message(question(), record() * 3, counts=(1, 0, 0, 3)), 1, "a query with 0 answers, 0 authorities and 3"),
        (query() + b"x", 1, "1 bytes behind the last record"),
        (query()[:12], 1, "a name goes beyond the end"),
        (query()[:11], None, "11 bytes are no header"),
        (b"", None, "0 bytes are no header"),
        (response(), None, "a response from the client"),
        (response() + b"x", None, "1 bytes behind the last record"),
    ],
)
def test_refused(data: bytes, told: int | None, words: str) -> None:
    verdict = guard().query(data)
    assert not verdict.passes
    assert verdict.words.startswith(words)
    assert rcode(verdict) == told
    silent = guard(rules=replace(RULES, answers=False)).query(data)
    assert (silent.passes, silent.words, silent.reply) == (False, verdict.words, b"")


@pytest.mark.parametrize("text", ["badexample", "notbad.example.org", "xbad.example", "local.example", ""])
def test_names_that_pass(text: str) -> None:
    assert guard().query(query(text)).passes


def test_only_some_types() -> None:
    judge = guard(rules=replace(RULES, types=frozenset({1, 28})))
    assert [judge.query(query(kind=kind)).passes for kind in (1, 28, 15)] == [True, True, False]


@pytest.mark.parametrize(
    "data",
    [
        response(number=8),
        response("other.example"),
        response(kind=28),
        message(question(class_=3), flags=0x8180),
        message(question(), flags=0x8180 | 4 << 11),
        message(flags=0x8180, counts=(0, 0, 0, 0)),
        message(record(b"\0"), flags=0x8181, counts=(0, 1, 0, 0)),
        message(flags=0x8181, number=8, counts=(0, 0, 0, 0)),
        query(),
    ],
)
def test_responses_to_something_else(data: bytes) -> None:
    """Dropped, and the right one still passes."""
    judge = guard()
    judge.query(query())
    verdict = judge.response(data)
    assert (verdict.passes, verdict.reply) == (False, b"")
    assert verdict.words.startswith("the server: ")
    assert judge.response(response()).passes


@pytest.mark.parametrize("code", [1, 4, 5])
def test_a_server_that_could_not_read_the_query(code: int) -> None:
    judge = guard()
    judge.query(query())
    assert judge.response(message(flags=0x8180 | code, counts=(0, 0, 0, 0))).passes
    assert not judge.response(response()).passes


@pytest.mark.parametrize(
    ("client", "size", "passes"),
    [
        (None, 512, True),
        (None, 513, False),
        (1232, 1232, True),
        (1232, 1233, False),
        (100, 512, True),
        (9000, 4097, False),
    ],
)
def test_responses_that_are_over_long(client: int | None, size: int, passes: bool) -> None:
    judge = guard()
    extra = () if client is None else (edns(client),)
    judge.query(message(question(), *extra, counts=(1, 0, 0, len(extra))))
    start = message(question(), flags=0x8180, counts=(1, 1, 0, 0))
    data = start + record(kind=10, data=bytes(size - len(start) - 12))
    assert len(data) == size
    assert judge.response(data).passes is passes


def test_a_response_that_cannot_be_read() -> None:
    """On UDP it may be forged, and the right one may still come; on TCP the client is told."""
    judge = guard()
    judge.query(query())
    verdict = judge.response(response()[:-1])
    assert (verdict.passes, verdict.reply) == (False, b"")
    assert judge.response(response()).passes
    stream = guard(stream=True)
    stream.query(query())
    verdict = stream.response(response()[:-1])
    assert rcode(verdict) == 2
    assert not stream.response(response()).passes
    assert not stream.response(response()[:-1]).reply
    assert not stream.response(b"\x00\x07").reply


def test_a_zone_transfer_has_many_responses() -> None:
    rules = replace(RULES, refused_types=frozenset())
    stream = guard(stream=True, rules=rules)
    assert stream.query(query(kind=252)).passes
    assert [stream.response(response(kind=252)).passes for _ in range(5)] == [True] * 5
    soa = record(kind=6, data=b"\x00\x00" + bytes(20))
    assert stream.query(message(question(kind=251), soa, counts=(1, 0, 1, 0))).passes
    datagrams = guard(rules=rules)
    datagrams.query(query(kind=251))
    assert [datagrams.response(response(kind=251)).passes for _ in range(2)] == [True, False]


def test_notify_and_update_where_they_are_allowed() -> None:
    judge = guard(rules=replace(RULES, opcodes=frozenset({0, 4, 5})))
    soa = record(kind=6, data=b"\x00\x00" + bytes(20))
    notify = message(question(kind=6), soa, flags=4 << 11, counts=(1, 1, 0, 0))
    assert judge.query(notify).passes
    assert judge.response(message(question(kind=6), flags=0x8000 | 4 << 11)).passes
    update = message(question(kind=6), record() * 4, flags=5 << 11, counts=(1, 1, 3, 0))
    assert judge.query(update).passes


def test_what_is_outstanding_is_bounded() -> None:
    judge = guard()
    for number in range(MOST_OUTSTANDING + 1):
        judge.query(query(number=number))
    assert len(judge._outstanding) == MOST_OUTSTANDING
    assert not judge.response(response(number=0)).passes
    assert judge.response(response(number=1)).passes
