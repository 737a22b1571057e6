// Where the server is and who calls: from the variables that every program of Mainspring reads.

import { randomBytes } from "node:crypto";
import type { Interceptor } from "@connectrpc/connect";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";

const baseUrl = "http://" + (process.env.MAINSPRING_ADDRESS ?? "127.0.0.1:7420").replace(/^http:\/\//, "");

const authorized: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.MAINSPRING_API_KEY}`);
  return next(request);
};

/** A connection of its own, for whoever closes it in the end. */
export function connect() {
  const connection = new Http2SessionManager(baseUrl);
  const transport = createGrpcTransport({ baseUrl, sessionManager: connection, interceptors: [authorized] });
  return { connection, transport };
}

/** What a worker calls itself, once per process. By hand: Node does not have it. */
export function uuid7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
