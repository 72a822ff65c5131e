// Runs programs: npm, cargo, tar, and hubcap itself.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { grouped, quoted } from "./runner.js";

/** How much of a program's standard error is searched for the reason of its failure, in characters. */
const TAIL = 8192;
/** How long standard error is read after the program has ended, in milliseconds: what it left running may keep it open. */
const DRAIN = 1000;
/** How many lines of the daemon's log are shown. */
const SHOWN = 200;

/**
 * Runs a program to its end, with its output quoted in the job's log and without the job's tokens. Rejects if it fails or takes longer
 * than `minutes`; the error ends with the reason that the program gave on standard error. `speaks`: it is hubcap, whose commands the
 * runner shall hear.
 */
export function run(command, args, { minutes, env = {}, speaks = false, ...options }) {
  return new Promise((resolve, reject) => {
    const name = [basename(command), ...args.slice(0, 1)].join(" ");
    const stdio = ["ignore", speaks ? "inherit" : "pipe", "pipe"];
    const child = spawn(command, args, { stdio, ...options, env: { ...withoutTokens(process.env), ...env } });
    let tail = "";
    child.stderr.on("data", (bytes) => {
      if (speaks) process.stderr.write(bytes);
      tail = (tail + bytes).slice(-TAIL);
    });
    if (!speaks) {
      for (const input of [child.stdout, child.stderr]) {
        createInterface({ input }).on("line", (text) => console.log(quoted(text)));
      }
    }
    const timer = setTimeout(() => {
      child.kill("SIGTERM");
      reject(new Error(`${name} has not ended within ${minutes} minutes`));
    }, minutes * 60_000);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(new Error(unable(command, error)));
    });
    child.on("exit", async (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve();
      await Promise.race([once(child.stderr, "close"), sleep(DRAIN)]);
      const why = reason(tail);
      reject(new Error(`${name} ended with ${signal ?? `exit code ${code}`}${why && `: ${why}`}`));
    });
  });
}

/** Why a program does not even start. */
function unable(command, { code, message }) {
  if (code === "ENOENT" && existsSync(command)) return "its loader is missing: this system has another C library";
  if (code === "ENOENT") return `${command} is not installed here`;
  return message;
}

/** The line of a program's standard error that says why it failed: the last one that says so itself, otherwise the last one. */
function reason(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  const said = lines.findLast((line) => /^(hubcap|error): /.test(line)) ?? lines.at(-1) ?? "";
  return said.replace(/^(hubcap|error): /, "");
}

/**
 * Runs hubcap and returns what it wrote to $GITHUB_OUTPUT, as an object. The file is a temporary one, so the action decides
 * which values become its outputs.
 */
export async function hubcap(binary, args, { minutes, env = {} }) {
  const directory = mkdtempSync(join(process.env.RUNNER_TEMP || tmpdir(), "hubcap-"));
  const file = join(directory, "output");
  try {
    writeFileSync(file, "");
    const { GITHUB_STEP_SUMMARY } = process.env;
    await run(binary, args, { minutes, speaks: true, env: { ...env, GITHUB_OUTPUT: file, ...(GITHUB_STEP_SUMMARY && { GITHUB_STEP_SUMMARY }) } });
    const lines = readFileSync(file, "utf8").split("\n");
    return Object.fromEntries(
      lines.filter((line) => line.includes("=")).map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Starts hubcap in the background of the job's next steps; returns the path of its log. */
export function leave(binary, args) {
  const log = join(process.env.RUNNER_TEMP || tmpdir(), `hubcap-${args[0]}.log`);
  const out = openSync(log, "w");
  spawn(binary, args, { stdio: ["ignore", out, out], detached: true, env: withoutTokens(process.env) })
    .on("error", (error) => appendFileSync(log, `${error.message}\n`))
    .unref();
  return log;
}

/** Shows the last lines of the daemon's log, folded: they say what went wrong. */
export async function showLog(path) {
  if (!path || !existsSync(path)) return;
  const lines = readFileSync(path, "utf8").trimEnd().split("\n").slice(-SHOWN);
  await grouped(`hubcap: the end of ${path}`, () => console.log(quoted(lines.join("\n"))));
}

/**
 * What `hubcap up` needs to find the job's cache. It hands the token to the daemon through a pipe; no process that outlives
 * this step has it in its environment.
 */
export function cacheService(readOnly) {
  const { ACTIONS_RUNTIME_TOKEN, ACTIONS_CACHE_MODE } = process.env;
  return { ACTIONS_RUNTIME_TOKEN, ...(readOnly && ACTIONS_CACHE_MODE !== "none" ? { ACTIONS_CACHE_MODE: "read" } : {}) };
}

/**
 * hubcap's daemon lives as long as the job; cargo runs build scripts. Neither needs the job's tokens, nor does any other program, nor
 * may it set what later steps run with.
 */
export function withoutTokens(environment) {
  const secret =
    /^(ACTIONS_RUNTIME_TOKEN|ACTIONS_ID_TOKEN_REQUEST_TOKEN|INPUT_.*|STATE_.*|GITHUB_(ENV|PATH|STATE|OUTPUT|STEP_SUMMARY))$/;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !secret.test(name)));
}
