// Restores an archive of GitHub's cache straight from the network into tar: nothing is written twice, and nothing has to be
// installed first, which together are most of what a restore by the library costs. It speaks the cache service's second
// version as @actions/cache does (lib/cache.js, restoreCacheV2). GitHub may change that; whatever fails here, the library
// is asked instead.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** A part of an archive, and how many are on their way: one connection is slower than the cache service. */
const PART = 16 << 20;
const WIDTH = 6;
const TRIES = 3;

/**
 * The newest entry whose key begins with one of `keys`, in the workspace. Its key; undefined when there is none. Rejects
 * when this way is not possible here, or breaks off.
 */
export async function restoreByStream(path, keys) {
  const { ACTIONS_CACHE_SERVICE_V2, ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN } = process.env;
  if (!ACTIONS_CACHE_SERVICE_V2 || !ACTIONS_RESULTS_URL || !ACTIONS_RUNTIME_TOKEN) throw new Error("no cache service of version 2");
  if ((await ended(spawn("zstd", ["--version"], { stdio: "ignore" }))) !== 0) throw new Error("zstd is not installed");
  const service = new URL("/twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL", ACTIONS_RESULTS_URL);
  const answer = await fetch(service, {
    method: "POST",
    headers: { authorization: `Bearer ${ACTIONS_RUNTIME_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify({ key: keys[0], restore_keys: keys, version: version(path) }),
    signal: AbortSignal.timeout(30_000),
  });
  if (!answer.ok) throw new Error(`the cache service answered ${answer.status}`);
  const entry = await answer.json();
  if (!entry.ok) return undefined;
  await extract(await archive(entry.signed_download_url ?? entry.signedDownloadUrl));
  return entry.matched_key ?? entry.matchedKey;
}

/** What GitHub's cache compares beside the key: the path as it was typed, and how the archive is packed. */
function version(path) {
  return createHash("sha256").update([path, "zstd-without-long", "1.0"].join("|")).digest("hex");
}

/** The archive's bytes, in order. */
async function archive(url) {
  const first = await fetch(url, { headers: { range: `bytes=0-${PART - 1}` }, signal: AbortSignal.timeout(600_000) });
  if (first.status === 200) return Readable.fromWeb(first.body);
  const size = Number(/^bytes 0-\d+\/(\d+)$/.exec(first.headers.get("content-range") ?? "")?.[1]);
  if (first.status !== 206 || !size) throw new Error(`the archive is answered with ${first.status}`);
  return Readable.from(parts(url, size, Buffer.from(await first.arrayBuffer())));
}

async function* parts(url, size, first) {
  const coming = [Promise.resolve(first)];
  let next = first.length;
  while (coming.length || next < size) {
    while (coming.length < WIDTH && next < size) {
      const end = Math.min(next + PART, size);
      const part = fetchPart(url, next, end);
      // Told when its turn comes.
      part.catch(() => {});
      coming.push(part);
      next = end;
    }
    yield await coming.shift();
  }
}

async function fetchPart(url, start, end) {
  for (let tries = 1; ; tries++) {
    try {
      const answer = await fetch(url, { headers: { range: `bytes=${start}-${end - 1}` }, signal: AbortSignal.timeout(120_000) });
      if (answer.status !== 206) throw new Error(`a part of the archive is answered with ${answer.status}`);
      const bytes = Buffer.from(await answer.arrayBuffer());
      if (bytes.length !== end - start) throw new Error("a part of the archive is cut short");
      return bytes;
    } catch (error) {
      if (tries === TRIES) throw error;
    }
  }
}

async function extract(bytes) {
  const tar = spawn("tar", ["-xf", "-", "-P", "-C", process.cwd(), "--use-compress-program", "zstd -d"], {
    stdio: ["pipe", "inherit", "inherit"],
  });
  const end = ended(tar);
  // A tar that has ended early says by its exit code why.
  const [, code] = await Promise.all([pipeline(bytes, tar.stdin).catch((error) => (error.code === "EPIPE" ? undefined : Promise.reject(error))), end]);
  if (code !== 0) throw new Error(`tar ended with ${code}`);
}

/** A program's exit code; one that cannot be started has none. */
async function ended(child) {
  const failed = new Promise((resolve) => child.on("error", () => resolve(undefined)));
  return Promise.race([once(child, "exit").then(([code]) => code), failed]);
}
