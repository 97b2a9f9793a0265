"""Real directory servers on loopback: OpenLDAP and FreeRADIUS, each with a folder and a free port of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

BASE = "dc=example,dc=org"
ACCOUNT = f"cn=fwx,{BASE}"
ACCOUNT_PASSWORD = "the account's"
RADIUS_SECRET = "testing 123"

_SLAPD = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
{tls}
database mdb
maxsize 10485760
suffix "{base}"
rootdn "cn=root,{base}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{account}" read by * none
"""
# Bob is in the group staff; Dora in no group; "x)(uid=*" would find everybody where a filter is not escaped.
_ENTRIES = """
dn: {base}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {account}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: fwx
userPassword: {account_password}

dn: uid=bob,{base}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
userPassword: bob's own

dn: uid=dora,{base}
objectClass: inetOrgPerson
uid: dora
cn: Dora
sn: D
mail: dora@example.org
userPassword:: ZG9yYcOkIQ==

dn: cn=Doe\\2C Jane (guest),{base}
objectClass: inetOrgPerson
uid: ja*ne(1)
cn: Doe, Jane (guest)
sn: Doe
userPassword: jane's own

dn: cn=staff,{base}
objectClass: groupOfNames
cn: staff
member: uid=bob,{base}

dn: cn=guests,{base}
objectClass: groupOfNames
cn: guests
member: cn=Doe\\2C Jane (guest),{base}
"""
_RADIUSD = """
prefix = /usr
name = fwx
logdir = {folder}
run_dir = {folder}
libdir = /usr/lib/freeradius
pidfile = {folder}/radiusd.pid
max_request_time = 5
cleanup_delay = 2
max_requests = 1024
hostname_lookups = no
log {{
  destination = stdout
}}
security {{
  max_attributes = 200
  reject_delay = 0
  status_server = no
}}
thread pool {{
  start_servers = 1
  max_servers = 4
  min_spare_servers = 1
  max_spare_servers = 2
  max_requests_per_server = 0
}}
modules {{
  pap {{
  }}
  chap {{
  }}
  files {{
    filename = {folder}/users
  }}
}}
client localhost {{
  ipaddr = 127.0.0.1
  secret = "{secret}"
  require_message_authenticator = yes
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  authorize {{
    chap
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
    Auth-Type CHAP {{
      chap
    }}
  }}
  post-auth {{
    {sign}
    Post-Auth-Type REJECT {{
      {sign}
    }}
  }}
}}
"""
_SIGN = """update reply {
      Message-Authenticator := 0x00
    }"""
_RADIUS_USERS = """
carol\tCleartext-Password := "carol's own"
\tFilter-Id = "staff",
\tFilter-Id += "night"

erik\tCleartext-Password := "erik's own"
\tClass = "staff;",
\tUser-Name = "erik"
"""


class _Server:
    """A program that is started, and ended with its folder left."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End it; the port is then free, and what was connected is not any more. Twice does nothing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Slapd(_Server):
    """OpenLDAP with a few people, groups, and an account that may search; the others may bind alone."""

    def __init__(self, program: str, folder: Path, tls: tuple[Path, Path, Path] | None = None) -> None:
        """*tls*: certificate, key, and the authority."""
        super().__init__()
        self._program, self.folder = program, folder
        self.port = free_port(socket.SOCK_STREAM)
        self.url = f"ldap://127.0.0.1:{self.port}"
        self._urls = f"{self.url}/"
        lines = ""
        if tls is not None:
            certificate, key, authority = tls
            lines = f"TLSCertificateFile {certificate}\nTLSCertificateKeyFile {key}\nTLSCACertificateFile {authority}"
            self.tls_port = free_port(socket.SOCK_STREAM)
            self._urls += f" ldaps://127.0.0.1:{self.tls_port}/"
        (folder / "data").mkdir()
        names = {"folder": folder, "base": BASE, "account": ACCOUNT, "account_password": ACCOUNT_PASSWORD}
        self._file = folder / "slapd.conf"
        self._file.write_text(_SLAPD.format(tls=lines, **names))
        entries = folder / "entries.ldif"
        entries.write_text(_ENTRIES.format(**names).lstrip())
        subprocess.run(
            [program, "-T", "add", "-f", str(self._file), "-l", str(entries)], check=True, capture_output=True
        )
        self.start()

    def start(self) -> None:
        """Run it, and wait until it listens."""
        with (self.folder / "slapd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._program, "-h", self._urls, "-f", str(self._file), "-d", "256"], stdout=log, stderr=log
            )
        until(lambda: _listens(self.port), self.process, self.folder / "slapd.log")


class FreeRadius(_Server):
    """FreeRADIUS with two people. *signs*: whether its answers have a Message-Authenticator."""

    def __init__(self, program: str, folder: Path, *, signs: bool = True) -> None:
        super().__init__()
        self._program, self.folder = program, folder
        self.port = free_port(socket.SOCK_DGRAM)
        self.address = f"127.0.0.1:{self.port}"
        sign = _SIGN if signs else ""
        text = _RADIUSD.format(folder=folder, secret=RADIUS_SECRET, port=self.port, sign=sign)
        (folder / "radiusd.conf").write_text(text)
        (folder / "users").write_text(_RADIUS_USERS)
        (folder / "dictionary").write_text("")
        self.start()

    def start(self) -> None:
        """Run it, and wait until it listens."""
        log = self.folder / "radiusd.log"
        with log.open("wb") as opened:
            self.process = subprocess.Popen(
                [self._program, "-f", "-l", "stdout", "-d", str(self.folder), "-n", "radiusd"],
                stdout=opened,
                stderr=opened,
            )
        until(lambda: b"Ready to process requests" in log.read_bytes(), self.process, log)


def free_port(kind: int) -> int:
    """Return a port of 127.0.0.1 that nobody has; neither program can be told to choose."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until *condition* holds while *process* runs."""
    deadline = time.monotonic() + 20
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"it does not start:\n{log.read_text()}")
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
