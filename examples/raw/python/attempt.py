"""One attempt in a worker's hands: from its Dispatch until the server has its result and its log."""

import asyncio
import json

from mainspring.common.v1 import failure_pb2, log_pb2, payload_pb2, policy_pb2
from mainspring.worker.v1 import stream_pb2 as pb


class Attempt:
    def __init__(self, dispatch, handler, max_output, say):
        self.ref, self.max_output, self.say = dispatch.attempt, max_output, say
        self.must_not_overlap = dispatch.lease_loss_policy == policy_pb2.LEASE_LOSS_POLICY_STOP
        self.phase, self.asked, self.result, self.acknowledged = pb.ATTEMPT_PHASE_RUNNING, False, None, False
        self.lines, self.stored, self.offered = [], 0, False
        self.code = asyncio.create_task(self.call(handler, dispatch.input.inline))
        self.reporting = asyncio.create_task(self.report())

    async def call(self, handler, payload):
        output = json.dumps(await handler(json.loads(payload or b"null"), self.log)).encode()
        if len(output) > self.max_output:  # a message too large to be read would end this stream, and the next
            raise ValueError(f"the output has {len(output)} bytes, and the server takes {self.max_output}")
        return payload_pb2.Payload(content_type="application/json", inline=output)

    async def report(self):
        result = pb.AttemptResult(attempt=self.ref)
        result.start_time.GetCurrentTime()
        try:
            result.succeeded.output.CopyFrom(await self.code)
        except asyncio.CancelledError:
            (result.cancelled if self.asked else result.interrupted).SetInParent()
        except Exception as error:
            result.failed.failure.CopyFrom(failure_pb2.Failure(message=repr(error)[:1000]))
        result.finish_time.GetCurrentTime()
        result.next_log_offset = self.next_offset()  # readers of the log wait for so many lines
        self.result, self.phase = result, pb.ATTEMPT_PHASE_RESULT_PENDING
        self.say(result=result)

    def stop(self, asked):
        """Asked by the server it is reported as cancelled, else as interrupted; a result in spite of it counts."""
        if self.phase == pb.ATTEMPT_PHASE_RUNNING:
            self.phase, self.asked = pb.ATTEMPT_PHASE_CANCELLING, asked
            self.code.cancel()

    def say_again(self):
        """A new session knows what Hello listed, and nothing of what was said to the one before."""
        if self.result and not self.acknowledged:
            self.say(result=self.result)
        self.offer_lines()

    def abandon(self):
        """It no longer counts, and its result would not."""
        self.say = lambda **_: None
        self.code.cancel()

    def log(self, text):
        line = pb.LogEntry(level=log_pb2.LOG_LEVEL_INFO, message=text[:4000])
        line.log_time.GetCurrentTime()
        self.lines.append(line)
        if not self.offered:
            self.offer_lines()

    def offer_lines(self):
        """What is not stored yet, by its offset. The server drops what it has; its LogAck asks for the rest."""
        self.offered = bool(self.lines)
        if self.lines:
            self.say(log_batch=pb.LogBatch(attempt=self.ref, first_offset=self.stored, entries=self.lines[:100]))

    def lines_stored(self, next_offset):
        del self.lines[: max(0, next_offset - self.stored)]
        self.stored = max(self.stored, next_offset)
        self.offer_lines()

    def status(self):
        return pb.AttemptStatus(attempt=self.ref, phase=self.phase, next_log_offset=self.next_offset())

    def next_offset(self):
        return self.stored + len(self.lines)
