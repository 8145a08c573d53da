"""A client of heartbeats and health checks: grpc_client.py ADDRESS PROTO_DIR [CA].

Generates its code from heartbeat.proto with Google's compiler, calls, and prints what it hears, a line each.
"""

import shutil
import subprocess
import sys
import tempfile
import time

import grpc
from google.protobuf import descriptor_pb2, message_factory, text_format

address, proto_dir, *ca = sys.argv[1:]
out = tempfile.TemporaryDirectory()
plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_python_plugin')}"
outputs = [f"--python_out={out.name}", f"--grpc_out={out.name}"]
subprocess.run(["protoc", f"-I{proto_dir}", *outputs, plugin, "heartbeat.proto"], check=True)
sys.path.insert(0, out.name)
import heartbeat_pb2 as pb  # noqa: E402
import heartbeat_pb2_grpc as pb_grpc  # noqa: E402

HEALTH = """
name: "health.proto" package: "grpc.health.v1" syntax: "proto3"
message_type {
  name: "HealthCheckRequest"
  field { name: "service" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type {
  name: "HealthCheckResponse"
  field { name: "status" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
}
"""
messages = message_factory.GetMessages([text_format.Parse(HEALTH, descriptor_pb2.FileDescriptorProto())])
HealthRequest = messages["grpc.health.v1.HealthCheckRequest"]
HealthResponse = messages["grpc.health.v1.HealthCheckResponse"]

if ca:
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(open(ca[0], "rb").read()))
else:
    channel = grpc.insecure_channel(address)
stub = pb_grpc.HeartbeatServiceStub(channel)
check = channel.unary_unary("/grpc.health.v1.Health/Check", HealthRequest.SerializeToString, HealthResponse.FromString)
watch = channel.unary_stream("/grpc.health.v1.Health/Watch", HealthRequest.SerializeToString, HealthResponse.FromString)


def show(name, answer):
    state = pb.HeartbeatResponse.State.Name(answer.state)
    print(name, answer.alive, state, answer.reason, answer.repeated, answer.HasField("deadline_timestamp_seconds"))


def refused(name, call):
    try:
        print(name, call())
    except grpc.RpcError as error:
        print(name, error.code().name, error.details())


Request = pb.HeartbeatRequest
show("bare", stub.SendHeartbeat(Request(service_name="job"), timeout=10))
show("unknown", stub.SendHeartbeat(Request(service_name="nobody"), timeout=10))
refused("strict", lambda: stub.SendHeartbeat(Request(service_name="nobody", strict=True), timeout=10))
refused("locked", lambda: stub.SendHeartbeat(Request(service_name="locked"), timeout=10))
token = [("authorization", "Bearer s3cret")]
show("token", stub.SendHeartbeat(Request(service_name="locked"), timeout=10, metadata=token))
everything = Request(
    service_name="batch/other",
    signal=Request.DATA,
    sequence=1,
    incarnation="boot-1",
    run_id="run-1",
    exit_code=0,
    duration_seconds=1.5,
    sent_timestamp_seconds=1795248000,
    progress="1",
    values={"rows": 42, "unknown": 1},
    text="größer",
)
show("everything", stub.SendHeartbeat(everything, timeout=10))
show("again", stub.SendHeartbeat(everything, timeout=10))
large = Request(service_name="job", text="x" * 70_000)
refused("large", lambda: stub.SendHeartbeat(large, timeout=10))
gzip = grpc.Compression.Gzip
refused("compressed", lambda: stub.SendHeartbeat(Request(service_name="job"), timeout=10, compression=gzip))
names = ["job", "nobody", "job"]
for name, answer in zip(names, stub.KeepAlive((Request(service_name=name) for name in names), timeout=10)):
    show(f"stream {name}", answer)


def silence():
    time.sleep(1)
    yield from ()


refused("silent stream", lambda: list(stub.KeepAlive(silence(), timeout=0.3)))
watched = watch(HealthRequest(service="job"), timeout=20)
print("watch", next(watched).status)
show("fail", stub.SendHeartbeat(Request(service_name="job", exit_code=2), timeout=10))
print("watch", next(watched).status)
watched.cancel()
print("check", [check(HealthRequest(service=name), timeout=10).status for name in ["", "job", "batch/other", "never"]])
refused("check nobody", lambda: check(HealthRequest(service="nobody"), timeout=10))
