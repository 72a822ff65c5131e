// The step: finds the store of an earlier job, starts hubcap with it, configures dockerd.

import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { obtain } from "./binary.js";
import { available, checked, present, restore } from "./carrier.js";
import { directory, given } from "./location.js";
import { cacheService, hubcap, leave, showLog } from "./program.js";
import { addPath, attempt, grouped, input, note, output, remember, say, seconds, step, variable, warn, words } from "./runner.js";

/** Relative to the workspace, and literal. */
const path = given();

/**
 * The default prefixes: shared by all runs of this job, and by no other job. The legs of a matrix have one each; a leg that has
 * nothing yet begins with what the job had before.
 */
function defaultPrefixes() {
  const { RUNNER_OS, RUNNER_ARCH, GITHUB_WORKFLOW, GITHUB_JOB } = process.env;
  const parts = ["hubcap", RUNNER_OS, RUNNER_ARCH, GITHUB_WORKFLOW, GITHUB_JOB].filter(Boolean);
  const prefix = parts.join("-").toLowerCase().replace(/[^a-z0-9._-]+/g, "-").slice(0, 280);
  const matrix = input("matrix");
  if (!matrix || matrix === "null" || matrix === "{}") return [prefix];
  return [`${prefix}-${createHash("sha256").update(matrix).digest("hex").slice(0, 12)}`, prefix];
}

/** Whether contents can be carried one by one: GitHub has the second version of its cache service here. */
function carriesContents() {
  const { ACTIONS_CACHE_SERVICE_V2, ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN } = process.env;
  const carry = input("carry") || "contents";
  if (carry !== "contents" && carry !== "archive") warn(`the input carry is "${carry}"; it may be "contents" or "archive"`);
  return carry !== "archive" && Boolean(ACTIONS_CACHE_SERVICE_V2 && ACTIONS_RESULTS_URL && ACTIONS_RUNTIME_TOKEN);
}

/** The flags that `up` and `down` share. Another image store needs a restart of dockerd, there and back. */
function common() {
  const flags = ["docker-host", "daemon-json", "certs-dir"].filter((name) => input(name));
  const restart = input("image-store") ? ["--restart"] : [];
  return ["--store", directory(path), ...flags.map((name) => `--${name}=${input(name)}`), ...restart];
}

/** Finds the archive of an earlier store: its URL if hubcap is to restore it, and whether there is one. */
async function archived(prefixes) {
  if (!available()) {
    note("this runner has no cache service, so nothing is restored and nothing is saved");
    return { hit: false };
  }
  if (!(await attempt("the job goes on without the cache", () => prefixes.map(checked)))) return { hit: false };
  remember("prefix", prefixes[0]);
  if (present(path)) {
    remember("kept", "true");
    say(`a store is in ${path} already, nothing is restored over it`);
    return { hit: false };
  }
  const restored = await attempt("nothing is restored", () => restore({ path, prefixes }));
  if (!restored) return { hit: false };
  remember("restored", restored.content);
  return { hit: true, url: restored.url };
}

/** Gets hubcap and starts it. Whether the job begins with what an earlier one has saved. */
async function start() {
  if (process.platform !== "linux") {
    warn(`there is no hubcap for ${process.platform}, and the job goes on without it. It runs on Linux`);
    return false;
  }
  process.chdir(process.env.GITHUB_WORKSPACE ?? ".");
  const binary = await attempt("there is no hubcap, the job goes on without it", () =>
    grouped("hubcap: get the program", () => obtain(input("version"))),
  );
  if (!binary) return false;
  const prefixes = input("key") ? [input("key")] : defaultPrefixes();
  const contents = carriesContents();
  if (contents) remember("contents", "true");
  const archive = contents ? { hit: false } : await archived(prefixes);

  // From here on, the post step has something to undo.
  remember("binary", binary);
  remember("path", path);
  remember("flags", JSON.stringify(common()));
  addPath(dirname(binary));
  if (input("store")) variable("HUBCAP_STORE", directory(path));
  const args = [...common()];
  if (input("max-size")) args.push(`--max-size=${input("max-size")}`);
  if (input("image-store")) args.push(`--image-store=${input("image-store")}`);
  if (input("unpack") === "true") args.push("--unpack");
  for (const upstream of words("upstreams")) args.push(`--upstream=${upstream}`);
  if (contents) for (const key of prefixes) args.push(`--cache-key=${key}`);
  const env = contents ? cacheService(input("save") === "false") : archive.url ? { HUBCAP_RESTORE: archive.url } : {};
  const told = await attempt("hubcap does not run, the job goes on without it", () =>
    grouped("hubcap up", () => hubcap(binary, ["up", ...args], { minutes: 5, env })),
  );
  if (!told) {
    await attempt("and the files that it changed could not be restored", () => hubcap(binary, ["down", ...common()], { minutes: 2 }));
    return archive.hit;
  }
  if (told.log) remember("log", told.log);
  // If dockerd could not be configured, hubcap has said so.
  if (told.wired === "false") {
    await showLog(told.log);
    return archive.hit;
  }
  remember("started", "true");
  const images = words("images");
  if (images.length) remember("images", leave(binary, ["pull", "--store", directory(path), "--", ...images]));
  remember("took", seconds());
  say("dockerd pulls through hubcap");
  return archive.hit || told["cache-hit"] === "true";
}

await step(async () => {
  let hit = false;
  try {
    hit = await start();
  } finally {
    output("cache-hit", String(hit));
  }
});
