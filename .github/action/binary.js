// Gets the hubcap binary: from a release of this repository, from a path, or built by cargo from the action's checkout.

import { createHash } from "node:crypto";
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "./program.js";
import { say } from "./runner.js";

/** The action's checkout. */
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const TARGETS = { x64: "x86_64-unknown-linux-gnu", arm64: "aarch64-unknown-linux-gnu" };

/**
 * Returns the path of the binary. `version` is the action's input: empty for the release of this checkout, a version,
 * `source`, or a path, which contains a `/` and is relative to the workspace.
 */
export async function obtain(version) {
  if (version === "source") return build();
  if (version.includes("/")) {
    const path = resolve(process.env.GITHUB_WORKSPACE ?? ".", version);
    accessSync(path, constants.X_OK);
    return path;
  }
  return download(version.replace(/^v/, "") || ownVersion());
}

/** The version in Cargo.toml. It is right for every ref that a workflow can name, also for `v1` or a commit. */
function ownVersion() {
  const found = readFileSync(join(ROOT, "Cargo.toml"), "utf8").match(/^version = "([^"]+)"$/m);
  if (!found) throw new Error(`no version in ${ROOT}Cargo.toml`);
  return found[1];
}

async function build() {
  await run("cargo", ["build", "--release", "--locked"], { minutes: 30, cwd: ROOT });
  return join(ROOT, "target/release/hubcap");
}

async function download(version) {
  const target = TARGETS[process.arch];
  if (!target) throw new Error(`there is no release for ${process.arch}; build one with version: source`);
  const repository = process.env.GITHUB_ACTION_REPOSITORY;
  if (!repository) {
    throw new Error("an action that is used by a path has no releases; give the input version: source, or the path of a binary");
  }
  const server = process.env.GITHUB_SERVER_URL || "https://github.com";
  const name = `hubcap-${target}.tar.gz`;
  const url = `${server}/${repository}/releases/download/v${version}/${name}`;
  const [archive, sum] = await Promise.all([fetched(url), fetched(`${url}.sha256`)]);
  const expected = sum.toString("utf8").trim().split(/\s+/)[0];
  const actual = createHash("sha256").update(archive).digest("hex");
  if (actual !== expected) throw new Error(`${url} has the SHA-256 ${actual}, but its .sha256 says ${expected}`);
  const directory = join(process.env.RUNNER_TEMP ?? "/tmp", "hubcap-bin");
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, name), archive);
  await run("tar", ["-xzf", name], { minutes: 1, cwd: directory });
  say(`version ${version}, SHA-256 as its release says`);
  return join(directory, "hubcap");
}

async function fetched(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(120_000) }).catch((error) => {
    throw new Error(`${url}: ${error.cause?.message ?? error.message}`);
  });
  if (!answer.ok) throw new Error(`${url} is answered with ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}
