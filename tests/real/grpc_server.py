"""A gRPC server: grpc_server.py SERVICES ADDRESS [CERTIFICATE KEY [CLIENT_CA]].

SERVICES is `health`, or `none` for a server without methods. Prints its port, which is a free one if ADDRESS
ends in `:0`, and serves until it is killed. All but the answers is gRPC's C core and Google's protobuf.
"""

import sys
import threading
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, message_factory, text_format

# health.proto of the gRPC project; the distribution packages no generated code of it.
HEALTH = """
name: "health.proto" package: "grpc.health.v1" syntax: "proto3"
message_type {
  name: "HealthCheckRequest"
  field { name: "service" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type {
  name: "HealthCheckResponse"
  field { name: "status" number: 1 type: TYPE_ENUM type_name: "ServingStatus" label: LABEL_OPTIONAL }
  enum_type {
    name: "ServingStatus"
    value { name: "UNKNOWN" number: 0 }
    value { name: "SERVING" number: 1 }
    value { name: "NOT_SERVING" number: 2 }
    value { name: "SERVICE_UNKNOWN" number: 3 }
  }
}
"""
messages = message_factory.GetMessages([text_format.Parse(HEALTH, descriptor_pb2.FileDescriptorProto())])
Request = messages["grpc.health.v1.HealthCheckRequest"]
Response = messages["grpc.health.v1.HealthCheckResponse"]


def check(request, context):
    metadata = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-")]
    status = {
        "": "SERVING",
        "up": "SERVING",
        "down": "NOT_SERVING",
        "metadata": "SERVING" if metadata == [("x-a", "1"), ("x-a", "2"), ("x-b-bin", "\0é\n".encode())] else "NOT_SERVING",
        # Only with a deadline is the time that remains below a year.
        "deadline": "SERVING" if 0 < context.time_remaining() < 20 else "NOT_SERVING",
    }.get(request.service)
    if request.service == "hang":
        over = threading.Event()
        context.add_callback(over.set)
        over.wait()
    if status is None:
        context.abort(grpc.StatusCode.NOT_FOUND, "no service ü 100%")
    return Response(status=status)


def main(services, address, certificate=None, key=None, client_ca=None):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    method = grpc.unary_unary_rpc_method_handler(check, Request.FromString, Response.SerializeToString)
    handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
    if services == "health":
        server.add_generic_rpc_handlers((handler,))
    read = lambda path: open(path, "rb").read()
    if certificate:
        pair = (read(key), read(certificate))
        authority = read(client_ca) if client_ca else None
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair], authority, client_ca is not None))
    else:
        port = server.add_insecure_port(address)
    server.start()
    print("port", port, flush=True)
    server.wait_for_termination()


main(*sys.argv[1:])
