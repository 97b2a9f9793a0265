"""Run one fuzz target with atheris: ``fuzz/run.py NAME [libFuzzer's options]``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = (
    "socks4",
    "socks5",
    "http_connect",
    "http_request",
    "http_response",
    "proxy_header",
    "socks5_answer",
    "http_connect_answer",
    "socks5_datagram",
    "client_hello",
    "smtp_dialogue",
    "ftp_dialogue",
    "dns_message",
    "radius_answer",
)


def main(arguments: list[str]) -> None:
    """Fuzz the target that the first argument names until it fails, or as long as the others say."""
    if not arguments or arguments[0] not in TARGETS:
        sys.exit(f"usage: fuzz/run.py {'|'.join(TARGETS)} [libFuzzer's options]")
    import atheris

    name, *options = arguments
    with atheris.instrument_imports(include=["fwx.proxy", "fwx.impl.clienthello", "fwx.filters", "h11"]):
        target = import_module(name)
    # libFuzzer puts what it finds into the first folder; the one in the repository is only read.
    found = Path(sys.prefix) / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    folders = [str(found), str(HERE / "corpus" / name)]
    atheris.Setup([sys.argv[0], f"-artifact_prefix={HERE}/", *options, *folders], target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
