"""A worker that greets whom it is told to, after as many seconds as it is told to."""

import asyncio

from worker import Worker


async def greet(job, log):
    """Whatever computes or blocks belongs into `asyncio.to_thread`, or no heartbeat goes out meanwhile."""
    print("greet", job["name"], flush=True)
    log(f"greeting {job['name']}")
    await asyncio.sleep(job.get("seconds", 0))
    return f"hello, {job['name']}"


asyncio.run(Worker("greet-python", {"greet": greet}, slots=4).run())
