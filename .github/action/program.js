// Runs programs: npm, cargo, tar, and hubcap itself.

import { spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs a program to its end, with its output in the job's log. Rejects if it fails or takes longer than `minutes`. */
export function run(command, args, { minutes, ...options }) {
  return new Promise((resolve, reject) => {
    const name = [command, ...args.slice(0, 1)].join(" ");
    const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"], ...options });
    const timer = setTimeout(() => {
      child.kill("SIGTERM");
      reject(new Error(`${name} has not ended within ${minutes} minutes`));
    }, minutes * 60_000);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error.code === "ENOENT" ? new Error(`${command} is not installed here`) : error);
    });
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new Error(`${name} ended with ${signal ?? `exit code ${code}`}`));
    });
  });
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
    await run(binary, args, { minutes, env: { ...withoutTokens(process.env), ...env, GITHUB_OUTPUT: file } });
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

/**
 * What `hubcap up` needs to find the job's cache. It hands the token to the daemon through a pipe; no process that outlives
 * this step has it in its environment.
 */
export function cacheService(readOnly) {
  const { ACTIONS_RUNTIME_TOKEN, ACTIONS_CACHE_MODE } = process.env;
  return { ACTIONS_RUNTIME_TOKEN, ...(readOnly && ACTIONS_CACHE_MODE !== "none" ? { ACTIONS_CACHE_MODE: "read" } : {}) };
}

/** The daemon lives as long as the job and needs none of the job's tokens. */
function withoutTokens(environment) {
  const secret = /^(ACTIONS_RUNTIME_TOKEN|ACTIONS_ID_TOKEN_REQUEST_TOKEN|INPUT_.*|STATE_.*)$/;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !secret.test(name)));
}
