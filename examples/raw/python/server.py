"""Where the server is and who calls: from the variables that every program of Mainspring reads."""

import os

ADDRESS = os.environ.get("MAINSPRING_ADDRESS", "127.0.0.1:7420").removeprefix("http://")
METADATA = [("authorization", "Bearer " + os.environ["MAINSPRING_API_KEY"])]
