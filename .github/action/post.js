// After the job's last step, whatever came of them: unwire dockerd, stop hubcap, save the store when it has changed.

import { existsSync, readFileSync } from "node:fs";
import { empty, save } from "./carrier.js";
import { hubcap } from "./program.js";
import { attempt, input, note, output, remembered, say, step } from "./runner.js";

/** Compared with what was restored rather than with what down says, because a step may have called down before. */
function unchanged(path, content, changed) {
  const restored = remembered("restored");
  if (restored) return restored === content;
  return remembered("kept") ? changed !== "true" : empty(path);
}

await step(async () => {
  const binary = remembered("binary");
  if (!binary) return say("it was not started, there is nothing to do");
  process.chdir(process.env.GITHUB_WORKSPACE ?? ".");

  // A job that broke off has not used all that the next one needs: its store is kept whole.
  const complete = input("job-status") === "success";
  const args = ["down", ...JSON.parse(remembered("flags")), `--trim=${complete}`];
  if (remembered("restored-in")) args.push("--restored-in", remembered("restored-in"));
  const images = remembered("images");
  if (images && existsSync(images)) say(`what came of the input images:\n${readFileSync(images, "utf8")}`);
  const told = await attempt("hubcap did not end as it should, and nothing is saved", () =>
    hubcap(binary, args, { minutes: 4 }),
  );
  if (!told) return;
  output("changed", told.changed ?? "false");
  output("bytes-saved", told["bytes-saved"] ?? "0");

  const [path, prefix, content] = [remembered("path"), remembered("prefix"), told.key];
  if (!remembered("started") || !prefix) return say("there was no cache or no hubcap in this job, nothing is saved");
  if (input("save") === "false") return say("nothing is saved, as the input save says");
  if (!content) return note("nothing is saved: hubcap down gave no key");
  if (unchanged(path, content, told.changed)) return say("nothing has changed, nothing is saved");
  await attempt("the store is not saved", () => save({ path, prefix, content }));
});
