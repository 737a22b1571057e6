// One stream of a worker, from its Hello to its end.

import { PassThrough } from "node:stream";
import { type MessageInitShape } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import type { Message } from "./attempt.js";
import { type HelloSchema, type Welcome } from "./gen/mainspring/worker/v1/stream_pb.js";
import { WorkerService } from "./gen/mainspring/worker/v1/worker_service_pb.js";
import { connect } from "./server.js";
import type { Worker } from "./worker.js";

export class Stream {
  welcome?: Welcome;
  /** When Hello, which counts as 0, and each heartbeat went out. */
  readonly sent = new Map([[0n, performance.now()]]);
  /** Resolves to a number of milliseconds, once the server asks for a successor after so long. */
  readonly successorAfter: Promise<number>;
  succeedAfter!: (delay: number) => void;
  readonly ended: Promise<void>;
  private readonly outgoing = new PassThrough({ objectMode: true });
  private beating?: NodeJS.Timeout;

  constructor(private readonly worker: Worker, hello: MessageInitShape<typeof HelloSchema>) {
    this.successorAfter = new Promise((resolve) => (this.succeedAfter = resolve));
    this.say({ case: "hello", value: hello });
    this.ended = this.live();
  }

  say(message: Message) {
    if (!this.outgoing.writableEnded) this.outgoing.write({ message });
  }

  halfClose() {
    this.outgoing.end();
  }

  private async live() {
    // A connection of its own: a new one may lead to another server.
    const { connection, transport } = connect();
    const silent = new AbortController();
    let patience = setTimeout(() => silent.abort(), 10_000);
    try {
      const answers = createClient(WorkerService, transport).workerStream(this.outgoing, { signal: silent.signal });
      for await (const answer of answers) {
        patience.refresh();
        if (answer.message.case === "welcome") {
          this.welcome = answer.message.value;
          clearTimeout(patience);
          patience = setTimeout(() => silent.abort(), durationMs(this.welcome.silenceTimeout!));
          this.beat(0n, durationMs(this.welcome.heartbeatInterval!));
        }
        this.worker.heard(this, answer);
      }
      console.log("down, in order");
    } catch (error) {
      console.log("down", silent.signal.aborted ? "silent" : String(error));
    } finally {
      clearTimeout(patience);
      clearTimeout(this.beating);
      connection.abort();
      if (this.worker.session === this) this.worker.session = undefined;
    }
  }

  private beat(last: bigint, interval: number) {
    this.beating = setTimeout(() => {
      const sequence = last + 1n;
      this.sent.set(sequence, performance.now());
      this.sent.delete(sequence - 100n);
      this.say({ case: "heartbeat", value: this.worker.heartbeat(sequence) });
      this.beat(sequence, interval);
    }, interval * (0.9 + 0.2 * Math.random()));
  }
}
