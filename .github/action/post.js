// After the job's last step, even if a step failed: restores dockerd's files, stops hubcap, saves the store if it has changed.

import { existsSync, readFileSync } from "node:fs";
import { empty, save } from "./carrier.js";
import { hubcap } from "./program.js";
import { attempt, input, note, output, quoted, remembered, say, step } from "./runner.js";

/** Whether there is nothing to save: the store is as it was restored or kept, or there is none. */
function unchanged(path, changed) {
  return remembered("restored") || remembered("kept") ? changed !== "true" : empty(path);
}

await step(async () => {
  const binary = remembered("binary");
  if (!binary) return say("it was not started, there is nothing to do");
  process.chdir(process.env.GITHUB_WORKSPACE ?? ".");

  // A failed job may not have used every image that the next one needs, so its store is not trimmed.
  const complete = input("job-status") === "success";
  const args = ["down", ...JSON.parse(remembered("flags")), `--trim=${complete}`];
  // Compare with the restored store. At the start it did not exist yet, or an earlier `down` of this job has changed it.
  if (remembered("restored")) args.push("--since", remembered("restored"));
  if (remembered("restored-in")) args.push("--restored-in", remembered("restored-in"));
  const images = remembered("images");
  if (images && existsSync(images)) say(`what came of the input images:\n${quoted(readFileSync(images, "utf8"))}`);
  const told = await attempt("hubcap did not end as it should, and nothing is saved", () =>
    hubcap(binary, args, { minutes: 4 }),
  );
  if (!told) return;
  output("changed", told.changed ?? "false");
  output("bytes-saved", told["bytes-saved"] ?? "0");

  // What is carried one by one was saved by hubcap, which has said what became of it.
  if (remembered("contents")) return;
  const [path, prefix, content] = [remembered("path"), remembered("prefix"), told.key];
  if (!remembered("started") || !prefix) return say("there was no cache or no hubcap in this job, nothing is saved");
  if (input("save") === "false") return say("nothing is saved, as the input save says");
  if (!content) return note("nothing is saved: hubcap down gave no key");
  if (unchanged(path, told.changed)) return say("nothing has changed, nothing is saved");
  await attempt("the store is not saved", () => save({ path, prefix, content }));
});
