// Finds an archive in GitHub's cache, which hubcap restores while the job runs. The library would need an installation first, and
// would block the job until everything is on the disk. This file speaks version 2 of the cache service's protocol as
// @actions/cache does (lib/cache.js, restoreCacheV2). GitHub may change that; if anything fails here, the library restores.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { withoutTokens } from "./program.js";

/**
 * The newest entry whose key starts with one of `keys`, with the URL of its archive, which is a secret. Undefined if there
 * is none. Rejects if this way is not possible here.
 */
export async function find(path, keys) {
  const { ACTIONS_CACHE_SERVICE_V2, ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN } = process.env;
  if (!ACTIONS_CACHE_SERVICE_V2 || !ACTIONS_RESULTS_URL || !ACTIONS_RUNTIME_TOKEN) throw new Error("no cache service of version 2");
  // Without zstd, the library saves and finds archives of another kind.
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

/** What GitHub's cache compares beside the key: the literal path, and the compression of the archive. */
function version(path) {
  return createHash("sha256").update([path, "zstd-without-long", "1.0"].join("|")).digest("hex");
}

async function runs(command, args) {
  const child = spawn(command, args, { stdio: "ignore", env: withoutTokens(process.env) });
  const failed = new Promise((resolve) => child.on("error", () => resolve(false)));
  return Promise.race([once(child, "exit").then(([code]) => code === 0), failed]);
}
