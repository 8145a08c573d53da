"""An SMTP server without TLS on a free port of loopback that prints the subject of each message.

Prints `port` and the port once it listens, and serves until it is killed.
"""

import asyncio
import email
from email import policy

from aiosmtpd.smtp import SMTP


class Printer:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=policy.default)
        print("mail to", ",".join(envelope.rcpt_tos), "subject", message["Subject"], flush=True)
        return "250 OK"


async def main():
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Printer()), "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
