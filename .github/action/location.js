// Where the store is: in the workspace, or where the input `store` says.

import { homedir } from "node:os";
import { resolve } from "node:path";
import { input } from "./runner.js";

/**
 * The path as the workflow has it. GitHub's cache finds an entry only under the same text, so `~` stays in it: machines may have
 * different home directories.
 */
export function given() {
  const path = input("store") || process.env.HUBCAP_STORE || ".hubcap";
  return path.replace(/^\$(RUNNER_TEMP|\{RUNNER_TEMP\})(?=\/|$)/, () => process.env.RUNNER_TEMP ?? "/tmp");
}

/** The directory that a path means. A relative one is in the workspace. */
export function directory(path) {
  return resolve(process.env.GITHUB_WORKSPACE ?? ".", path.replace(/^~(?=\/|$)/, () => homedir()));
}
