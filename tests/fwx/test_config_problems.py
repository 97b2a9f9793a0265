"""Every fault of a configuration gets its line, its key, what is wrong and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwx.config import ConfigurationError, Problem, load
from fwx.config_references import DEFAULT_RULE
from fwx.impl import policy

LISTENER = '[[listener]]\nname = "a"\nkind = "proxy"\nbind = "127.0.0.1:80"\n'
PUBLISH = '[[listener]]\nname = "a"\nkind = "publish"\nbind = "127.0.0.1:80"\nto = "10.0.0.1:80"\n'
TRANSPARENT = '[[listener]]\nname = "a"\nkind = "transparent"\nbind = "127.0.0.1:80"\n'
RULE = '[[rule]]\nname = "r"\naction = "allow"\nprotocols = ["any"]\nfrom = ["any"]\nto = ["any"]\n'
PORT = '[[protocol]]\nname = "p"\nports = [{ transport = "tcp", direction = "outbound", first = 21 }]\n'
UPSTREAM = '[[upstream]]\nname = "u"\nkind = "http"\naddress = "10.0.0.1:80"\n'
USER = '[[user]]\nname = "alice"\ngroups = ["staff"]\npassword = "$argon2id$v=19"\n'
ADDRESS = "expected an address and a port, such as 127.0.0.1:1080 or [::1]:1080"
COUNT = "expected a whole number from 1 up"
SECONDS = "expected a number of seconds above 0"
PORTS = "expected a port from 0 to 65535"
PROTOCOLS = "expected names of protocols, or 'any'"
SENDERS = "expected senders of PROXY headers: addresses and ranges, such as 10.1.0.0/16, 10.1.0.1 or 10.1.0.1-10.1.0.9"
SNI = "expected a table such as { 'www.example.org' = '10.2.0.5:443' }"
KINDS = "expected 'proxy', 'transparent' or 'publish'"
OTHER = "expected another address or port"
NETWORK = "[[network]]\nname = '{}'\nranges = [{}]\n"
NETWORK_RULE = (
    "[[network_rule]]\nname = 'n'\nfrom = [{}]\nto = [{}]\nrelation = 'nat'\n"
    "[[network]]\nname = 'internal'\nranges = ['10.0.0.0/8']\n[[domains]]\nname = 'sites'\nnames = ['a.de']\n"
)
SECOND = LISTENER.replace('"a"', '"b"')


def faults(folder: Path, text: str) -> list[str]:
    """The problems of *text* without the name of the file."""
    file = folder / "fwx.toml"
    file.write_text(text)
    try:
        load(file)
    except ConfigurationError as error:
        return [str(problem).removeprefix(f"{file}:") for problem in error.problems]
    return []


@pytest.mark.parametrize("text", ["", LISTENER, PUBLISH, TRANSPARENT, RULE, PORT, UPSTREAM, USER])
def test_the_texts_that_the_tables_below_change_are_right(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text) == []


FORM = [
    # keys
    ("[servce]\n", "1: servce: unknown key 'servce'; did you mean 'service'?"),
    ("[service]\nnmae = 'x'\n", "2: service.nmae: unknown key 'nmae'; did you mean 'name'?"),
    ("[console]\nbind = '127.0.0.1:1'\nxyz = 1\n", "3: console.xyz: unknown key 'xyz'; expected one of bind"),
    (
        LISTENER + "mode = 'tproxy'\n",
        "5: listener.mode: unknown key 'mode' where kind is 'proxy'; "
        "expected one of name, bind, proxy_protocol, trusted, kind, authenticate, tls",
    ),
    (
        PUBLISH.replace("bind", "bnid"),
        f"1: listener.bind: is missing; {ADDRESS}",
        "4: listener.bnid: unknown key 'bnid' where kind is 'publish'; did you mean 'bind'?",
    ),
    (
        LISTENER + "tls = {certificate = 'x'}\n",
        "5: listener.tls.key: is missing; expected the path of a file with the private key in PEM",
    ),
    # types
    ("service = 1\n", "1: service: 1 is a whole number, not a table; expected a table [service]"),
    ("[network]\nname = 'x'\n", "1: network: is a table, not an array of tables; expected tables [[network]]"),
    ("network = ['x']\n", "1: network: 'x' is a string, not a table; expected tables [[network]]"),
    (
        "[service]\nworkers = true\n",
        "2: service.workers: true is a boolean, not a whole number; "
        "expected the number of worker processes, a whole number from 1 up",
    ),
    (
        "[service]\nname = 1979-05-27\n",
        "2: service.name: 1979-05-27 is a date or time, not a string; expected the firewall's name in the log",
    ),
    ("[limits]\ntcp_per_address = 1.5\n", f"2: limits.tcp_per_address: 1.5 is a number, not a whole number; {COUNT}"),
    (
        "[log]\nw3c = { directory = 'w', fields = ['source', 'sorce'] }\n",
        "2: log.w3c.fields: 'sorce' is no field of a W3C log; did you mean 'source'?; "
        "expected names of fields, such as 'source' or 'action'",
    ),
    (
        "[log]\njson = { directory = 'j', fields = ['SourceIp', 'logTime'] }\n",
        "2: log.json.fields: 'SourceIp' is no field of a JSON log; did you mean 'SourceIP'?; "
        "expected names of columns, such as 'SourceIP' or 'Action'",
        "2: log.json.fields: 'logTime' is no field of a JSON log; did you mean 'GmtLogTime'?; "
        "expected names of columns, such as 'SourceIP' or 'Action'",
    ),
    (
        "[log]\nkeep_days = 0\n",
        "2: log.keep_days: 0 is out of range; expected a number of days, a whole number from 1 up",
    ),
    ("[log]\nspool_megabytes = -1\n", "2: log.spool_megabytes: -1 is out of range; expected a whole number from 0 up"),
    ("[log]\non_error = 'stop'\n", "2: log.on_error: 'stop' is not known; expected 'close' or 'open'"),
    (
        "[log]\nsql = 'fwx'\n",
        "2: log.sql: 'fwx' is not a database URL; expected a database URL such as postgresql+psycopg://fwx@/fwx",
    ),
    ("[limits]\nhandshake_seconds = true\n", f"2: limits.handshake_seconds: true is not a number; {SECONDS}"),
    ("[limits]\nhandshake_seconds = inf\n", f"2: limits.handshake_seconds: inf is out of range; {SECONDS}"),
    ("[limits]\nudp_per_address = 0\n", f"2: limits.udp_per_address: 0 is out of range; {COUNT}"),
    (RULE + "log = 'yes'\n", "7: rule.log: 'yes' is a string, not a boolean; expected true or false"),
    (RULE.replace('["any"]\nfrom', '"any"\nfrom'), f"4: rule.protocols: 'any' is a string, not an array; {PROTOCOLS}"),
    (
        RULE.replace('["any"]\nfrom', "[\n 1]\nfrom"),
        f"5: rule.protocols: 1 is a whole number, not a string; {PROTOCOLS}",
    ),
    (RULE.replace('["any"]\nfrom', "[]\nfrom"), f"4: rule.protocols: is empty; {PROTOCOLS}"),
    # values
    (
        LISTENER.replace(":80", ""),
        f"4: listener.bind: '127.0.0.1' is not an address with a port from 0 to 65535; {ADDRESS}",
    ),
    (LISTENER.replace('"127.0.0.1:80"', "80"), f"4: listener.bind: 80 is not a string; {ADDRESS}"),
    (LISTENER.replace("proxy", "prox"), f"3: listener.kind: 'prox' is not known; {KINDS}; did you mean 'proxy'?"),
    (LISTENER.replace('kind = "proxy"\n', ""), f"1: listener.kind: is missing; {KINDS}"),
    (
        LISTENER + "authenticate = 'requird'\n",
        "5: listener.authenticate: 'requird' is not known; "
        "expected 'off', 'optional' or 'required'; did you mean 'required'?",
    ),
    ("listener = []\n", "1: listener: is empty; expected tables [[listener]]"),
    (
        RULE + "filters = ['x', 'x']\n",
        "7: rule.filters: ['x', 'x'] names 'x' twice; expected names of filters, client side first",
        "7: rule.filters: unknown filter 'x'; this file defines no filter",
        "7: rule.filters: unknown filter 'x'; this file defines no filter",
    ),
    # keys that depend on others
    (
        PUBLISH + "proxy_protocol = 'require'\n",
        f"1: listener.trusted: is missing; proxy_protocol = 'require' needs it; {SENDERS}",
    ),
    (
        PUBLISH + "trusted = ['10.0.0.1']\n",
        f"6: listener.trusted: ['10.0.0.1'] is of no use while proxy_protocol is 'off'; {SENDERS}",
    ),
    (
        PUBLISH.replace('to = "10.0.0.1:80"\n', ""),
        "1: listener.to: is missing; expected an address or a name and a port, such as 10.2.0.5:8080",
    ),
    (
        PUBLISH + "sni = { 'a.example' = '10.0.0.1:443' }\nto_tls = {}\n",
        "7: listener.to_tls: {} does not go with sni, which passes TLS on as it is; "
        "expected a table, which may be empty",
    ),
    (PUBLISH + "sni = {}\n", f"6: listener.sni: is empty; {SNI}"),
    (
        PUBLISH + "sni = { '10.0.0.1' = '10.0.0.1:443' }\n",
        "6: listener.sni.10.0.0.1: '10.0.0.1' is an address; addresses belong to a [[network]]",
    ),
    (
        PUBLISH + "sni = { 'a.example' = '10.0.0.1' }\n",
        "6: listener.sni.a.example: '10.0.0.1' is not an address with a port from 0 to 65535",
    ),
    (
        PUBLISH + "sni = { 'a.example' = '10.0.0.1:443', 'A.example' = '10.0.0.2:443' }\n",
        "6: listener.sni: {'a.example': '10.0.0.1:443', 'A.example': '10.0.0.2:443'} names 'a.example' twice; " + SNI,
    ),
    (
        PUBLISH + "to_tls = { verify = false, ca = 'x' }\n",
        "6: listener.to_tls.ca: 'x' is of no use while verify is false; "
        "expected the path of a file with the authorities of its certificate in PEM",
    ),
    (
        PUBLISH + "to_tls = { server_name = 'a b' }\n",
        "6: listener.to_tls.server_name: 'a b' is neither an address nor a DNS name; "
        "expected the name or address that its certificate is for",
    ),
    (
        PUBLISH + "transport = 'udp'\nto_tls = {}\n",
        "7: listener.to_tls: {} does not go with transport = 'udp'; expected a table, which may be empty",
    ),
    (
        PUBLISH + "transport = 'udp'\nproxy_protocol = 'require'\ntrusted = ['10.0.0.1']\n",
        "6: listener.transport: 'udp' has no PROXY headers, which proxy_protocol = 'require' asks for; "
        "expected 'tcp' or 'udp'",
    ),
    (
        PUBLISH + "transport = 'udp'\nsend_proxy_protocol = 'v2'\n",
        "7: listener.send_proxy_protocol: 'v2' does not go with transport = 'udp'; expected 'off', 'v1' or 'v2'",
    ),
    (
        TRANSPARENT + "mode = 'redirect'\ntransport = 'udp'\n",
        "6: listener.transport: 'udp' does not go with mode = 'redirect'; expected 'tcp' or 'udp'",
    ),
    (
        TRANSPARENT + "mode = 'redirect'\nkeep_client_address = true\n",
        "6: listener.keep_client_address: true does not go with mode = 'redirect'; expected true or false",
    ),
    (
        "[packet_filter]\nguard = ['1-1023']\n",
        "2: packet_filter.guard: ['1-1023'] is of no use while backend is 'memory'; expected ports such as 1024-65535",
    ),
    (
        "[packet_filter]\nbackend = 'nftables'\nexcept = ['tcp/ssh']\nlockdown = 'never'\n",
        "3: packet_filter.except: 'tcp/ssh' is not a port or a range of ports; "
        "expected ports such as tcp/22 or udp/500-510",
        "4: packet_filter.lockdown: 'never' is not known; expected 'fault' or 'always'",
    ),
    (PORT.replace("first = 21", "first = 65536"), f"3: protocol.ports.first: 65536 is out of range; {PORTS}"),
    (
        PORT.replace("first = 21", "first = 21, last = 20"),
        f"3: protocol.ports.last: 20 is less than first, which is 21; {PORTS}",
    ),
    (
        PORT.replace("outbound", "send"),
        "3: protocol.ports.direction: 'send' is no direction of tcp; "
        "expected 'outbound' or 'inbound' for tcp; 'send', 'receive', 'send_receive' or 'receive_send' for udp",
    ),
    (
        PORT.replace("tcp", "tpc"),
        "3: protocol.ports.transport: 'tpc' is not known; expected 'tcp' or 'udp'; did you mean 'tcp'?",
    ),
    (
        UPSTREAM + "password = 'x'\n",
        "5: upstream.password: 'x' is written without user; expected the password, or password_file in its place",
    ),
    (
        UPSTREAM + "user = 'u'\n",
        "1: upstream.password_file: is missing; user needs it, or password; "
        "expected the path of a file that holds the password",
    ),
    (
        UPSTREAM + "user = 'u'\npassword = 'x'\npassword_file = 'y'\n",
        "7: upstream.password_file: 'y' is written beside password; one of them is enough; "
        "expected the path of a file that holds the password",
    ),
]


@pytest.mark.parametrize(("text", "expected"), [(text, expected) for text, *expected in FORM])
def test_a_fault_of_form(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert faults(tmp_path, text) == expected


NAMES = [
    # references
    (
        RULE.replace('["any"]\nfrom', '["http"]\nfrom'),
        "4: rule.protocols: unknown protocol 'http'; did you mean 'HTTP'?",
    ),
    (
        RULE.replace('["any"]\nfrom', '["FTPTT"]\nfrom') + PORT.replace('"p"', '"FTPT"'),
        "4: rule.protocols: unknown protocol 'FTPTT'; did you mean 'FTPT'?",
    ),
    (
        RULE.replace('["any"]\nfrom', '["qqqqqq"]\nfrom'),
        "4: rule.protocols: unknown protocol 'qqqqqq'; expected the name of a protocol",
    ),
    (
        RULE.replace('from = ["any"]', 'from = ["extern"]'),
        "5: rule.from: unknown network 'extern'; did you mean 'external'?",
    ),
    (
        RULE.replace('from = ["any"]', 'from = ["x"]'),
        "5: rule.from: unknown network 'x'; expected one of any, external, localhost",
    ),
    (
        RULE.replace('from = ["any"]', 'from = ["updates"]') + "[[domains]]\nname = 'updates'\nnames = ['pypi.org']\n",
        "5: rule.from: 'updates' is a set of domains; a source has no name, expected a network",
    ),
    (
        RULE.replace('to = ["any"]', 'to = [\n"any",\n"lan"]'),
        "8: rule.to: unknown network or set 'lan'; did you mean 'any'?",
    ),
    (RULE + "users = ['alise']\n" + USER, "7: rule.users: unknown user 'alise'; did you mean 'alice'?"),
    (RULE + "groups = ['stuff']\n" + USER, "7: rule.groups: unknown group 'stuff'; did you mean 'staff'?"),
    (
        RULE + "groups = ['staff']\nusers = ['any']\n" + USER,
        "8: rule.users: 'any' is everybody; leave it out where groups are written",
    ),
    (RULE + "schedule = 'work'\n", "7: rule.schedule: unknown schedule 'work'; this file defines no schedule"),
    (RULE + "upstream = 'v'\n" + UPSTREAM, "7: rule.upstream: unknown upstream 'v'; expected one of u"),
    (UPSTREAM + "via = 'v'\n", "5: upstream.via: unknown upstream 'v'; expected one of u"),
    (UPSTREAM + "via = 'u'\n", "5: upstream.via: leads back to 'u': u via u"),
    (
        UPSTREAM.replace('"u"', '"before"')
        + "via = 'a'\n"
        + UPSTREAM.replace('"u"', '"a"')
        + "via = 'b'\n"
        + UPSTREAM.replace('"u"', '"b"')
        + "via = 'c'\n"
        + UPSTREAM.replace('"u"', '"c"')
        + "via = 'a'\n",
        "10: upstream.via: leads back to 'a': a via b via c via a",
    ),
    (
        RULE + "filters = ['monitr']\n[[filter]]\nname = 'monitor'\nuse = 'x'\n",
        "7: rule.filters: unknown filter 'monitr'; did you mean 'monitor'?",
    ),
    # names
    (
        "[[network]]\nname = 'any'\nranges = ['10.0.0.1']\n",
        "2: network.name: 'any' is predefined; expected another name",
    ),
    (
        "[[network]]\nname = 'localhost'\nranges = ['10.0.0.1']\n",
        "2: network.name: 'localhost' is predefined; expected another name",
    ),
    (PORT.replace('"p"', '"any"'), "2: protocol.name: 'any' is predefined; expected another name"),
    (USER.replace("alice", "authenticated"), "2: user.name: 'authenticated' is predefined; expected another name"),
    (RULE.replace('"r"', '"Default rule"'), "2: rule.name: 'Default rule' is predefined; expected another name"),
    (RULE + RULE, "8: rule.name: 'r' is already the name of a [[rule]] in line 2; expected another name"),
    (
        "[[network]]\nname = 'x'\nranges = ['10.0.0.1']\n[[domains]]\nname = 'x'\nnames = ['a.de']\n",
        "5: domains.name: 'x' is already the name of a [[network]] in line 2; expected another name",
    ),
    (
        "[[computers]]\nname = 'x'\nranges = ['10.0.0.1']\n[[urls]]\nname = 'x'\nurls = ['a.de']\n",
        "5: urls.name: 'x' is already the name of a [[computers]] in line 2; expected another name",
    ),
    (
        RULE.replace("[[rule]]", "[[system_rule]]").replace('to = ["any"]', 'to = ["localhost"]') + RULE,
        "8: rule.name: 'r' is already the name of a [[system_rule]] in line 2; expected another name",
    ),
    # networks and what is said of them
    (
        NETWORK.format("a", "'10.0.0.0/8', '10.1.0.0/16'") + NETWORK.format("b", "'192.0.2.1', '10.2.0.0/16'"),
        "6: network.ranges: '10.2.0.0/16' of network 'b' overlaps '10.0.0.0/8' of network 'a' in line 3; an address is "
        "in one network, expected other ranges or a [[computers]] table",
    ),
    (
        NETWORK.format("a", "'10.0.0.1'")
        + NETWORK.format("b", "'::ffff:10.0.0.0/120', '2001:db8::/64'")
        + NETWORK.format("c", "'2001:db8::-2001:db8::9'"),
        "6: network.ranges: '::ffff:10.0.0.0/120' of network 'b' overlaps '10.0.0.1' of network 'a' in line 3; an "
        "address is in one network, expected other ranges or a [[computers]] table",
        "9: network.ranges: '2001:db8::-2001:db8::9' of network 'c' overlaps '2001:db8::/64' of network 'b' in line 6; "
        "an address is in one network, expected other ranges or a [[computers]] table",
    ),
    (
        NETWORK_RULE.format("'internl'", "'external'"),
        "3: network_rule.from: unknown network 'internl'; did you mean 'internal'?",
    ),
    (
        NETWORK_RULE.format("'internal'", "'sites'"),
        "4: network_rule.to: 'sites' is a set of domains; expected a network",
    ),
    (
        NETWORK_RULE.format("'internal'", "'external', 'localhost'"),
        "4: network_rule.to: 'localhost' is related with every network by a route; expected other networks",
    ),
    (
        NETWORK_RULE.format("'internal'", "'external', 'internal'"),
        "4: network_rule.to: 'internal' is related with itself; expected another network",
    ),
    (
        NETWORK_RULE.format("'internal'", "'external'")
        + NETWORK_RULE.partition("[[network]]")[0].replace("'n'", "'m'").format("'external'", "'internal', 'any'"),
        "15: network_rule.to: relates 'external' and 'internal', which the [[network_rule]] in line 1 does already",
    ),
    (
        NETWORK_RULE.format("'internal'", "'external'").replace("'nat'", "'bridge'"),
        "5: network_rule.relation: 'bridge' is not known; expected 'route' or 'nat'",
    ),
    (
        RULE.replace("[[rule]]", "[[system_rule]]"),
        "6: system_rule.to: is not about the firewall itself: expected from = ['localhost'] or to = ['localhost']",
    ),
    (
        RULE.replace('from = ["any"]', 'from = ["pages"]') + "[[urls]]\nname = 'pages'\nurls = ['a.de']\n",
        "5: rule.from: 'pages' is a set of URLs; a source has no name, expected a network",
    ),
    # plain HTTP
    (
        "[[urls]]\nname = 'x'\nurls = ['https://a.de']\n",
        "3: urls.urls: 'https://a.de' has the scheme 'https': only plain HTTP shows its URLs; expected URLs, "
        "such as http://www.example.org/path/* or *.example.org/page",
    ),
    (
        RULE + "content_types = ['html']\n",
        "7: rule.content_types: 'html' is no content type; expected content types, such as 'text/html' or 'image/*'",
    ),
    # addresses
    (LISTENER + SECOND, f"8: listener.bind: 127.0.0.1:80 is taken: line 4 binds 127.0.0.1:80 already; {OTHER}"),
    (
        LISTENER + SECOND.replace("127.0.0.1", "0.0.0.0"),
        f"8: listener.bind: 0.0.0.0:80 is taken: line 4 binds 127.0.0.1:80 already; {OTHER}",
    ),
    (
        LISTENER.replace("127.0.0.1", "[::1]") + SECOND.replace("127.0.0.1", "[0::1]"),
        f"8: listener.bind: [0::1]:80 is taken: line 4 binds [::1]:80 already; {OTHER}",
    ),
    (
        LISTENER + "[console]\nbind = '127.0.0.1:80'\n",
        f"6: console.bind: 127.0.0.1:80 is taken: line 4 binds 127.0.0.1:80 already; {OTHER}",
    ),
]


@pytest.mark.parametrize(("text", "expected"), [(text, expected) for text, *expected in NAMES])
def test_a_fault_of_names(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert faults(tmp_path, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        LISTENER + SECOND.replace("127.0.0.1", "127.0.0.2"),
        LISTENER.replace(":80", ":0") + SECOND.replace(":80", ":0"),
        LISTENER + SECOND.replace("127.0.0.1", "[::]"),
        PORT.replace('"p"', '"FTP"') + RULE.replace('["any"]\nfrom', '["FTP", "SMTP"]\nfrom'),
        RULE + "users = ['authenticated', 'alice']\n" + USER,
        RULE.replace('to = ["any"]', 'to = ["localhost", "external"]'),
    ],
)
def test_what_is_no_fault(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text) == []


def test_all_faults_are_reported_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = RULE.replace('to = ["any"]', 'to = ["lan"]') + LISTENER.replace(":80", ":x") + "[servce]\n" + RULE
    assert [line.split(": ")[:2] for line in faults(tmp_path, text)] == [
        ["6", "rule.to"],
        ["10", "listener.bind"],
        ["11", "servce"],
        ["13", "rule.name"],
    ]


SYNTAX = [
    (b"a = 1\nb = \n", "2: not valid TOML: Invalid value"),
    (b"a = [1,\n\n\n", "1: not valid TOML: Invalid value"),
    (b"a = 1\n[x]\n[x]\n", "3: not valid TOML: Cannot declare ('x',) twice"),
    (b'a = "\xff"\n', "1: is not UTF-8 text"),
    (b'a = 1\r\nb = "\xff"\n', "2: is not UTF-8 text"),
    (b"a = " + b"[" * 100_000, " has arrays or tables nested too deeply"),
    (b"a = 1\nb = -" + b"9" * 5_000, "2: has a number of more digits than can be read"),
]


@pytest.mark.parametrize(("content", "expected"), SYNTAX, ids=[repr(content[:12]) for content, _ in SYNTAX])
def test_a_text_that_is_no_toml(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "fwx.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert str(caught.value) == f"{file}:{expected}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "absent.toml")
    assert str(caught.value) == f"{tmp_path}/absent.toml: cannot be read: No such file or directory"


def test_a_problem_reads_as_one_line() -> None:
    assert str(Problem("f.toml", 3, "a.b", "is wrong")) == "f.toml:3: a.b: is wrong"
    assert str(Problem("f.toml", 0, "", "is wrong")) == "f.toml: is wrong"


def test_the_rule_that_is_always_last_has_the_name_that_the_policy_gives_it() -> None:
    assert DEFAULT_RULE == policy.DEFAULT_RULE
