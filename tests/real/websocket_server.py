"""A WebSocket server on two free ports of loopback: websocket_server.py CERTIFICATE KEY.

Prints the ports, without and with TLS, once it listens, then how each connection ends; serves until it is killed.
"""

import asyncio
import http
import ssl
import sys

import websockets


async def handler(connection, path):
    if path == "/greet":
        await connection.send("welcome, version 7")
        async for message in connection:
            await connection.send("you said " + message)
    elif path == "/pieces":
        waiter = await connection.ping("are you there")
        await connection.send(["x" * 50_000, "", "y" * 50_000, "end"])
        await waiter
        print("pong came", flush=True)
    elif path == "/close":
        await connection.close(1001, "going away")
    await connection.wait_closed()
    print(path, "ended with", connection.close_code, flush=True)


async def process_request(path, headers):
    if path == "/private" and headers.get("Authorization") != "Bearer token":
        return http.HTTPStatus.UNAUTHORIZED, [], b"who are you?\n"
    return None


async def main(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    ports = []
    for tls in (None, context):
        server = await websockets.serve(
            handler, "127.0.0.1", 0, ssl=tls, process_request=process_request, subprotocols=["chat"]
        )
        ports.append(server.sockets[0].getsockname()[1])
    print("ports", *ports, flush=True)
    await asyncio.Future()


asyncio.run(main(*sys.argv[1:]))
