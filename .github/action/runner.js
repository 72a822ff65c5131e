// The runner's interface to an action: inputs, state, files, and commands on standard output. @actions/core has the same, but
// this code runs before anything is installed.

import { appendFileSync } from "node:fs";

/** An input of action.yml without surrounding spaces; empty if it is not set. */
export function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
}

/** An input with several words, separated by spaces or lines. */
export function words(name) {
  return input(name).split(/\s+/).filter(Boolean);
}

/** Saves a value for the post step. */
export function remember(name, value) {
  append("GITHUB_STATE", `${name}=${value}`);
}

/** A value that the main step saved; undefined if it did not. */
export function remembered(name) {
  return process.env[`STATE_${name}`] || undefined;
}

/** Sets `steps.<id>.outputs.<name>` for later steps. The runner drops the outputs of a post step. */
export function output(name, value) {
  append("GITHUB_OUTPUT", `${name}=${value}`);
}

/** Sets a variable for later steps. */
export function variable(name, value) {
  append("GITHUB_ENV", `${name}=${value}`);
}

/** Adds a directory to the PATH of later steps. */
export function addPath(directory) {
  append("GITHUB_PATH", directory);
}

/** Says something in the log, on one line. */
export function say(text) {
  console.log(`hubcap: ${line(text)}`);
}

/** A program's text for the log, with its lines. */
export function quoted(text) {
  return text.split("\n").map((part) => `| ${line(part)}`).join("\n");
}

/**
 * Runs `work`, code of others that writes into this process's output: the runner hears their commands, and all else is quoted. A
 * command is a text of one line; what programs print comes as bytes.
 */
export async function overheard(work) {
  const streams = [process.stdout, process.stderr];
  for (const stream of streams) {
    const write = stream.write.bind(stream);
    stream.write = (text, ...rest) => {
      const isCommand = typeof text === "string" && /^::[^\r\n]*\n$/.test(text);
      return write(`${isCommand ? line(text.trimEnd()) : quoted(String(text).replace(/\n$/, ""))}\n`, ...rest);
    };
  }
  try {
    return await work();
  } finally {
    // What is below is the stream's own.
    for (const stream of streams) delete stream.write;
  }
}

/**
 * Strangers' words may be in any text: names of images, keys of cache entries, reasons of failures. This makes one line of it, in which
 * the runner finds no command, a terminal no control character, and a reader nothing that changes the order of the others.
 */
function line(text) {
  return String(text).replace(/[\s\p{Cc}\p{Cf}]/gu, " ").replace(/##\[/g, "# #[");
}

/** Seconds since this step's process began. */
export function seconds() {
  return (performance.now() / 1000).toFixed(2);
}

/** Runs `work`, whose lines are folded in the log, under this title. Warnings among them are shown all the same. */
export async function grouped(title, work) {
  console.log(`::group::${escaped(title)}`);
  try {
    return await work();
  } finally {
    console.log("::endgroup::");
  }
}

/** Shows a warning on the job's page; the job continues. */
export function warn(text) {
  console.log(`::warning title=hubcap::${escaped(text)}`);
}

/** Shows a notice on the job's page: nothing is wrong. */
export function note(text) {
  console.log(`::notice title=hubcap::${escaped(text)}`);
}

/**
 * Runs `work`. A failure of hubcap never fails the job: an error becomes a warning that starts with `otherwise`, and the result is
 * undefined.
 */
export async function attempt(otherwise, work) {
  try {
    return await work();
  } catch (error) {
    warn(`${otherwise}: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/** Runs a step, then exits 0, even after an error that nothing catches or with open connections. */
export async function step(work) {
  process.on("uncaughtException", (error) => {
    warn(`the step has broken off, the job goes on: ${error.message}`);
    process.exit(0);
  });
  await attempt("the step has broken off, the job goes on", work);
  process.exit(0);
}

function append(file, setting) {
  const path = process.env[file];
  if (path) appendFileSync(path, `${setting.replace(/[\r\n]+/g, " ")}\n`);
}

/** A line as the value of a command: the runner decodes what follows a percent sign. */
function escaped(text) {
  return line(text).replace(/%/g, "%25");
}
