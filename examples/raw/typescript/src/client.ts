// Submits a run, prints its log as it comes and its output in the end: `client.js TYPE [INPUT]`, the input as JSON.
//
// It may be interrupted by a server that goes away: the run is made once, by its request id, and the log goes on where it was.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { toJsonString } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { Payload } from "./gen/mainspring/common/v1/payload_pb.js";
import { RunState } from "./gen/mainspring/scheduler/v1/job_pb.js";
import { SchedulerService } from "./gen/mainspring/scheduler/v1/scheduler_service_pb.js";
import { connect } from "./server.js";

/** What a server that is away looks like: it refuses, or the connection breaks while it answers. */
const AWAY = [Code.Unavailable, Code.Canceled, Code.Aborted, Code.Internal];

/** Again and again while the server is away. */
async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const { code, message } = ConnectError.from(error);
      if (!AWAY.includes(code)) throw new Error(message);
      await sleep(500);
    }
  }
}

/** The JSON of an output, which comes in either of two shapes. */
function text(payload?: Payload) {
  if (payload?.data.case === "json") return toJsonString(ValueSchema, payload.data.value);
  return payload?.data.case === "inline" ? new TextDecoder().decode(payload.data.value) : "";
}

const { connection, transport } = connect();
const scheduler = createClient(SchedulerService, transport);
const [jobType, input = "null"] = process.argv.slice(2);

const data = { case: "inline" as const, value: new TextEncoder().encode(input) };
const submission = { jobType, payload: { contentType: "application/json", data }, requestId: randomUUID() };
const { run } = await patiently(() => scheduler.submitRun({ run: submission }));
console.log("run", run!.runId);

let after: { attempt: bigint; offset: bigint } | undefined;
const over = await patiently(async () => {
  for await (const answer of scheduler.tailLogs({ runId: run!.runId, after })) {
    for (const { attempt, offset, message } of answer.entries) {
      console.log(message);
      after = { attempt, offset };
    }
    if (answer.run) return answer.run;
  }
  throw new ConnectError("the log ended before its run", Code.Unavailable);
});
console.log(RunState[over.state], text(over.output) || over.failure?.message || over.reason);
connection.abort();
process.exitCode = over.state === RunState.SUCCEEDED ? 0 : 1;
