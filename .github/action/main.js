// The step: finds the store of an earlier job, starts hubcap with it, configures dockerd.

import { createHash } from "node:crypto";
import { dirname, resolve } from "node:path";
import { obtain } from "./binary.js";
import { checked, present, restore } from "./carrier.js";
import { cacheService, hubcap, leave } from "./program.js";
import { addPath, attempt, input, output, remember, say, step, warn, words } from "./runner.js";

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

/** Relative to the workspace, and literal: GitHub's cache finds an entry only by the same text. */
const path = process.env.HUBCAP_STORE || ".hubcap";

function store() {
  return resolve(process.env.GITHUB_WORKSPACE ?? ".", path);
}

/** The flags that `up` and `down` share. Another image store needs a restart of dockerd, there and back. */
function common() {
  const given = ["docker-host", "daemon-json", "certs-dir"].filter((name) => input(name));
  const restart = input("image-store") ? ["--restart"] : [];
  return ["--store", store(), ...given.map((name) => `--${name}=${input(name)}`), ...restart];
}

await step(async () => {
  output("cache-hit", "false");
  if (process.platform !== "linux") return warn(`there is no hubcap for ${process.platform}; the job goes on without it`);
  process.chdir(process.env.GITHUB_WORKSPACE ?? ".");
  const began = Date.now();
  const binary = await attempt("there is no hubcap, the job goes on without it", () => obtain(input("version")));
  if (!binary) return;
  const prefixes = await attempt("the job goes on without the cache", async () =>
    (input("key") ? [input("key")] : defaultPrefixes()).map(checked),
  );
  const prefix = prefixes?.[0];
  const contents = prefix !== undefined && carriesContents();

  let archive;
  if (prefix) remember("prefix", prefix);
  if (contents) remember("contents", "true");
  if (present(path)) {
    remember("kept", "true");
    say(`a store is in ${path} already, nothing is restored over it`);
  } else if (prefix && !contents) {
    const restored = await attempt("nothing is restored", () => restore({ path, prefixes }));
    if (restored) {
      archive = restored.url;
      remember("restored", restored.content);
      remember("restored-in", ((Date.now() - began) / 1000).toFixed(1));
      output("cache-hit", "true");
    }
  }

  // From here on, the post step has something to undo.
  remember("binary", binary);
  remember("path", path);
  remember("flags", JSON.stringify(common()));
  addPath(dirname(binary));
  const args = [...common()];
  if (input("max-size")) args.push(`--max-size=${input("max-size")}`);
  if (input("image-store")) args.push(`--image-store=${input("image-store")}`);
  for (const upstream of words("upstreams")) args.push(`--upstream=${upstream}`);
  if (contents) for (const key of prefixes) args.push(`--cache-key=${key}`);
  const env = contents ? cacheService(input("save") === "false") : archive ? { HUBCAP_RESTORE: archive } : {};
  const told = await attempt("hubcap does not run, the job goes on without it", () =>
    hubcap(binary, ["up", ...args], { minutes: 5, env }),
  );
  if (!told) return attempt("and the files that it changed could not be restored", () => hubcap(binary, ["down", ...common()], { minutes: 2 }));
  if (told["cache-hit"]) output("cache-hit", told["cache-hit"]);
  // If dockerd could not be configured, hubcap has said so.
  if (told.wired === "false") return;
  remember("started", "true");
  const images = words("images");
  if (images.length) remember("images", leave(binary, ["pull", "--store", store(), "--", ...images]));
});
