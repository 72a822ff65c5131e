// Finds an archive of GitHub's cache, for hubcap to take in while the job goes on: the library would have to be installed
// first, and would hold up the job until all of it is on the disk. It speaks the cache service's second version as
// @actions/cache does (lib/cache.js, restoreCacheV2). GitHub may change that; whatever fails here, the library is asked
// instead.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";

/**
 * The newest entry whose key begins with one of `keys`, and the URL of its archive, which is a secret; undefined when there
 * is none. Rejects when this way is not possible here.
 */
export async function find(path, keys) {
  const { ACTIONS_CACHE_SERVICE_V2, ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN } = process.env;
  if (!ACTIONS_CACHE_SERVICE_V2 || !ACTIONS_RESULTS_URL || !ACTIONS_RUNTIME_TOKEN) throw new Error("no cache service of version 2");
  // Without it the library saves, and finds, archives of another kind.
  if (!(await runs("zstd", ["--version"]))) throw new Error("zstd is not installed");
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
  const [key, url] = [entry.matched_key ?? entry.matchedKey, entry.signed_download_url ?? entry.signedDownloadUrl];
  if (!key || !url) throw new Error("the cache service answered something else");
  return { key, url };
}

/** What GitHub's cache compares beside the key: the path as it was typed, and how the archive is packed. */
function version(path) {
  return createHash("sha256").update([path, "zstd-without-long", "1.0"].join("|")).digest("hex");
}

async function runs(command, args) {
  const child = spawn(command, args, { stdio: "ignore" });
  const failed = new Promise((resolve) => child.on("error", () => resolve(false)));
  return Promise.race([once(child, "exit").then(([code]) => code === 0), failed]);
}
