"""An SMTP server with STARTTLS on a free port of loopback: smtp_server.py CERTIFICATE KEY.

Prints the port once it listens, and serves until it is killed.
"""

import asyncio
import ssl
import sys

from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP


async def main(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def connection():
        return SMTP(Sink(), hostname="mail.example.test", ident="ESMTP", tls_context=context, require_starttls=True)

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
