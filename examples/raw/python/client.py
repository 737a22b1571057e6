"""Submits a run, prints its log as it comes and its output in the end: `client.py TYPE [INPUT]`, the input as JSON.

It may be interrupted by a server that goes away: the run is made once, by its request id, and the log goes on where it was.
"""

import signal
import sys
import time
import uuid

import grpc
from google.protobuf import json_format
from mainspring.common.v1 import payload_pb2
from mainspring.scheduler.v1 import job_pb2, run_pb2, scheduler_service_pb2 as pb, scheduler_service_pb2_grpc as service

import server


def patiently(call):
    """Again and again while the server is away."""
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                sys.exit(f"{error.code().name}: {error.details()}")
            time.sleep(0.5)


def text(payload):
    """The JSON of an output, which comes in either of two shapes."""
    return json_format.MessageToJson(payload.json, ensure_ascii=False) if payload.HasField("json") else payload.inline.decode()


class Run:
    def __init__(self, scheduler, job_type, payload):
        json = payload_pb2.Payload(content_type="application/json", inline=payload.encode())
        wanted = run_pb2.RunSubmission(job_type=job_type, payload=json, request_id=str(uuid.uuid4()))
        request = pb.SubmitRunRequest(run=wanted)
        self.scheduler, self.printed = scheduler, None
        self.id = patiently(lambda: scheduler.SubmitRun(request, metadata=server.METADATA)).run.run_id

    def follow(self):
        """Prints log lines until the run is over, and returns it."""
        request = pb.TailLogsRequest(run_id=self.id, after=self.printed)
        for answer in self.scheduler.TailLogs(request, metadata=server.METADATA):
            for line in answer.entries:
                print(line.message, flush=True)
                self.printed = pb.LogPosition(attempt=line.attempt, offset=line.offset)
            if answer.HasField("run"):
                return answer.run


# There is nothing to be done before it ends; an exception in the midst of gRPC's own code could keep it from ending at all.
signal.signal(signal.SIGINT, signal.SIG_DFL)
with grpc.insecure_channel(server.ADDRESS) as channel:
    run = Run(service.SchedulerServiceStub(channel), sys.argv[1], (sys.argv[2:] or ["null"])[0])
    print("run", run.id, flush=True)
    over = patiently(run.follow)
    print(job_pb2.RunState.Name(over.state), text(over.output) or over.failure.message or over.reason)
    sys.exit(over.state != job_pb2.RUN_STATE_SUCCEEDED)
