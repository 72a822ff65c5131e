// Saves and restores the store in GitHub's cache. hubcap restores it if possible. GitHub's library @actions/cache saves it; it
// is installed when it is needed, as package-lock.json pins it.
//
// Entries of GitHub's cache never change, so each content has its own key: `<prefix>@<content key>`. The newest entry that
// starts with `<prefix>@` is restored. A prefix has no @, so no prefix is the start of another one.

import { existsSync, readdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { find } from "./entry.js";
import { run } from "./program.js";
import { note, say } from "./runner.js";

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

/** Checks a prefix; throws an error that says what it must not contain. */
export function checked(prefix) {
  if (/[,@]/.test(prefix)) throw new Error(`the key "${prefix}" has a comma or an @ in it, which it may not`);
  if (prefix.length > 300) throw new Error(`the key has ${prefix.length} characters, at most 300 are possible`);
  return prefix;
}

/** Whether a store exists already, as on a self-hosted machine. Nothing is restored over it. */
export function present(path) {
  return existsSync(join(path, "oci-layout"));
}

/** Whether a store is empty. */
export function empty(path) {
  const blobs = join(path, "blobs/sha256");
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
    return { content: found.key.slice(found.key.indexOf("@") + 1), url: found.url };
  }
  say(`nothing to restore: no cache whose key begins with ${keys[0]}`);
  return undefined;
}

/** A restore that broke off leaves what came so far, on a disk that may now be full: it is removed. */
async function restoreByLibrary(path, keys) {
  const ours = !existsSync(path);
  const cache = await library();
  const key = await cache.restoreCache([path], keys[0], keys);
  if (!key && ours) rmSync(path, { recursive: true, force: true });
  return key;
}

/** Saves the store under its content's key, or says why not. */
export async function save({ path, prefix, content }) {
  const cache = await library();
  const key = `${prefix}@${content}`;
  // Asked first: the library archives everything before it finds out.
  if ((await cache.restoreCache([path], key, [], { lookupOnly: true })) === key) {
    return say(`another job has saved ${key} already`);
  }
  const [size, free] = [sizeOf(path), freeAt(process.env.RUNNER_TEMP ?? "/tmp")];
  if (size + RESERVE > free) {
    return note(
      `the store is not saved: its archive of about ${mib(size)} needs as much room again, and ${mib(free)} are free. ` +
        "Give the input max-size, or make room before the job ends.",
    );
  }
  // Layers are compressed already: what a higher level finds to do in them is not worth its time.
  process.env.ZSTD_CLEVEL ??= "1";
  const id = await cache.saveCache([path], key);
  if (id === -1) note("the store is not saved; the log says why, above this line");
  else say(`saved ${key}, ${mib(size)}`);
}

async function library() {
  await install();
  const cache = await import("@actions/cache");
  if (!cache.isFeatureAvailable()) throw new Error("this runner has no cache service");
  return cache;
}

function sizeOf(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.size;
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

function freeAt(path) {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

function mib(bytes) {
  return `${Math.ceil(bytes / (1 << 20))} MiB`;
}
