"""A first worker, to be read from top to bottom: it greets, one run at a time. JSON in, JSON out.

It keeps the rules of ../README.md, and so outlives a server that dies, goes or asks it to go, and loses or repeats nothing by
that. It does without log lines, progress, a second slot, and a new stream before the old one ends: greet.py has all that.
"""

import asyncio
import json
import random
import signal
import time

import grpc
from mainspring.common.v1 import failure_pb2, payload_pb2, policy_pb2
from mainspring.worker.v1 import stream_pb2 as pb, worker_service_pb2_grpc as service

import server


class FirstWorker:
    def __init__(self, job_type, handler):
        self.job_type, self.handler, self.id, self.streams = job_type, handler, server.uuid7(), 0
        self.held = self.code = None  # a Dispatch, and the task that does it
        self.results = {}  # what is kept until its ResultAck; the slot is free before
        self.up = self.draining = self.leaving = self.asked = False
        self.proven_until = 0.0

    async def run(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.leave)
        print("id", self.id, flush=True)
        while not self.leaving or self.held or self.results:
            self.streams, self.outgoing, self.sent = self.streams + 1, asyncio.Queue(), {0: time.monotonic()}
            self.pause = random.uniform(0, 3)
            try:
                await self.stream()
            except (grpc.aio.AioRpcError, asyncio.TimeoutError) as end:
                print("down:", getattr(end, "details", lambda: "silence")(), flush=True)
            self.up = False
            await asyncio.sleep(self.pause if self.held or self.results or not self.leaving else 0)

    async def stream(self):
        patience, beating = 10, None
        # Its own connection: otherwise the library shares one, and the pauses after its failure, with the streams before.
        async with grpc.aio.insecure_channel(server.ADDRESS, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = service.WorkerServiceStub(channel).WorkerStream(self.requests(), metadata=server.METADATA)
            try:
                while (message := await asyncio.wait_for(call.read(), patience)) is not grpc.aio.EOF:
                    if message.HasField("welcome"):
                        self.welcome, patience = message.welcome, seconds(message.welcome.silence_timeout)
                        beating = asyncio.create_task(self.beat())
                    self.heard(message.WhichOneof("message"), getattr(message, message.WhichOneof("message") or "notice"))
            finally:
                self.outgoing.put_nowait(None)  # or what speaks would wait for ever
                if beating:
                    beating.cancel()

    async def requests(self):
        handler, can = pb.HandlerSpec(job_type=self.job_type), [pb.CAPABILITY_CANCELLATION, pb.CAPABILITY_SERVER_DRAIN]
        yield pb.WorkerStreamRequest(hello=pb.Hello(
            worker_instance_id=self.id, worker_name="first-python", connect_sequence=self.streams, min_protocol_version=1,
            max_protocol_version=1, capabilities=can, handlers=[handler], **self.state()))
        while (message := await self.outgoing.get()) is not None:
            yield message

    def state(self):
        """All it holds and takes: this is the truth, everything else is a hint."""
        phase = pb.ATTEMPT_PHASE_CANCELLING if self.asked else pb.ATTEMPT_PHASE_RUNNING
        held = [pb.AttemptStatus(attempt=self.held.attempt, phase=phase)] if self.held else []
        pending = pb.ATTEMPT_PHASE_RESULT_PENDING
        held += [pb.AttemptStatus(attempt=result.attempt, phase=pending) for result in self.results.values()]
        return {"in_flight": held, "capacity": [pb.QueueCapacity(max_in_flight=0 if self.draining else 1)]}

    async def beat(self):
        for sequence in range(1, 1 << 62):
            await asyncio.sleep(seconds(self.welcome.heartbeat_interval) * random.uniform(0.9, 1.1))
            self.sent[sequence] = time.monotonic()
            state = pb.WORKER_STATE_DRAINING if self.draining else pb.WORKER_STATE_ACTIVE
            self.say(heartbeat=pb.Heartbeat(sequence=sequence, state=state, **self.state()))

    def say(self, **message):
        if self.up:  # nothing is kept for a later stream: what counts is said after its Welcome
            self.outgoing.put_nowait(pb.WorkerStreamRequest(**message))

    def heard(self, kind, body):
        if kind in ("welcome", "heartbeat_ack"):
            for directive in body.directives:
                self.stop(directive.attempt, directive.WhichOneof("directive"))
            ttl = seconds(body.lease_ttl)
            sent = self.sent[body.sequence if kind == "heartbeat_ack" else 0]
            self.proven_until = max(self.proven_until, sent + ttl - min(3, ttl / 10))
            asyncio.get_running_loop().call_later(self.proven_until - time.monotonic(), self.at_fence)
        if kind == "welcome":
            self.up = True
            print("up", body.session_id, flush=True)
            for result in self.results.values():
                self.say(result=result)
            if self.leaving:
                self.leave()
        elif kind == "dispatch":
            self.dispatched(body)
        elif kind in ("cancel", "revoke"):
            self.stop(body.attempt, kind)
        elif kind == "result_ack":
            self.results.pop(key(body.attempt), None)
            self.done()
        elif kind == "drain" and body.mode == pb.SERVER_DRAIN_MODE_RECONNECT:
            self.pause = seconds(body.reconnect_delay)
            self.outgoing.put_nowait(None)
        elif kind == "drain":
            self.draining = True
            if body.mode == pb.SERVER_DRAIN_MODE_TERMINATE:
                self.leave()

    def dispatched(self, dispatch):
        start_by = self.sent[dispatch.basis_sequence] + seconds(self.welcome.start_window)
        reason = (
            pb.REJECT_REASON_DRAINING if self.draining
            else pb.REJECT_REASON_NO_CAPACITY if self.held
            else pb.REJECT_REASON_STALE if time.monotonic() >= min(start_by, self.proven_until) else None
        )
        if reason:
            rejected = pb.DispatchRejected(reason=reason)
            return self.say(dispatch_reply=pb.DispatchReply(attempt=dispatch.attempt, rejected=rejected))
        accepted = pb.DispatchAccepted(phase=pb.ATTEMPT_PHASE_RUNNING)
        self.say(dispatch_reply=pb.DispatchReply(attempt=dispatch.attempt, accepted=accepted))
        self.held, self.asked = dispatch, False
        self.code = asyncio.create_task(self.handler(json.loads(dispatch.input.inline or b"null")))
        self.reporting = asyncio.create_task(self.report(dispatch, self.code))

    async def report(self, dispatch, code):
        result = pb.AttemptResult(attempt=dispatch.attempt)
        try:
            output = json.dumps(await code).encode()
            if len(output) > self.welcome.limits.max_inline_payload_bytes:
                raise ValueError(f"the output has {len(output)} bytes, which is too much")
            result.succeeded.output.CopyFrom(payload_pb2.Payload(content_type="application/json", inline=output))
        except asyncio.CancelledError:
            (result.cancelled if self.asked else result.interrupted).SetInParent()
        except Exception as error:
            result.failed.failure.CopyFrom(failure_pb2.Failure(message=repr(error)[:1000]))
        if self.held is dispatch:  # else it was abandoned: nobody wants to know
            self.held, self.results[key(dispatch.attempt)] = None, result
            self.say(result=result)

    def stop(self, attempt, how):
        """`cancel`: stop it and report what really happened. `abandon`, `revoke`: it no longer counts, say nothing."""
        holds = self.held is not None and attempt == self.held.attempt
        if how == "cancel":
            known = holds or key(attempt) in self.results
            stopping = pb.CANCEL_DISPOSITION_CANCELLING if known else pb.CANCEL_DISPOSITION_NOT_RUNNING
            self.say(cancel_reply=pb.CancelReply(attempt=attempt, disposition=stopping))
        if holds:
            self.asked = how == "cancel"
            self.code.cancel()
        if how != "cancel":
            self.held = None if holds else self.held
            self.results.pop(key(attempt), None)
            self.done()

    def at_fence(self):
        """The lease cannot be proven any more: what must not run twice at a time ends. The rest goes on."""
        must_not_overlap = self.held and self.held.lease_loss_policy == policy_pb2.LEASE_LOSS_POLICY_STOP
        if must_not_overlap and time.monotonic() >= self.proven_until:
            self.code.cancel()

    def done(self):
        if self.leaving and not self.held and not self.results:
            self.outgoing.put_nowait(None)

    def leave(self):
        """No more work; what it has may end within 30 s, then it is interrupted; out once nothing is held."""
        self.draining = self.leaving = True
        self.say(drain=pb.WorkerDrain(note="asked to leave"))
        asyncio.get_running_loop().call_later(30, lambda: self.code and self.code.cancel())
        self.done()


def key(attempt):
    return attempt.run_id, attempt.attempt


def seconds(duration):
    return duration.ToNanoseconds() / 1e9


async def greet(job):
    """Your code. Whatever computes or blocks belongs into `asyncio.to_thread`, or no heartbeat goes out meanwhile."""
    print("greet", job["name"], flush=True)
    await asyncio.sleep(job.get("seconds", 0))
    return f"hello, {job['name']}"


asyncio.run(FirstWorker("greet", greet).run())
