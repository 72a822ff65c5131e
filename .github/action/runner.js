// What the runner gives an action (inputs, state, files) and takes from it (commands on standard output). The same
// few things are in @actions/core, but they are needed before anything has been installed.

import { appendFileSync } from "node:fs";

/** An input of action.yml, without the spaces around it; empty when it was not given. */
export function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
}

/** An input that holds several words, parted by spaces or lines. */
export function words(name) {
  return input(name).split(/\s+/).filter(Boolean);
}

/** For the post step. */
export function remember(name, value) {
  append("GITHUB_STATE", `${name}=${value}`);
}

/** What the main step remembered; undefined when it did not come so far. */
export function remembered(name) {
  return process.env[`STATE_${name}`] || undefined;
}

/** For later steps: `steps.<id>.outputs.<name>`. The runner drops those of a post step. */
export function output(name, value) {
  append("GITHUB_OUTPUT", `${name}=${value}`);
}

/** Later steps find the programs in this directory. */
export function addPath(directory) {
  append("GITHUB_PATH", directory);
}

export function say(text) {
  console.log(`hubcap: ${text}`);
}

/** Shown at the job's page; the job goes on. */
export function warn(text) {
  console.log(`::warning title=hubcap::${escaped(text)}`);
}

/** Shown at the job's page, as something that is as it should be. */
export function note(text) {
  console.log(`::notice title=hubcap::${escaped(text)}`);
}

/**
 * A job never fails because of hubcap: what goes wrong in `work` becomes a warning that begins with `otherwise`, and
 * undefined comes back.
 */
export async function attempt(otherwise, work) {
  try {
    return await work();
  } catch (error) {
    warn(`${otherwise}: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/** Runs a step to its end. Exits with 0 whatever happens, and though connections are still open. */
export async function step(work) {
  await attempt("the step has broken off, the job goes on", work);
  process.exit(0);
}

function append(file, line) {
  const path = process.env[file];
  if (path) appendFileSync(path, `${line.replace(/[\r\n]+/g, " ")}\n`);
}

function escaped(text) {
  return String(text).replace(/%/g, "%25").replace(/\r/g, "%0D").replace(/\n/g, "%0A");
}
