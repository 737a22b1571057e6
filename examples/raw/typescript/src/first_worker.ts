// A first worker, to be read from top to bottom: it greets, one run at a time. JSON in, JSON out.
//
// It keeps the rules of ../../README.md, and so outlives a server that dies, goes or asks it to go, and loses or repeats
// nothing by that. It does without log lines, progress, a second slot, and a new stream before the old one ends: greet.ts has
// all that.

import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationMs, type Duration } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { LeaseLossPolicy } from "./gen/mainspring/common/v1/policy_pb.js";
import {
  AttemptPhase, Capability, RejectReason, ServerDrainMode, WorkerState, type AttemptDirective, type AttemptRef,
  type AttemptResultSchema, type Dispatch, type ServerDrain, type Welcome, type WorkerStreamRequestSchema,
  type WorkerStreamResponse,
} from "./gen/mainspring/worker/v1/stream_pb.js";
import { WorkerService } from "./gen/mainspring/worker/v1/worker_service_pb.js";
import { connect, uuid7 } from "./server.js";

type Message = NonNullable<MessageInitShape<typeof WorkerStreamRequestSchema>["message"]>;
type Result = MessageInitShape<typeof AttemptResultSchema>;
type Handler = (job: unknown, stopped: AbortSignal) => Promise<unknown>;

/** What the worker holds from the Dispatch to the ResultAck. Its slot is free as soon as there is a result. */
class Attempt {
  phase = AttemptPhase.RUNNING;
  asked = false;
  result?: Result;
  private readonly stopping = new AbortController();
  readonly stopped = this.stopping.signal;

  constructor(readonly dispatch: Dispatch) {}

  stop() {
    if (this.phase === AttemptPhase.RUNNING) this.phase = AttemptPhase.CANCELLING;
    this.stopping.abort();
  }
}

class FirstWorker {
  private readonly id = uuid7();
  private readonly held = new Map<string, Attempt>();
  private streams = 0n;
  private outgoing = new PassThrough({ objectMode: true });
  private welcome?: Welcome;
  /** When Hello, which counts as 0, and each heartbeat went out on this stream. */
  private sent: number[] = [];
  private provenUntil = 0;
  private fence?: NodeJS.Timeout;
  private pause = 0;
  private up = false;
  private draining = false;
  private leaving = false;

  constructor(private readonly jobType: string, private readonly handler: Handler) {}

  async run() {
    // Once: the second of its kind ends it at once.
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => this.leave());
    console.log("id", this.id);
    while (!this.leaving || this.held.size > 0) {
      this.pause = Math.random() * 3_000;
      await this.stream().catch((error: unknown) => console.log("down:", String(error)));
      this.up = false;
      if (!this.leaving || this.held.size > 0) await sleep(this.pause);
    }
  }

  private async stream() {
    // Its own connection: a new one may lead to another server.
    const { connection, transport } = connect();
    const silent = new AbortController();
    let patience = setTimeout(() => silent.abort(), 10_000);
    let beating: NodeJS.Timeout | undefined;
    this.outgoing = new PassThrough({ objectMode: true });
    this.sent = [performance.now()];
    this.outgoing.write({ message: this.hello() });
    try {
      const answers = createClient(WorkerService, transport).workerStream(this.outgoing, { signal: silent.signal });
      for await (const { message } of answers) {
        patience.refresh();
        if (message.case === "welcome") {
          clearTimeout(patience);
          patience = setTimeout(() => silent.abort(), durationMs(message.value.silenceTimeout!));
          const interval = durationMs(message.value.heartbeatInterval!) * (0.9 + 0.2 * Math.random());
          beating = setInterval(() => this.beat(), interval);
        }
        this.heard(message);
      }
    } finally {
      clearTimeout(patience);
      clearInterval(beating);
      connection.abort();
    }
  }

  // What it says.

  private hello(): Message {
    const hello = {
      workerInstanceId: this.id, workerName: "first-typescript", connectSequence: ++this.streams,
      minProtocolVersion: 1, maxProtocolVersion: 1, handlers: [{ jobType: this.jobType }],
      capabilities: [Capability.CANCELLATION, Capability.SERVER_DRAIN], ...this.state(),
    };
    return { case: "hello", value: hello };
  }

  /** All it holds and takes: this is the truth, everything else is a hint. */
  private state() {
    const inFlight = [...this.held.values()].map(({ dispatch, phase }) => ({ attempt: dispatch.attempt, phase }));
    return { inFlight, capacity: [{ maxInFlight: this.draining ? 0 : 1 }] };
  }

  private beat() {
    const sequence = BigInt(this.sent.push(performance.now()) - 1);
    const state = this.draining ? WorkerState.DRAINING : WorkerState.ACTIVE;
    this.say({ case: "heartbeat", value: { sequence, state, ...this.state() } });
  }

  /** Nothing is kept for a later stream: what counts is said after its Welcome. */
  private say(message: Message) {
    if (this.up) this.outgoing.write({ message });
  }

  private halfClose() {
    this.up = false;
    this.outgoing.end();
  }

  // What it hears.

  private heard(message: WorkerStreamResponse["message"]) {
    switch (message.case) {
      case "welcome": return this.welcomed(message.value);
      case "heartbeatAck":
        this.follow(message.value.directives);
        return this.renew(message.value.sequence, message.value.leaseTtl!);
      case "dispatch": return this.dispatched(message.value);
      case "cancel": return this.cancel(message.value.attempt!);
      case "revoke": return this.abandon(message.value.attempt!);
      case "resultAck": return this.forget(message.value.attempt!);
      case "drain": return this.drain(message.value);
    }
  }

  private welcomed(welcome: Welcome) {
    console.log("up", welcome.sessionId);
    this.welcome = welcome;
    this.follow(welcome.directives); // first, so that what no longer counts is not said again
    this.renew(0n, welcome.leaseTtl!);
    this.up = true;
    for (const { result } of this.held.values()) if (result) this.say({ case: "result", value: result });
    if (this.leaving) this.leave();
  }

  private follow(directives: AttemptDirective[]) {
    for (const { attempt, directive } of directives) {
      if (directive.case === "cancel") this.cancel(attempt!);
      if (directive.case === "abandon") this.abandon(attempt!);
    }
  }

  private renew(sequence: bigint, leaseTtl: Duration) {
    const ttl = durationMs(leaseTtl);
    this.provenUntil = this.sent[Number(sequence)]! + ttl - Math.min(3_000, ttl / 10);
    clearTimeout(this.fence);
    this.fence = setTimeout(() => this.atFence(), this.provenUntil - performance.now()).unref();
  }

  /** The lease cannot be proven any more: what must not run twice at a time ends. The rest goes on. */
  private atFence() {
    for (const attempt of this.held.values()) {
      if (attempt.dispatch.leaseLossPolicy === LeaseLossPolicy.STOP) attempt.stop();
    }
  }

  private dispatched(dispatch: Dispatch) {
    const isFull = this.draining || [...this.held.values()].some(({ result }) => !result);
    const windowEnd = this.sent[Number(dispatch.basisSequence)]! + durationMs(this.welcome!.startWindow!);
    const isFresh = performance.now() < Math.min(windowEnd, this.provenUntil);
    const outcome = isFresh && !isFull
      ? { case: "accepted" as const, value: { phase: AttemptPhase.RUNNING } }
      : { case: "rejected" as const, value: { reason: isFull ? RejectReason.NO_CAPACITY : RejectReason.STALE } };
    this.say({ case: "dispatchReply", value: { attempt: dispatch.attempt, outcome } });
    if (outcome.case === "accepted") void this.work(new Attempt(dispatch), dispatch.attempt!);
  }

  private async work(attempt: Attempt, ref: AttemptRef) {
    this.held.set(key(ref), attempt);
    attempt.result = { attempt: ref, outcome: await this.outcome(attempt) };
    attempt.phase = AttemptPhase.RESULT_PENDING;
    // Else it was abandoned, and nobody wants to know.
    if (this.held.has(key(ref))) this.say({ case: "result", value: attempt.result });
  }

  private async outcome(attempt: Attempt): Promise<Result["outcome"]> {
    try {
      const input = attempt.dispatch.input?.data;
      const json = input?.case === "inline" ? Buffer.from(input.value).toString() : "";
      const output = await this.handler(JSON.parse(json || "null"), attempt.stopped);
      const inline = Buffer.from(JSON.stringify(output ?? null));
      const limit = this.welcome!.limits!.maxInlinePayloadBytes;
      if (inline.length > limit) throw new Error(`the output has ${inline.length} bytes, which is too much`);
      const data = { case: "inline" as const, value: inline };
      return { case: "succeeded", value: { output: { contentType: "application/json", data } } };
    } catch (error) {
      if (attempt.stopped.aborted) return { case: attempt.asked ? "cancelled" : "interrupted", value: {} };
      return { case: "failed", value: { failure: { message: String(error).slice(0, 1000) } } };
    }
  }

  /** To be stopped, and to report what really happened. That it was told to is seen in the next heartbeat. */
  private cancel(ref: AttemptRef) {
    const attempt = this.held.get(key(ref));
    if (attempt) attempt.asked = true;
    attempt?.stop();
  }

  /** It no longer counts: to be stopped and forgotten, and nothing said of it. */
  private abandon(ref: AttemptRef) {
    this.cancel(ref);
    this.forget(ref);
  }

  private forget(ref: AttemptRef) {
    this.held.delete(key(ref));
    this.leaveIfDone();
  }

  private drain({ mode, reconnectDelay }: ServerDrain) {
    if (mode === ServerDrainMode.RECONNECT) {
      this.pause = reconnectDelay ? durationMs(reconnectDelay) : 0;
      this.halfClose();
    }
    if (mode === ServerDrainMode.QUIESCE) this.draining = true;
    if (mode === ServerDrainMode.TERMINATE) this.leave();
  }

  /** No more work; what it has may end within 30 s, then it is interrupted; out once nothing is held. */
  private leave() {
    this.draining = this.leaving = true;
    this.say({ case: "drain", value: { note: "asked to leave" } });
    setTimeout(() => this.held.forEach((attempt) => attempt.stop()), 30_000).unref();
    this.leaveIfDone();
  }

  private leaveIfDone() {
    if (this.up && this.leaving && this.held.size === 0) this.halfClose();
  }
}

function key({ runId, attempt }: AttemptRef) {
  return `${runId}/${attempt}`;
}

/** Your code. Whatever computes for long belongs into a worker thread, or no heartbeat goes out meanwhile. */
async function greet(job: unknown, stopped: AbortSignal) {
  const { name, seconds = 0 } = job as { name?: string; seconds?: number };
  if (!name) throw new Error("nobody was named");
  console.log("greet", name);
  await sleep(seconds * 1000, undefined, { signal: stopped });
  return `hello, ${name}`;
}

await new FirstWorker("greet", greet).run();
