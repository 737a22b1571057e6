"""One stream of a worker, from its Hello to its end."""

import asyncio
import contextlib
import random
import time

import grpc
from mainspring.worker.v1 import stream_pb2 as pb, worker_service_pb2_grpc as service

import server

# A stream has a connection of its own: a new one may lead to another server. Without the option, channels to one address
# share a connection, and the pause after its failure.
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


class Stream:
    def __init__(self, worker, number, hello):
        self.worker, self.number, self.welcome = worker, number, None
        self.sent = {0: time.monotonic()}  # when Hello, which counts as 0, and each heartbeat went out
        self.successor_after = asyncio.get_running_loop().create_future()  # so many seconds, once the server asks
        self.outgoing = asyncio.Queue()
        self.say(hello=hello)
        self.task = asyncio.create_task(self.live())

    def say(self, **message):
        self.outgoing.put_nowait(pb.WorkerStreamRequest(**message))

    def half_close(self):
        self.outgoing.put_nowait(None)

    async def speak(self, call):
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # whoever reads is told why
            while (message := await self.outgoing.get()) is not None:
                await call.write(message)
            await call.done_writing()

    async def live(self):
        patience = 10  # seconds, until the server has said its own
        async with grpc.aio.insecure_channel(server.ADDRESS, OPTIONS) as channel:
            call = service.WorkerServiceStub(channel).WorkerStream(metadata=server.METADATA)
            helpers = [asyncio.create_task(self.speak(call))]
            try:
                while (message := await asyncio.wait_for(call.read(), patience)) is not grpc.aio.EOF:
                    if message.HasField("welcome"):
                        self.welcome, patience = message.welcome, seconds(message.welcome.silence_timeout)
                        helpers.append(asyncio.create_task(self.beat()))
                    self.worker.heard(self, message)
                print("down, in order", flush=True)
            except (grpc.aio.AioRpcError, asyncio.TimeoutError) as end:
                print("down", end.details() if isinstance(end, grpc.aio.AioRpcError) else "silent", flush=True)
            finally:
                for helper in helpers:
                    helper.cancel()
                if self.worker.session is self:
                    self.worker.session = None

    async def beat(self):
        for sequence in range(1, 1 << 62):
            await asyncio.sleep(seconds(self.welcome.heartbeat_interval) * random.uniform(0.9, 1.1))
            self.sent[sequence] = time.monotonic()
            self.sent.pop(sequence - 100, None)
            self.say(heartbeat=self.worker.heartbeat(sequence))


def seconds(duration):
    return duration.ToNanoseconds() / 1e9
