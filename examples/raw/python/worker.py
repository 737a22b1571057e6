"""A worker on bare stubs: what it holds, what it says of it, and what it does about what it hears.

The rules it follows are told in ../README.md. The one to begin with: messages are hints, and the full state in Hello and
heartbeats is the truth. So nothing is queued while there is no session; it is said after the next Welcome.
"""

import asyncio
import random
import signal
import time

from mainspring.worker.v1 import stream_pb2 as pb

from attempt import Attempt
from server import uuid7
from stream import Stream, seconds

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE = 30  # seconds that runs have to end in once the worker leaves


class Worker:
    def __init__(self, name, handlers, slots):
        self.name, self.handlers, self.slots, self.instance = name, handlers, slots, uuid7()
        self.held = {}  # by (run id, attempt)
        self.newest, self.session = None, None  # the last stream opened, and the last that was welcomed
        self.proven_until, self.draining, self.leaving = 0.0, False, False

    async def run(self):
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.told_to_leave)
        guarding, failures, streams = asyncio.create_task(self.guard()), 0, 0
        print("id", self.instance, flush=True)
        while not self.leaving or self.held:
            streams += 1
            self.newest = stream = Stream(self, streams, self.hello(streams))
            await asyncio.wait([stream.task, stream.successor_after], return_when=asyncio.FIRST_COMPLETED)
            if not stream.task.done():
                await asyncio.wait([stream.task], timeout=stream.successor_after.result())
            elif not self.leaving or self.held:
                failures = 0 if stream.welcome else failures + 1
                await asyncio.sleep(random.random() * (min(10, 0.5 * 2**failures) if failures else 3))
        guarding.cancel()

    def told_to_leave(self):
        for number in SIGNALS:  # the next one ends it at once
            asyncio.get_running_loop().remove_signal_handler(number)
        self.leave()

    def leave(self):
        self.draining = self.leaving = True
        self.say(drain=pb.WorkerDrain(note="asked to leave"))
        asyncio.get_running_loop().call_later(PATIENCE, self.interrupt)
        self.settle()

    def interrupt(self, which=lambda attempt: True):
        for attempt in filter(which, self.held.values()):
            attempt.stop(asked=False)

    async def guard(self):
        """Stops what must not overlap as soon as the lease cannot be proven any more."""
        while True:
            await asyncio.sleep(0.1)
            if time.monotonic() >= self.proven_until:
                self.interrupt(lambda attempt: attempt.must_not_overlap)

    # What it says.

    def say(self, **message):
        if self.session:
            self.session.say(**message)

    def hello(self, number):
        return pb.Hello(
            worker_instance_id=self.instance, worker_name=self.name, connect_sequence=number,
            min_protocol_version=1, max_protocol_version=1,
            capabilities=[pb.CAPABILITY_CANCELLATION, pb.CAPABILITY_LOGS, pb.CAPABILITY_SERVER_DRAIN],
            handlers=[pb.HandlerSpec(job_type=job_type) for job_type in self.handlers],
            capacity=self.capacity(), in_flight=self.in_flight(),
        )

    def heartbeat(self, sequence):
        for attempt in self.held.values():
            attempt.offer_lines()  # a batch that was not acknowledged may have been dropped
        state = pb.WORKER_STATE_DRAINING if self.draining else pb.WORKER_STATE_ACTIVE
        return pb.Heartbeat(sequence=sequence, state=state, in_flight=self.in_flight(), capacity=self.capacity())

    def capacity(self):
        return [pb.QueueCapacity(max_in_flight=0 if self.draining else self.slots)]

    def in_flight(self):
        return [attempt.status() for attempt in self.held.values() if not attempt.acknowledged]

    # What it hears.

    def heard(self, stream, message):
        kind = message.WhichOneof("message")  # None, where the server is newer than these stubs
        body = getattr(message, kind or "notice")
        if kind == "welcome":
            self.welcomed(stream, body)
        elif kind == "heartbeat_ack":
            self.follow(body.directives)
            self.renew(stream.sent.get(body.sequence, 0.0), body.lease_ttl)
        elif kind == "dispatch" and stream is self.newest:
            self.dispatched(stream, body)
        elif kind == "cancel":
            attempt = self.cancel(body.attempt)
            stopping = attempt and attempt.phase == pb.ATTEMPT_PHASE_CANCELLING
            said = pb.CANCEL_DISPOSITION_CANCELLING if stopping else pb.CANCEL_DISPOSITION_NOT_RUNNING
            self.say(cancel_reply=pb.CancelReply(attempt=body.attempt, disposition=said))
        elif kind == "result_ack" and key(body.attempt) in self.held:
            self.held[key(body.attempt)].acknowledged = True
            self.settle()
        elif kind == "log_ack" and key(body.attempt) in self.held:
            self.held[key(body.attempt)].lines_stored(body.next_offset)
            self.settle()
        elif kind == "revoke":
            self.abandon(body.attempt)
        elif kind == "drain":
            self.asked_to_drain(stream, body)
        elif kind == "notice":
            print("notice", body.reason, body.message, flush=True)

    def welcomed(self, stream, welcome):
        print("up", welcome.session_id, flush=True)
        if self.session:
            self.session.half_close()
        self.session = stream
        self.follow(welcome.directives)  # first, so that what no longer counts is not said again
        self.renew(stream.sent[0], welcome.lease_ttl)
        for attempt in self.held.values():
            attempt.say_again()
        if self.leaving:
            self.say(drain=pb.WorkerDrain(note="asked to leave"))

    def renew(self, sent, lease_ttl):
        ttl = seconds(lease_ttl)
        self.proven_until = max(self.proven_until, sent + ttl - min(3, ttl / 10))

    def dispatched(self, stream, dispatch):
        now, basis_sent = time.monotonic(), stream.sent.get(dispatch.basis_sequence, float("-inf"))
        running = sum(attempt.result is None for attempt in self.held.values())
        if self.draining:
            return self.reject(dispatch, pb.REJECT_REASON_DRAINING)
        if dispatch.job_type not in self.handlers:
            return self.reject(dispatch, pb.REJECT_REASON_UNKNOWN_JOB_TYPE)
        if running >= self.slots:
            return self.reject(dispatch, pb.REJECT_REASON_NO_CAPACITY)
        if now >= min(basis_sent + seconds(stream.welcome.start_window), self.proven_until):
            return self.reject(dispatch, pb.REJECT_REASON_STALE)
        accepted = pb.DispatchAccepted(phase=pb.ATTEMPT_PHASE_RUNNING)
        self.say(dispatch_reply=pb.DispatchReply(attempt=dispatch.attempt, accepted=accepted))
        handler, limits = self.handlers[dispatch.job_type], stream.welcome.limits
        self.held[key(dispatch.attempt)] = Attempt(dispatch, handler, limits.max_inline_payload_bytes, self.say)

    def reject(self, dispatch, reason):
        rejected = pb.DispatchRejected(reason=reason)
        self.say(dispatch_reply=pb.DispatchReply(attempt=dispatch.attempt, rejected=rejected))

    def follow(self, directives):
        for directive in directives:
            if directive.HasField("cancel"):
                self.cancel(directive.attempt)
            elif directive.HasField("abandon"):
                self.abandon(directive.attempt)

    def cancel(self, ref):
        attempt = self.held.get(key(ref))
        if attempt:
            attempt.stop(asked=True)
        return attempt

    def abandon(self, ref):
        attempt = self.held.pop(key(ref), None)
        if attempt:
            attempt.abandon()

    def asked_to_drain(self, stream, drain):
        if drain.mode == pb.SERVER_DRAIN_MODE_RECONNECT and not stream.successor_after.done():
            stream.successor_after.set_result(seconds(drain.reconnect_delay))
        elif drain.mode == pb.SERVER_DRAIN_MODE_QUIESCE:
            self.draining = True
        elif drain.mode == pb.SERVER_DRAIN_MODE_TERMINATE:
            self.leave()

    def settle(self):
        """Forgets what is over, its log stored and its result acknowledged; leaves where that was the last."""
        self.held = {name: held for name, held in self.held.items() if held.lines or not held.acknowledged}
        if self.leaving and not self.held and self.session:
            self.session.half_close()


def key(ref):
    return ref.run_id, ref.attempt
