// One attempt in a worker's hands: from its Dispatch until the server has its result and its log.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { LogLevel } from "./gen/mainspring/common/v1/log_pb.js";
import { LeaseLossPolicy } from "./gen/mainspring/common/v1/policy_pb.js";
import {
  AttemptPhase, type AttemptResultSchema, type Dispatch, type LogEntrySchema, type WorkerStreamRequestSchema,
} from "./gen/mainspring/worker/v1/stream_pb.js";

export type Message = NonNullable<MessageInitShape<typeof WorkerStreamRequestSchema>["message"]>;
export type Say = (message: Message) => void;
export type Handler = (job: any, log: (text: string) => void, stopped: AbortSignal) => Promise<unknown>;
type Result = MessageInitShape<typeof AttemptResultSchema>;

export class Attempt {
  readonly ref;
  readonly mustNotOverlap;
  /** Until user code has ended, whether the attempt still counts or not. */
  readonly code: Promise<void>;
  phase = AttemptPhase.RUNNING;
  result?: Result;
  acknowledged = false;
  lines: MessageInitShape<typeof LogEntrySchema>[] = [];
  private stored = 0n;
  private offered = false;
  private asked = false;
  private readonly stopping = new AbortController();

  constructor(dispatch: Dispatch, handler: Handler, private readonly maxOutput: number, private say: Say) {
    this.ref = dispatch.attempt!;
    this.mustNotOverlap = dispatch.leaseLossPolicy === LeaseLossPolicy.STOP;
    this.code = this.run(handler, dispatch.input?.data.case === "inline" ? dispatch.input.data.value : undefined);
  }

  private async run(handler: Handler, payload?: Uint8Array) {
    const startTime = timestampNow();
    const outcome = await this.outcome(handler, payload);
    this.phase = AttemptPhase.RESULT_PENDING;
    // Readers of the log wait for so many lines.
    this.result = { attempt: this.ref, outcome, startTime, finishTime: timestampNow(), nextLogOffset: this.nextOffset() };
    this.say({ case: "result", value: this.result });
  }

  private async outcome(handler: Handler, payload?: Uint8Array): Promise<Result["outcome"]> {
    try {
      const job = payload?.length ? JSON.parse(new TextDecoder().decode(payload)) : null;
      const output = (await handler(job, (text) => this.log(text), this.stopping.signal)) ?? null;
      const inline = new TextEncoder().encode(JSON.stringify(output));
      // A message too large to be read would end this stream, and the next.
      if (inline.length > this.maxOutput) throw new Error(`the output has ${inline.length} bytes, too many`);
      const data = { case: "inline" as const, value: inline };
      return { case: "succeeded", value: { output: { contentType: "application/json", data } } };
    } catch (error) {
      if (!this.stopping.signal.aborted) {
        return { case: "failed", value: { failure: { message: String(error).slice(0, 1000) } } };
      }
      return this.asked ? { case: "cancelled", value: {} } : { case: "interrupted", value: {} };
    }
  }

  /** Asked by the server it is reported as cancelled, else as interrupted; a result in spite of it counts. */
  stop(asked: boolean) {
    if (this.phase !== AttemptPhase.RUNNING) return;
    this.phase = AttemptPhase.CANCELLING;
    this.asked = asked;
    this.stopping.abort();
  }

  /** It no longer counts, and its result would not. */
  abandon() {
    this.say = () => {};
    this.stopping.abort();
  }

  /** A new session knows what Hello listed, and nothing of what was said to the one before. */
  sayAgain() {
    if (this.result && !this.acknowledged) this.say({ case: "result", value: this.result });
    this.offerLines();
  }

  private log(text: string) {
    this.lines.push({ logTime: timestampNow(), level: LogLevel.INFO, message: text.slice(0, 4000) });
    if (!this.offered) this.offerLines();
  }

  /** What is not stored yet, by its offset. The server drops what it has; its LogAck asks for the rest. */
  offerLines() {
    this.offered = this.lines.length > 0;
    const batch = { attempt: this.ref, firstOffset: this.stored, entries: this.lines.slice(0, 100) };
    if (this.offered) this.say({ case: "logBatch", value: batch });
  }

  linesStored(nextOffset: bigint) {
    if (nextOffset > this.stored) {
      this.lines.splice(0, Number(nextOffset - this.stored));
      this.stored = nextOffset;
    }
    this.offerLines();
  }

  status() {
    return { attempt: this.ref, phase: this.phase, nextLogOffset: this.nextOffset() };
  }

  private nextOffset() {
    return this.stored + BigInt(this.lines.length);
  }
}
