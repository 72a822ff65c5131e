#!/usr/bin/env node
// Stands in for GitHub's cache service in tests/measure-job: the three calls of its second protocol (Twirp in JSON) and the
// blob store behind its signed URLs, on 127.0.0.1, as far as @actions/cache uses them. The tests have another one.
//
//     node cache-service.mjs DIRECTORY
//
// Prints its URL. The archives are files in DIRECTORY; `log` there has one JSON object a line for each request. An
// entry never changes, and is found by its exact key or, newest first, by the beginning of one.
//
// RATE_MB is how many MB a second all connections have together, LATENCY how many milliseconds each answer takes.
//
// A token is `SCOPE` or `SCOPE:read`: the scope is the branch whose entries are written, and are read before those of
// `main`; with `:read` nothing may be written, as GitHub has it for workflows that outsiders can start.

import { appendFileSync, closeSync, createReadStream, mkdirSync, openSync, renameSync, statSync, writevSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

const directory = process.argv[2];
mkdirSync(directory, { recursive: true });
const SERVICE = "/twirp/github.actions.results.api.v1.CacheService/";

/** In the order in which they were begun: scope, key, version, id, size once it is complete. */
const entries = [];

function visible({ scope }, { key, restore_keys: prefixes = [], version }) {
  for (const branch of new Set([scope, "main"])) {
    const found = entries.filter((entry) => entry.scope === branch && entry.version === version && entry.size !== undefined);
    for (const matches of [(entry) => entry.key === key, ...[key, ...prefixes].map((prefix) => (entry) => entry.key.startsWith(prefix))]) {
      const newest = found.filter(matches).at(-1);
      if (newest) return newest;
    }
  }
  return undefined;
}

const calls = {
  CreateCacheEntry(caller, { key, version }) {
    if (caller.readOnly) return { ok: false, message: "cache write denied: this token is read-only" };
    if (entries.some((entry) => entry.scope === caller.scope && entry.key === key && entry.version === version)) {
      return { status: 409, code: "already_exists", msg: "an entry with this key exists" };
    }
    const entry = { id: entries.length + 1, scope: caller.scope, key, version };
    entries.push(entry);
    return { ok: true, signed_upload_url: `${url}/blob/${entry.id}?sig=upload` };
  },
  FinalizeCacheEntryUpload(caller, { key, version, size_bytes: size }) {
    const entry = entries.find((one) => one.scope === caller.scope && one.key === key && one.version === version);
    const actual = statSync(file(entry.id)).size;
    if (String(size) !== String(actual)) return { ok: false, message: `${size} bytes were announced, ${actual} came` };
    entry.size = actual;
    return { ok: true, entry_id: String(entry.id) };
  },
  GetCacheEntryDownloadURL(caller, request) {
    const entry = visible(caller, request);
    if (!entry) return { ok: false };
    return { ok: true, matched_key: entry.key, signed_download_url: `${url}/blob/${entry.id}?sig=download` };
  },
};

/** When the wire that all connections share is free again. */
let free = 0;

/** Waits until the wire has passed on so many bytes. A wait for each chunk would cost the processor more than the bytes do. */
async function pass(bytes) {
  const rate = Number(process.env.RATE_MB ?? 0) * 1000;
  if (!rate) return;
  free = Math.max(free, Date.now()) + bytes / rate;
  if (free - Date.now() > 20) await sleep(free - Date.now());
}

/** The chunks of a body, as fast as the wire allows. */
async function take(request) {
  const chunks = [];
  for await (const chunk of request) {
    await pass(chunk.length);
    chunks.push(chunk);
  }
  return chunks;
}

const file = (id) => join(directory, `${id}.archive`);

/** The chunks of blocks that no list has put together yet, by entry and name: a file for each would be one copy more. */
const blocks = new Map();
const block = (id, name) => `${id} ${name}`;

/** Writes a blob, in calls of as many chunks as the system takes. */
function write(id, chunks) {
  const out = openSync(`${file(id)}.new`, "w");
  for (let at = 0; at < chunks.length; at += 1024) writevSync(out, chunks.slice(at, at + 1024));
  closeSync(out);
  renameSync(`${file(id)}.new`, file(id));
}

async function put(request, response, { id, query }) {
  const what = query.get("comp");
  const chunks = await take(request);
  if (what === "block") {
    blocks.set(block(id, query.get("blockid")), chunks);
  } else if (what === "blocklist") {
    const names = [...Buffer.concat(chunks).toString().matchAll(/<Latest>([^<]*)<\/Latest>/g)].map((match) => match[1]);
    for (const name of names) if (!blocks.has(block(id, name))) return response.writeHead(400).end();
    write(id, names.flatMap((name) => blocks.get(block(id, name))));
    for (const name of names) blocks.delete(block(id, name));
  } else {
    write(id, chunks);
  }
  response.writeHead(201, { etag: '"1"', "last-modified": new Date().toUTCString(), "x-ms-request-id": "1", "content-length": 0 }).end();
}

async function* paced(chunks) {
  for await (const chunk of chunks) {
    await pass(chunk.length);
    yield chunk;
  }
}

async function get(request, response, { id }) {
  const size = statSync(file(id)).size;
  const headers = { etag: '"1"', "last-modified": new Date().toUTCString(), "x-ms-blob-type": "BlockBlob", "accept-ranges": "bytes" };
  const range = (request.headers["x-ms-range"] ?? request.headers.range)?.match(/^bytes=(\d+)-(\d*)$/);
  const start = range ? Number(range[1]) : 0;
  const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
  if (range) headers["content-range"] = `bytes ${start}-${end}/${size}`;
  response.writeHead(range ? 206 : 200, { ...headers, "content-length": end - start + 1 });
  if (request.method === "HEAD") return response.end();
  await pipeline(createReadStream(file(id), { start, end, highWaterMark: 1 << 20 }), paced, response);
}

async function call(request, response, method) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = JSON.parse(Buffer.concat(parts).toString());
  const token = request.headers.authorization?.replace(/^Bearer /, "");
  const answer = token
    ? calls[method]({ scope: token.replace(/:read$/, ""), readOnly: token.endsWith(":read") }, body)
    : { status: 401, code: "unauthenticated", msg: "no token" };
  log({ method, key: body.key, ok: answer.ok ?? false, matched: answer.matched_key });
  response.writeHead(answer.status ?? 200, { "content-type": "application/json" }).end(JSON.stringify(answer));
}

function log(line) {
  appendFileSync(join(directory, "log"), `${JSON.stringify(line)}\n`);
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams: query } = new URL(request.url, url);
  await sleep(Number(process.env.LATENCY ?? 0));
  try {
    if (pathname.startsWith(SERVICE)) return await call(request, response, pathname.slice(SERVICE.length));
    const id = Number(pathname.match(/^\/blob\/(\d+)$/)?.[1]);
    log({ method: request.method, blob: id, part: query.get("comp") ?? undefined, bytes: Number(request.headers["content-length"] ?? 0) });
    await (request.method === "PUT" ? put : get)(request, response, { id, query });
  } catch (error) {
    // Who asks may go away: parts that another origin brought first.
    if (error.code !== "ERR_STREAM_PREMATURE_CLOSE") console.error(error);
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
});
let url;
server.listen(0, "127.0.0.1", () => {
  url = `http://127.0.0.1:${server.address().port}`;
  console.log(url);
});
