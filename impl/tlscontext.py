"""SSLContexts with modern settings, made from PEM text in memory."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from types import MappingProxyType
from typing import Final

_VERSIONS: Final = MappingProxyType({"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3})
PROTOCOLS: Final = tuple(_VERSIONS)

# Peers cannot make us start over in the middle of a connection (RFC 7457, 2.10), and an end without close_notify is
# no end (RFC 8446, 6.1), whatever the interpreter was built to assume.
_OPTIONS_ON: Final = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
_OPTIONS_OFF: Final = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)


class TlsObject(ssl.SSLObject):
    """One TLS connection; knows the host name that its client asked for."""

    requested_name: str | None = None


def new_context(server: bool, protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Make a context that speaks *protocols* and, so far, verifies nobody.

    :raises ValueError: an unknown protocol, or none.
    """
    unknown = [each for each in protocols if each not in _VERSIONS]
    if unknown or not protocols:
        raise ValueError(f"protocols: {unknown or protocols!r}: choose from {', '.join(PROTOCOLS)}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = TlsObject
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.hostname_checks_common_name = False
    context.options |= _OPTIONS_ON
    context.options &= ~_OPTIONS_OFF
    versions = [_VERSIONS[each] for each in protocols]
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    return context


def use_ciphers(context: ssl.SSLContext, ciphers: str | None) -> None:
    """:raises ValueError: OpenSSL knows none of them."""
    if ciphers is None:
        return
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as error:
        raise ValueError(f"ciphers: {ciphers!r}: OpenSSL knows none of them") from error


def use_alpn(context: ssl.SSLContext, protocols: tuple[str, ...]) -> None:
    """:raises ValueError: a name that is empty, too long or not ASCII."""
    if not protocols:
        return
    try:
        context.set_alpn_protocols(list(protocols))
    except (ssl.SSLError, UnicodeEncodeError) as error:
        raise ValueError(f"alpn: {protocols!r}: names of 1 to 255 ASCII characters are needed") from error


def load_certificate(
    context: ssl.SSLContext, certificate: bytes, key: bytes | None, password: str | bytes | None
) -> None:
    """Have *context* show *certificate*. :raises ValueError: it is none, or the key is not its."""
    asked = False

    def ask() -> str | bytes:
        # Without this OpenSSL would ask on the terminal.
        nonlocal asked
        asked = True
        if password is None:
            raise ValueError("password: the key is encrypted")
        return password

    _require_certificate(certificate)
    whole = certificate if key is None else certificate + b"\n" + key
    # OpenSSL reads files only; this one is in memory.
    descriptor = os.memfd_create("fwx-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(whole)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=ask)
    except ssl.SSLError as error:
        raise ValueError(_problem(error, asked)) from error
    finally:
        os.close(descriptor)


def _require_certificate(certificate: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        raise ValueError("certificate: there is none that can be read") from error


def _problem(error: ssl.SSLError, asked: bool) -> str:
    """The certificate itself could be read before."""
    reason = getattr(error, "reason", None) or ""
    if reason.endswith(("TOO_SMALL", "TOO_WEAK")):
        return f"certificate: {words(error)}"
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return "key: it does not belong to the certificate"
    return "password: it does not decrypt the key" if asked else "key: there is none that can be read"


def load_authorities(context: ssl.SSLContext, authorities: bytes | Path | None) -> None:
    """Have *context* believe *authorities*: PEM text, a hashed folder, or those of the system.

    :raises ValueError: the text holds no certificate.
    """
    if authorities is None:
        purpose = ssl.Purpose.SERVER_AUTH if context.protocol == ssl.PROTOCOL_TLS_CLIENT else ssl.Purpose.CLIENT_AUTH
        context.load_default_certs(purpose)
        return
    if isinstance(authorities, Path):
        context.load_verify_locations(capath=authorities)
        return
    try:
        # What stands between the certificates may be in any language.
        context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        raise ValueError("authorities: there is no certificate in it that can be read") from error


def words(error: ssl.SSLError) -> str:
    """Return what went wrong, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the peer ended the connection without close_notify"
    reason = (getattr(error, "reason", None) or "").replace("_", " ").lower()
    for prefix in ("tlsv1 alert ", "tlsv13 alert ", "sslv3 alert "):
        if reason.startswith(prefix):
            return f"the peer's alert: {reason.removeprefix(prefix)}"
    return reason or str(error).partition(" (_ssl.c")[0].lower()
