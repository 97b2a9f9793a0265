"""A filter that lets nothing but TLS through: a rule for port 443 is no way out for SSH and tunnels any more."""

from __future__ import annotations

import asyncio
import re

from fwx import sdk

CLIENT_HELLO = re.compile(rb"\x16\x03[\x00-\x04]..\x01", re.DOTALL)


class OnlyTlsConnection(sdk.AsyncDataFilter):
    async def run(
        self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: sdk.IFWXConnection, context: object
    ) -> None:
        said = b""
        try:
            async with asyncio.timeout(10):
                while len(said) < 6 and (more := bytes((await internal.receive()).GetBufferAndSize())):
                    said += more
        except TimeoutError:
            pass
        if not CLIENT_HELLO.match(said):
            sdk.IRecorded(connection).remark("the client does not speak TLS")
            internal.close(True)
            external.close(True)
            return
        await external.send(said)
        await sdk.together(sdk.pump(internal, external), sdk.pump(external, internal))


class OnlyTls(sdk.ConnectionFilter):
    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter | None:
        return OnlyTlsConnection()
