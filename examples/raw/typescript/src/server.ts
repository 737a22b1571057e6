// Where the server is and who calls: from the variables that every program of Mainspring reads.

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
