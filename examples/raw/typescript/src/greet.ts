// A worker that greets whom it is told to, after as many seconds as it is told to.

import { setTimeout as sleep } from "node:timers/promises";
import type { Handler } from "./attempt.js";
import { Worker } from "./worker.js";

/** Whatever computes for long belongs into a worker thread, or no heartbeat goes out meanwhile. */
const greet: Handler = async (job, log, stopped) => {
  if (!job?.name) throw new Error("nobody was named");
  console.log("greet", job.name);
  log(`greeting ${job.name}`);
  await sleep((job.seconds ?? 0) * 1000, undefined, { signal: stopped });
  return `hello, ${job.name}`;
};

await new Worker("greet-typescript", { greet }, 4).run();
