// A worker on bare stubs: what it holds, what it says of it, and what it does about what it hears.
//
// The rules it follows are told in ../../README.md. The one to begin with: messages are hints, and the full state in Hello
// and heartbeats is the truth. So nothing is queued while there is no session; it is said after the next Welcome.

import { setTimeout as sleep } from "node:timers/promises";
import { durationMs, type Duration } from "@bufbuild/protobuf/wkt";
import { Attempt, type Handler, type Message } from "./attempt.js";
import {
  AttemptPhase, CancelDisposition, Capability, RejectReason, ServerDrainMode, WorkerState,
  type AttemptDirective, type AttemptRef, type Dispatch, type ServerDrain, type Welcome, type WorkerStreamResponse,
} from "./gen/mainspring/worker/v1/stream_pb.js";
import { uuid7 } from "./server.js";
import { Stream } from "./stream.js";

/** How long runs have to end in once the worker leaves. */
const PATIENCE = 30_000;

export class Worker {
  /** The newest stream that was welcomed. */
  session?: Stream;
  private readonly instance = uuid7();
  private readonly held = new Map<string, Attempt>();
  private newest?: Stream;
  private running = 0;
  private provenUntil = 0;
  private draining = false;
  private leaving = false;

  constructor(
    private readonly name: string,
    private readonly handlers: Record<string, Handler>,
    private readonly slots: number,
  ) {}

  async run() {
    // Once: the second of its kind ends it at once.
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => this.leave());
    const guarding = setInterval(() => this.guard(), 100);
    console.log("id", this.instance);
    let failures = 0;
    for (let number = 1n; !this.leaving || this.held.size > 0; number++) {
      const stream = (this.newest = new Stream(this, this.hello(number)));
      const delay = await Promise.race([stream.ended, stream.successorAfter]);
      if (delay !== undefined) {
        await Promise.race([stream.ended, sleep(delay)]);
      } else if (!this.leaving || this.held.size > 0) {
        failures = stream.welcome ? 0 : failures + 1;
        await sleep(Math.random() * (failures ? Math.min(10_000, 500 * 2 ** failures) : 3_000));
      }
    }
    clearInterval(guarding);
  }

  leave() {
    this.draining = this.leaving = true;
    this.say({ case: "drain", value: { note: "asked to leave" } });
    setTimeout(() => this.held.forEach((attempt) => attempt.stop(false)), PATIENCE).unref();
    this.settle();
  }

  /** Stops what must not overlap as soon as the lease cannot be proven any more. */
  private guard() {
    if (performance.now() < this.provenUntil) return;
    for (const attempt of this.held.values()) if (attempt.mustNotOverlap) attempt.stop(false);
  }

  // What it says.

  private say(message: Message) {
    this.session?.say(message);
  }

  private hello(connectSequence: bigint) {
    return {
      workerInstanceId: this.instance, workerName: this.name, connectSequence,
      minProtocolVersion: 1, maxProtocolVersion: 1,
      capabilities: [Capability.CANCELLATION, Capability.LOGS, Capability.SERVER_DRAIN],
      handlers: Object.keys(this.handlers).map((jobType) => ({ jobType })),
      capacity: this.capacity(), inFlight: this.inFlight(),
    };
  }

  heartbeat(sequence: bigint) {
    // A batch of lines that was not acknowledged may have been dropped.
    for (const attempt of this.held.values()) attempt.offerLines();
    const state = this.draining ? WorkerState.DRAINING : WorkerState.ACTIVE;
    return { sequence, state, inFlight: this.inFlight(), capacity: this.capacity() };
  }

  private capacity() {
    return [{ maxInFlight: this.draining ? 0 : this.slots }];
  }

  private inFlight() {
    return [...this.held.values()].filter((attempt) => !attempt.acknowledged).map((attempt) => attempt.status());
  }

  // What it hears.

  heard(stream: Stream, { message }: WorkerStreamResponse) {
    switch (message.case) {
      case "welcome": return this.welcomed(stream, message.value);
      case "heartbeatAck":
        this.follow(message.value.directives);
        return this.renew(stream.sent.get(message.value.sequence), message.value.leaseTtl!);
      case "dispatch":
        if (stream === this.newest) this.dispatched(stream, message.value);
        return;
      case "cancel": return this.cancelled(message.value.attempt!);
      case "resultAck": {
        const attempt = this.held.get(key(message.value.attempt!));
        if (attempt) attempt.acknowledged = true;
        return this.settle();
      }
      case "logAck":
        this.held.get(key(message.value.attempt!))?.linesStored(message.value.nextOffset);
        return this.settle();
      case "revoke": return this.abandon(message.value.attempt!);
      case "drain": return this.askedToDrain(stream, message.value);
      case "notice": return console.log("notice", message.value.reason, message.value.message);
      case undefined: return; // the server is newer than these stubs
    }
  }

  private welcomed(stream: Stream, welcome: Welcome) {
    console.log("up", welcome.sessionId);
    this.session?.halfClose();
    this.session = stream;
    this.follow(welcome.directives); // first, so that what no longer counts is not said again
    this.renew(stream.sent.get(0n), welcome.leaseTtl!);
    for (const attempt of this.held.values()) attempt.sayAgain();
    if (this.leaving) this.say({ case: "drain", value: { note: "asked to leave" } });
  }

  private renew(sent: number | undefined, leaseTtl: Duration) {
    const ttl = durationMs(leaseTtl);
    if (sent !== undefined) this.provenUntil = Math.max(this.provenUntil, sent + ttl - Math.min(3_000, ttl / 10));
  }

  private dispatched(stream: Stream, dispatch: Dispatch) {
    const { attempt: ref, jobType } = dispatch;
    const reject = (reason: RejectReason) =>
      this.say({ case: "dispatchReply", value: { attempt: ref, outcome: { case: "rejected", value: { reason } } } });
    const basisSent = stream.sent.get(dispatch.basisSequence) ?? -Infinity;
    const startBefore = Math.min(basisSent + durationMs(stream.welcome!.startWindow!), this.provenUntil);
    const handler = this.handlers[jobType];
    if (this.draining) return reject(RejectReason.DRAINING);
    if (!handler) return reject(RejectReason.UNKNOWN_JOB_TYPE);
    if (this.running >= this.slots) return reject(RejectReason.NO_CAPACITY);
    if (performance.now() >= startBefore) return reject(RejectReason.STALE);
    const outcome = { case: "accepted" as const, value: { phase: AttemptPhase.RUNNING } };
    this.say({ case: "dispatchReply", value: { attempt: ref, outcome } });
    const limit = stream.welcome!.limits!.maxInlinePayloadBytes;
    const attempt = new Attempt(dispatch, handler, limit, (message) => this.say(message));
    this.held.set(key(ref!), attempt);
    this.running++;
    void attempt.code.finally(() => this.running--);
  }

  private follow(directives: AttemptDirective[]) {
    for (const { attempt, directive } of directives) {
      if (directive.case === "cancel") this.held.get(key(attempt!))?.stop(true);
      if (directive.case === "abandon") this.abandon(attempt!);
    }
  }

  private cancelled(ref: AttemptRef) {
    const attempt = this.held.get(key(ref));
    attempt?.stop(true);
    const stopping = attempt?.phase === AttemptPhase.CANCELLING;
    const disposition = stopping ? CancelDisposition.CANCELLING : CancelDisposition.NOT_RUNNING;
    this.say({ case: "cancelReply", value: { attempt: ref, disposition } });
  }

  private abandon(ref: AttemptRef) {
    this.held.get(key(ref))?.abandon();
    this.held.delete(key(ref));
    this.settle();
  }

  private askedToDrain(stream: Stream, { mode, reconnectDelay }: ServerDrain) {
    if (mode === ServerDrainMode.RECONNECT) stream.succeedAfter(reconnectDelay ? durationMs(reconnectDelay) : 0);
    if (mode === ServerDrainMode.QUIESCE) this.draining = true;
    if (mode === ServerDrainMode.TERMINATE) this.leave();
  }

  /** Forgets what is over, its log stored and its result acknowledged; leaves where that was the last. */
  private settle() {
    for (const [name, attempt] of this.held) {
      if (attempt.acknowledged && attempt.lines.length === 0) this.held.delete(name);
    }
    if (this.leaving && this.held.size === 0) this.session?.halfClose();
  }
}

function key({ runId, attempt }: AttemptRef) {
  return `${runId}/${attempt}`;
}
