"""Sets of URLs: what an entry holds, however it is written, and that no spelling gets by one that is denied."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.urlpath import readings, without_dots
from fwx.impl.urlset import Url, UrlSet, UrlSets
from fwx.interfaces import SocketAddress


def held(entry: str, host: str, path: str, port: int = 80) -> str:
    """Tell whether *entry* holds a URL: ``yes`` however it is read, ``maybe`` in some reading, ``no``."""
    surely, maybe = UrlSets([UrlSet("s", (entry,))]).of(Url(host, port, path))
    assert surely <= maybe
    return "yes" if surely else "maybe" if maybe else "no"


@pytest.mark.parametrize(
    ("entry", "host", "path", "expected"),
    [
        # hosts
        ("http://example.org/path/*", "example.org", "/path/x", "yes"),
        ("http://example.org/path/*", "EXAMPLE.org.", "/path/x", "yes"),
        ("http://EXAMPLE.org./path/*", "example.org", "/path/x", "yes"),
        ("http://example.org/path/*", "www.example.org", "/path/x", "no"),
        ("*.example.org/path/*", "www.example.org", "/path/x", "yes"),
        ("*.example.org/path/*", "a.b.example.org", "/path/x", "yes"),
        ("*.example.org/path/*", "example.org", "/path/x", "no"),
        ("bücher.example", "xn--bcher-kva.example", "/", "yes"),
        ("http://10.2.0.5/x", "10.2.0.5", "/x", "yes"),
        ("http://10.2.0.5/x", "::ffff:10.2.0.5", "/x", "yes"),
        ("http://[2001:db8::1]/x", "2001:0db8::1", "/x", "yes"),
        # paths
        ("example.org", "example.org", "/", "yes"),
        ("example.org", "example.org", "/a/b?c", "yes"),
        ("example.org/", "example.org", "/", "yes"),
        ("example.org/", "example.org", "", "yes"),
        ("example.org/", "example.org", "/a", "no"),
        ("example.org/*", "example.org", "/a", "yes"),
        ("example.org/page", "example.org", "/page", "yes"),
        ("example.org/page", "example.org", "/page?query=/x", "yes"),
        ("example.org/page", "example.org", "/page/", "no"),
        ("example.org/page*", "example.org", "/pages/1", "yes"),
        ("example.org/path/*", "example.org", "/path", "no"),
        ("example.org/path/*", "example.org", "/other?/path/x", "no"),
        ("example.org/a%20b/%7Ec", "example.org", "/a%20b/~c", "yes"),
        # what only some servers take for the same
        ("example.org/path/*", "example.org", "/PATH/x", "maybe"),
        ("example.org/path/*", "example.org", "/%70ath/x", "yes"),
        ("example.org/path/*", "example.org", "/path%2Fx", "maybe"),
        ("example.org/path/*", "example.org", "/path%2fx", "maybe"),
        ("example.org/path/*", "example.org", "/%2570ath/x", "maybe"),
        ("example.org/path/*", "example.org", "/%256fther", "no"),
        ("example.org/a*", "example.org", "/a%2520b", "yes"),
        ("example.org/path/*", "example.org", "//path/x", "maybe"),
        ("example.org/path/*", "example.org", "/./path/x", "maybe"),
        ("example.org/path/*", "example.org", "/other/../path/x", "maybe"),
        ("example.org/path/*", "example.org", "/other/%2e%2E/path/x", "maybe"),
        ("example.org/path/*", "example.org", "/other%2f..%2fpath/x", "maybe"),
        ("example.org/path/*", "example.org", "/other/..;v=1/path/x", "maybe"),
        ("example.org/path/*", "example.org", "/path;v=1/x", "maybe"),
        ("example.org/path/*", "example.org", "\\path\\x", "maybe"),
        ("example.org/path/*", "example.org", "/%5cpath/x", "maybe"),
        ("example.org/path/*", "example.org", "/../path/x", "maybe"),
        # out of where an allow rule lets
        ("example.org/path/*", "example.org", "/path/../secret", "maybe"),
        ("example.org/path/*", "example.org", "/path/..%2fsecret", "maybe"),
        ("example.org/path/*", "example.org", "/path/%252e%252e/secret", "maybe"),
        ("example.org/path/*", "example.org", "/path/..\\secret", "maybe"),
        ("example.org/path/*", "example.org", "/path/.hidden", "yes"),
        ("example.org/path/*", "example.org", "/path/x;v=1", "yes"),
        # nobody knows what it is
        ("example.org/path/*", "example.org", "/%", "maybe"),
        ("example.org/path/*", "example.org", "/a%zz", "maybe"),
        ("example.org/path/*", "example.org", "/a%u002fb", "maybe"),
        ("example.org/path/*", "example.org", "/a%00b", "maybe"),
        ("example.org/path/*", "example.org", "/a%c0%af", "maybe"),
        ("example.org/path/*", "example.org", "/%25252525252525252570ath", "maybe"),
        ("example.org", "example.org", "/a%00b", "maybe"),
        # or would take too long to find out
        ("example.org/path/*", "example.org", "/path/" + "a" * 5000, "yes"),
        ("example.org/path/*", "example.org", "/path/" + "a%20" * 1000, "yes"),
        ("example.org/path/*", "example.org", "/path/" + "a%20" * 1200, "maybe"),
        ("example.org/path/*", "example.org", "/" + "./" * 2100, "maybe"),
    ],
)
def test_an_entry(entry: str, host: str, path: str, expected: str) -> None:
    assert held(entry, host, path) == expected


@pytest.mark.parametrize(
    ("entry", "port", "expected"),
    [
        ("http://example.org", 80, "yes"),
        ("http://example.org:80/", 80, "yes"),
        ("HTTP://example.org:80/", 80, "yes"),
        ("http://example.org", 8080, "no"),
        ("example.org:8080/", 8080, "yes"),
        ("example.org:*/", 8080, "yes"),
        ("example.org:*", 80, "yes"),
    ],
)
def test_ports(entry: str, port: int, expected: str) -> None:
    assert held(entry, "example.org", "/", port) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://example.org/", "has the scheme 'https': only plain HTTP shows its URLs"),
        ("127.1/x", "names the host '127.1', '127.1' does not appear to be an IPv4 or IPv6 address"),
        ("example.org/a?b", "has a query or a fragment"),
        ("example.org/a#b", "has a query or a fragment"),
        ("example.org/*/b", "has a * that is not at the end"),
        ("example.org/a/../b", "has a path that servers read differently"),
        ("example.org//b", "has a path that servers read differently"),
        ("example.org/%zz", "has a path that servers read differently"),
        ("example.org/a b", "has a path that servers read differently"),
        ("", "names the host ''"),
        ("*.", "names the host '*.'"),
        ("*", "names the host '*'"),
        ("*.0.5", "names the host '*.0.5'"),
        ("a.*.org", "names the host 'a.*.org'"),
        ("user@example.org", "names the host 'user@example.org'"),
        ("example.org:x/", "has no host"),
        ("example.org:0/", "has the port 0"),
        ("example.org:65536/", "has the port 65536"),
    ],
)
def test_what_is_no_entry(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^set of URLs 's': {re.escape(repr(text))} {re.escape(why)}"):
        UrlSet("s", ("example.org", text))


def test_many_sets_and_many_hosts() -> None:
    sets = UrlSets(
        [UrlSet("one", ("example.org/a", "*.org/b")), UrlSet("other", ("example.org/a/*", "*.example.org/a"))]
    )
    assert sets.of(Url("example.org", 80, "/a")).surely == {"one"}
    assert sets.of(Url("example.org", 80, "/a/b")).surely == {"other"}
    assert sets.of(Url("example.org", 80, "/b")).surely == {"one"}
    assert sets.of(Url("a..b", 80, "/b")).maybe == set()
    assert sets.of_host("www.example.org") == {"one", "other"}
    assert sets.of_host("example.com") == set()


def test_what_a_request_asks_for() -> None:
    url = Url.of(SocketAddress("2001:db8::1", 8080), "/a?b")
    assert (str(url), url.readings) == ("http://[2001:db8::1]:8080/a", ("/a",))
    assert Url.of(SocketAddress("example.org", 80), "*").path == "/"


PIECES = st.lists(
    st.sampled_from(("a", "b", "secret", ".", "..", "%2e", "%2F", "%252f", "\\", ";x", "/", "//", "%41", "A")),
    max_size=8,
)


@given(PIECES.map(lambda pieces: "/" + "/".join(pieces)), st.sampled_from(("/secret", "/secret/*", "/a/*")))
def test_no_spelling_gets_by(path: str, entry: str) -> None:
    """What a server that decodes, joins and resolves would serve is held, at least in a reading, and never surely
    where it is elsewhere."""
    kept = path
    for _ in range(3):
        kept = unquote(kept)
    served = without_dots(re.sub("/{2,}", "/", re.sub(";[^/]*", "", kept.replace("\\", "/"))))
    is_there = served.startswith(entry[:-1]) if entry.endswith("*") else served == entry
    answer = held("example.org" + entry, "example.org", path)
    assert answer != "no" if is_there else answer != "yes"


@pytest.mark.parametrize("path", ["/", "/a", "/a/b~c/d_e-f/", "/a.b/c..,d=e+f@(g)!$&'*"])
def test_a_plain_path_has_one_reading(path: str) -> None:
    assert readings(path) == (path,)
    assert without_dots(path) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..a/.b", "/..a/.b"),
    ],
)
def test_dot_segments(path: str, expected: str) -> None:
    """RFC 3986 section 5.2.4."""
    assert without_dots(path) == expected


ENTRIES = (
    "example.org/*",
    "example.org/a",
    "example.org/a/*",
    "*.org/A*",
    "example.org:*/b",
    "example.org/a%20b",
    "org",
)
ASKED = ("/", "/a", "/A", "/a/", "/a/b", "/b", "/a b", "/a%20b", "/%61", "//a", "/b/../a", "/%", "/A/b")


@given(st.lists(st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=3), max_size=3), st.sampled_from(ASKED))
def test_an_index_says_what_the_entries_say(written: list[list[str]], path: str) -> None:
    """A set may hold what one of its entries does not hold in every reading, where another one holds the rest."""
    sets = [UrlSet(f"s{number}", tuple(texts)) for number, texts in enumerate(written)]
    url = Url("example.org", 80, path)
    surely, maybe = UrlSets(sets).of(url)
    fitting = {each.name: [entry for entry in each.entries if entry.host != "org" or entry.below] for each in sets}
    assert maybe == {name for name, entries in fitting.items() if any(entry.may_hold(url) for entry in entries)}
    assert surely >= {name for name, entries in fitting.items() if any(entry.holds(url) for entry in entries)}
    assert surely <= maybe
