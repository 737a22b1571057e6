"""Where the server is and who calls: from the variables that every program of Mainspring reads."""

import os
import secrets
import time
import uuid

ADDRESS = os.environ.get("MAINSPRING_ADDRESS", "127.0.0.1:7420").removeprefix("http://")
METADATA = [("authorization", "Bearer " + os.environ["MAINSPRING_API_KEY"])]


def uuid7():
    """What a worker calls itself, once per process. By hand: the library has it from Python 3.14 on."""
    raw = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + secrets.token_bytes(10))
    raw[6], raw[8] = raw[6] & 0x0F | 0x70, raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))
