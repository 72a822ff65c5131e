// Gets the hubcap binary: from a release of this repository, from a path, or built by cargo from the action's checkout.

import { createHash } from "node:crypto";
import { accessSync, closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "./program.js";
import { note, say } from "./runner.js";

/** The action's checkout. */
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const TARGETS = { x64: "x86_64-unknown-linux-gnu", arm64: "aarch64-unknown-linux-gnu" };

/** What an ELF file says of its processor, in `e_machine`. */
const MACHINES = { x64: 62, arm64: 183 };

/** How long the server of the releases may be silent, in milliseconds. */
const SILENCE = 10_000;

/** What a release runs on: its workflow builds it on Ubuntu 22.04. */
const NEEDS =
  "The binaries of the releases need glibc 2.34 or later, as Ubuntu 22.04, Debian 12 and RHEL 9 have it. " +
  "On other systems give the input version: source, or the path of a binary";

/**
 * Returns the path of the binary, which runs here. `version` is the action's input: empty for the release of this checkout, a
 * version, `source`, or a path, which contains a `/` and is relative to the workspace.
 */
export async function obtain(version) {
  const binary = await found(version);
  try {
    if (isForAnotherProcessor(binary)) throw new Error(`it is for another processor than this one, ${process.arch}`);
    await run(binary, ["--version"], { minutes: 1 });
  } catch (error) {
    throw new Error(`${binary} cannot run here: ${error.message}. ${NEEDS}`);
  }
  return binary;
}

/** Whether a file is an ELF for a processor other than this one. The C library would give it to a shell, as a script. */
function isForAnotherProcessor(file) {
  const header = Buffer.alloc(20);
  const open = openSync(file);
  readSync(open, header);
  closeSync(open);
  const isElf = header.subarray(0, 4).equals(Buffer.from("\x7fELF"));
  return isElf && process.arch in MACHINES && header.readUInt16LE(18) !== MACHINES[process.arch];
}

async function found(version) {
  if (version === "source") return build();
  if (version.includes("/")) {
    const path = resolve(process.env.GITHUB_WORKSPACE ?? ".", version);
    if (!existsSync(path)) throw new Error(`the input version is "${version}", and there is no file ${path}`);
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
  if (!target) {
    throw new Error(`there is no release for the processor ${process.arch}; give the input version: source, or the path of a binary`);
  }
  const repository = process.env.GITHUB_ACTION_REPOSITORY;
  if (!repository) {
    throw new Error("an action that is used by a path has no releases; give the input version: source, or the path of a binary");
  }
  const server = process.env.GITHUB_SERVER_URL || "https://github.com";
  const name = `hubcap-${target}.tar.gz`;
  const url = `${server}/${repository}/releases/download/v${version}/${name}`;
  const known = digest(version, name);
  const [archive, sum] = await Promise.all([fetched(url), known ?? fetched(`${url}.sha256`)]);
  const expected = sum.toString("utf8").trim().split(/\s+/)[0];
  const actual = createHash("sha256").update(archive).digest("hex");
  if (actual !== expected) {
    throw new Error(`${url} has the SHA-256 ${actual}, but ${known ? "this action's digests.json" : "its .sha256"} says ${expected}`);
  }
  if (!known) {
    note(
      `this action has no digest of hubcap ${version}. Its archive is as the release says, which shows a broken download, not a changed ` +
        `release. The action at v${version} has the digest.`,
    );
  }
  const directory = join(process.env.RUNNER_TEMP ?? "/tmp", "hubcap-bin");
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, name), archive);
  await run("tar", ["-xzf", name, "hubcap"], { minutes: 1, cwd: directory });
  say(`version ${version}, SHA-256 ${actual}`);
  return join(directory, "hubcap");
}

/**
 * The SHA-256 that an archive must have, by the file that lies in the action's own checkout: a release that is changed later does not
 * change it. Undefined for a version that the file does not have: one that was released after this checkout, or not yet.
 */
function digest(version, name) {
  const release = JSON.parse(readFileSync(new URL("digests.json", import.meta.url), "utf8"))[version];
  if (release && !release[name]) throw new Error(`hubcap ${version} was released without ${name}; give the input version: source`);
  return release?.[name];
}

/** The body of an answer. A server that is silent for too long is given up, before its answer or within it. */
async function fetched(url) {
  const silent = new AbortController();
  const timer = setTimeout(() => silent.abort(new Error(`no answer within ${SILENCE / 1000} s`)), SILENCE);
  try {
    const answer = await fetch(url, { signal: silent.signal });
    if (!answer.ok) throw new Error(`the answer is ${answer.status}`);
    const parts = [];
    for await (const part of answer.body) {
      timer.refresh();
      parts.push(part);
    }
    return Buffer.concat(parts);
  } catch (error) {
    throw new Error(`${url} cannot be downloaded: ${error.cause?.message ?? error.message}`);
  } finally {
    clearTimeout(timer);
  }
}
