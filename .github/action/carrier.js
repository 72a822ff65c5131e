// Saves and restores the store in GitHub's cache. hubcap restores it if possible. GitHub's library @actions/cache saves it; it
// is installed when it is needed, as package-lock.json pins it.
//
// Entries of GitHub's cache never change, so each has its own key: `<prefix>@<content key>-<run>`. The newest entry that starts
// with `<prefix>@` is restored. A prefix has no @, so no prefix is the start of another one. The run is in the key because a content
// may come back after another one: then it has to be the newest again.

import { existsSync, lstatSync, readdirSync, rmSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { find } from "./entry.js";
import { directory } from "./location.js";
import { run } from "./program.js";
import { note, overheard, say } from "./runner.js";

/** Bytes of the disk that stay free beside an archive. */
const RESERVE = 256 << 20;

/**
 * Installs @actions/cache beside this file, with the npm of this node, otherwise with the npm in PATH. An existing
 * installation stays, because some machines cannot reach npm's registry.
 */
async function install() {
  if (existsSync(new URL("node_modules/@actions/cache/package.json", import.meta.url))) return;
  const beside = join(dirname(process.execPath), "../lib/node_modules/npm/bin/npm-cli.js");
  const [command, ...first] = existsSync(beside) ? [process.execPath, beside] : ["npm"];
  const args = ["ci", "--omit=dev", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--no-update-notifier"];
  await run(command, [...first, ...args], { minutes: 3, cwd: fileURLToPath(new URL(".", import.meta.url)) });
}

/** Whether the runner says where its cache service is. Some servers and tools that run workflows have none. */
export function available() {
  return Boolean(process.env.ACTIONS_RESULTS_URL || process.env.ACTIONS_CACHE_URL);
}

/** Checks a prefix; throws an error that says what it must not contain. The library knows how long a key may be. */
export function checked(prefix) {
  if (/[,@]/.test(prefix)) throw new Error(`the key "${prefix}" has a comma or an @ in it, which it may not`);
  return prefix;
}

/** Whether a store exists already, as on a self-hosted machine. Nothing is restored over it. */
export function present(path) {
  return existsSync(join(directory(path), "oci-layout"));
}

/** Whether a store is empty. */
export function empty(path) {
  const blobs = join(directory(path), "blobs/sha256");
  return !existsSync(blobs) || readdirSync(blobs).length === 0;
}

/**
 * The newest store of the first of these prefixes that has one: its content key, and the URL of the archive that hubcap restores. Without a URL, the library has
 * restored it to the disk. Undefined if there is none.
 */
export async function restore({ path, prefixes }) {
  const keys = prefixes.map((prefix) => `${prefix}@`);
  const found = await find(path, keys).catch(async (error) => {
    say(`restoring with @actions/cache, because ${error.message}`);
    return { key: await restoreByLibrary(path, keys) };
  });
  if (found?.key) {
    say(`${found.url ? "restoring, beside the job," : "restored"} ${found.key}`);
    return { content: contentOf(found.key), url: found.url };
  }
  say(`nothing to restore: no cache whose key begins with ${keys[0]}`);
  return undefined;
}

/** The content key in the key of an entry. */
function contentOf(key) {
  return key.slice(key.indexOf("@") + 1).split("-")[0];
}

/** A restore that broke off leaves what came so far, on a disk that may now be full: it is removed. */
async function restoreByLibrary(path, keys) {
  const ours = !existsSync(directory(path));
  const cache = await library();
  const key = await overheard(() => cache.restoreCache([path], keys[0], keys));
  if (!key && ours) rmSync(directory(path), { recursive: true, force: true });
  return key;
}

/** Saves the store, or says why not: where the next job gets this content anyway, nothing is archived. */
export async function save({ path, prefix, content }) {
  const cache = await library();
  const newest = await overheard(() => cache.restoreCache([path], `${prefix}@`, [`${prefix}@`], { lookupOnly: true }));
  if (newest && contentOf(newest) === content) return say(`another job has saved the same: ${newest}`);
  const { GITHUB_RUN_ID, GITHUB_RUN_ATTEMPT } = process.env;
  const key = `${prefix}@${content}-${GITHUB_RUN_ID}.${GITHUB_RUN_ATTEMPT}`;
  const [size, free] = [sizeOf(directory(path)), freeAt(process.env.RUNNER_TEMP ?? "/tmp")];
  if (size + RESERVE > free) {
    return note(
      `the store is not saved: its archive of about ${mib(size)} needs as much room again, and ${mib(free)} are free. ` +
        "Give the input max-size, or make room before the job ends.",
    );
  }
  // Layers are compressed already: what a higher level finds to do in them is not worth its time.
  process.env.ZSTD_CLEVEL ??= "1";
  const id = await overheard(() => cache.saveCache([path], key));
  if (id === -1) note("the store is not saved; the log says why, above this line");
  else say(`saved ${key}, ${mib(size)}`);
}

async function library() {
  await install();
  const cache = await import("@actions/cache");
  if (!cache.isFeatureAvailable()) throw new Error("this runner has no cache service");
  return cache;
}

/** Bytes of the files in a directory. A link in it leads elsewhere or nowhere, and adds nothing to the archive, as a pipe adds nothing. */
function sizeOf(directory) {
  const sizes = readdirSync(directory, { withFileTypes: true }).map((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return sizeOf(path);
    return entry.isFile() ? lstatSync(path).size : 0;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}

function freeAt(path) {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

function mib(bytes) {
  return `${Math.ceil(bytes / (1 << 20))} MiB`;
}
