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

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Attempt:
    """What the worker holds from the Dispatch to the ResultAck. Its slot is free as soon as there is a result."""

    def __init__(self, dispatch, work):
        self.dispatch, self.phase, self.asked, self.result = dispatch, pb.ATTEMPT_PHASE_RUNNING, False, None
        self.code = asyncio.create_task(work(self))

    def stop(self):
        if self.phase == pb.ATTEMPT_PHASE_RUNNING:
            self.phase = pb.ATTEMPT_PHASE_CANCELLING
            self.code.cancel()


class FirstWorker:
    def __init__(self, job_type, handler):
        self.job_type, self.handler, self.id, self.streams = job_type, handler, server.uuid7(), 0
        self.held = {}  # attempts by run and number
        self.up = self.draining = self.leaving = False
        self.proven_until = 0.0

    async def run(self):
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.told_to_leave)
        print("id", self.id, flush=True)
        while not self.leaving or self.held:
            self.pause = random.uniform(0, 3)
            try:
                await self.stream()
            except (grpc.aio.AioRpcError, asyncio.TimeoutError) as end:
                print("down:", getattr(end, "details", lambda: "silence")(), flush=True)
            self.up = False
            if self.held or not self.leaving:
                await asyncio.sleep(self.pause)

    async def stream(self):
        self.streams, self.outgoing, patience, beating = self.streams + 1, asyncio.Queue(), 10, None
        # Its own connection: otherwise the library shares one, and the pauses after its failure, with the streams before.
        async with grpc.aio.insecure_channel(server.ADDRESS, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = service.WorkerServiceStub(channel).WorkerStream(self.requests(), metadata=server.METADATA)
            try:
                while (message := await asyncio.wait_for(call.read(), patience)) is not grpc.aio.EOF:
                    if message.HasField("welcome"):
                        self.welcome, patience = message.welcome, seconds(message.welcome.silence_timeout)
                        beating = asyncio.create_task(self.beat())
                    self.heard(message)
            finally:
                self.half_close()  # or what speaks would wait for ever
                if beating:
                    beating.cancel()

    # What it says.

    async def requests(self):
        handler, can = pb.HandlerSpec(job_type=self.job_type), [pb.CAPABILITY_CANCELLATION, pb.CAPABILITY_SERVER_DRAIN]
        outgoing = self.outgoing  # not that of the stream after it
        self.sent = [time.monotonic()]  # when Hello, which counts as 0, and each heartbeat went out
        yield pb.WorkerStreamRequest(hello=pb.Hello(
            worker_instance_id=self.id, worker_name="first-python", connect_sequence=self.streams, min_protocol_version=1,
            max_protocol_version=1, capabilities=can, handlers=[handler], **self.state()))
        while (message := await outgoing.get()) is not None:
            yield message

    def state(self):
        """All it holds and takes: this is the truth, everything else is a hint."""
        held = [pb.AttemptStatus(attempt=each.dispatch.attempt, phase=each.phase) for each in self.held.values()]
        return {"in_flight": held, "capacity": [pb.QueueCapacity(max_in_flight=0 if self.draining else 1)]}

    async def beat(self):
        while True:
            await asyncio.sleep(seconds(self.welcome.heartbeat_interval) * random.uniform(0.9, 1.1))
            self.sent.append(time.monotonic())
            state = pb.WORKER_STATE_DRAINING if self.draining else pb.WORKER_STATE_ACTIVE
            self.say(heartbeat=pb.Heartbeat(sequence=len(self.sent) - 1, state=state, **self.state()))

    def say(self, **message):
        if self.up:  # nothing is kept for a later stream: what counts is said after its Welcome
            self.outgoing.put_nowait(pb.WorkerStreamRequest(**message))

    def half_close(self):
        self.up = False
        self.outgoing.put_nowait(None)

    # What it hears: a method for each message, named after it.

    def heard(self, message):
        kind = message.WhichOneof("message")
        if act := getattr(self, f"on_{kind}", None):  # what is not here is about something that it does without
            act(getattr(message, kind))

    def on_welcome(self, welcome):
        print("up", welcome.session_id, flush=True)
        self.renewed(0, welcome)  # first, so that what no longer counts is not said again
        self.up = True
        for attempt in self.held.values():
            if attempt.result:
                self.say(result=attempt.result)
        if self.leaving:
            self.leave()

    def on_heartbeat_ack(self, ack):
        self.renewed(ack.sequence, ack)

    def renewed(self, sequence, answer):
        for directive in answer.directives:
            self.on_cancel(directive) if directive.HasField("cancel") else self.on_revoke(directive)
        ttl = seconds(answer.lease_ttl)
        self.proven_until = self.sent[sequence] + ttl - min(3, ttl / 10)
        asyncio.get_running_loop().call_later(self.proven_until - time.monotonic(), self.at_fence)

    def at_fence(self):
        """The lease cannot be proven any more: what must not run twice at a time ends. The rest goes on."""
        for attempt in self.held.values():
            must_not_overlap = attempt.dispatch.lease_loss_policy == policy_pb2.LEASE_LOSS_POLICY_STOP
            if must_not_overlap and time.monotonic() >= self.proven_until:
                attempt.stop()

    def on_dispatch(self, dispatch):
        is_full = self.draining or any(not attempt.result for attempt in self.held.values())
        start_by = min(self.sent[dispatch.basis_sequence] + seconds(self.welcome.start_window), self.proven_until)
        if is_full or time.monotonic() >= start_by:
            reason = pb.REJECT_REASON_NO_CAPACITY if is_full else pb.REJECT_REASON_STALE
            reply = {"rejected": pb.DispatchRejected(reason=reason)}
        else:
            reply = {"accepted": pb.DispatchAccepted(phase=pb.ATTEMPT_PHASE_RUNNING)}
            self.held[key(dispatch)] = Attempt(dispatch, self.work)
        self.say(dispatch_reply=pb.DispatchReply(attempt=dispatch.attempt, **reply))

    async def work(self, attempt):
        result = pb.AttemptResult(attempt=attempt.dispatch.attempt)
        try:
            output = json.dumps(await self.handler(json.loads(attempt.dispatch.input.inline or b"null"))).encode()
            if len(output) > self.welcome.limits.max_inline_payload_bytes:
                raise ValueError(f"the output has {len(output)} bytes, which is too much")
            result.succeeded.output.CopyFrom(payload_pb2.Payload(content_type="application/json", inline=output))
        except asyncio.CancelledError:
            (result.cancelled if attempt.asked else result.interrupted).SetInParent()
        except Exception as error:
            result.failed.failure.CopyFrom(failure_pb2.Failure(message=repr(error)[:1000]))
        attempt.phase, attempt.result = pb.ATTEMPT_PHASE_RESULT_PENDING, result
        if key(result) in self.held:  # else it was revoked, and nobody wants to know
            self.say(result=result)

    def on_cancel(self, cancel):
        """To be stopped, and to report what really happened. That it was told to is seen in the next heartbeat."""
        if attempt := self.held.get(key(cancel)):
            attempt.asked = True
            attempt.stop()

    def on_revoke(self, revoke):
        """It no longer counts: to be stopped and forgotten, and nothing said of it."""
        self.on_cancel(revoke)
        self.on_result_ack(revoke)

    def on_result_ack(self, ack):
        self.held.pop(key(ack), None)
        self.leave_if_done()

    def on_drain(self, drain):
        if drain.mode == pb.SERVER_DRAIN_MODE_RECONNECT:
            self.pause = seconds(drain.reconnect_delay)
            self.half_close()
        elif drain.mode == pb.SERVER_DRAIN_MODE_TERMINATE:
            self.leave()
        else:
            self.draining = True

    def told_to_leave(self):
        for number in SIGNALS:  # the next one ends it at once
            asyncio.get_running_loop().remove_signal_handler(number)
        self.leave()

    def leave(self):
        """No more work; what it has may end within 30 s, then it is interrupted; out once nothing is held."""
        self.draining = self.leaving = True
        self.say(drain=pb.WorkerDrain(note="asked to leave"))
        asyncio.get_running_loop().call_later(30, lambda: [attempt.stop() for attempt in self.held.values()])
        self.leave_if_done()

    def leave_if_done(self):
        if self.up and self.leaving and not self.held:
            self.half_close()


def key(message):
    return message.attempt.run_id, message.attempt.attempt


def seconds(duration):
    return duration.ToNanoseconds() / 1e9


async def greet(job):
    """Your code. Whatever computes or blocks belongs into `asyncio.to_thread`, or no heartbeat goes out meanwhile."""
    print("greet", job["name"], flush=True)
    await asyncio.sleep(job.get("seconds", 0))
    return f"hello, {job['name']}"


asyncio.run(FirstWorker("greet", greet).run())
