// After the job's last step, even if a step failed: restores dockerd's files, stops hubcap, saves the store if it has changed.

import { existsSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { empty, save } from "./carrier.js";
import { hubcap, showLog } from "./program.js";
import { attempt, grouped, input, note, output, quoted, remembered, say, seconds, step, warn } from "./runner.js";

/** Whether there is nothing to save: the store is as it was restored or kept, or there is none. */
function unchanged(path, changed) {
  return remembered("restored") || remembered("kept") ? changed !== "true" : empty(path);
}

/** The flags of `up`. A machine of GitHub's is thrown away after the job: a restart would take seconds for nothing. */
function flags() {
  const ofUp = JSON.parse(remembered("flags"));
  if (process.env.RUNNER_ENVIRONMENT !== "github-hosted") return ofUp;
  return [...ofUp.filter((flag) => flag !== "--restart"), "--no-restart"];
}

/** Says what became of the input images: `hubcap pull` has written a line for each. A failure is a warning. */
async function tellImages(log) {
  if (!log || !existsSync(log)) return;
  const text = readFileSync(log, "utf8");
  await grouped("hubcap: what came of the input images", () => console.log(quoted(text.trimEnd())));
  for (const [, image, why] of text.matchAll(/^(\S+) {2}failed: (.*)$/gm)) {
    warn(`the image ${image} of the input images was not fetched: ${why}`);
  }
}

await step(async () => {
  const binary = remembered("binary");
  if (!binary) {
    output("changed", "false");
    return say("it was not started, there is nothing to do");
  }
  process.chdir(process.env.GITHUB_WORKSPACE ?? ".");

  // A failed job may not have used every image that the next one needs, so its store is not trimmed.
  const complete = input("job-status") === "success";
  const report = join(process.env.RUNNER_TEMP || tmpdir(), `hubcap-report-${process.pid}.json`);
  const args = ["down", ...flags(), `--trim=${complete}`, `--report=${report}`];
  // Compare with the restored store. At the start it did not exist yet, or an earlier `down` of this job has changed it.
  if (remembered("restored")) args.push("--since", remembered("restored"));
  await tellImages(remembered("images"));
  const told = await attempt("hubcap did not end as it should, and nothing is saved", () =>
    grouped("hubcap down", () => hubcap(binary, args, { minutes: 4 })),
  );
  if (!told || process.env.RUNNER_DEBUG === "1") await showLog(remembered("log"));
  if (!told) return;
  output("changed", (remembered("started") && told.changed) || "false");
  for (const name of ["hits", "bytes", "bytes-saved"]) output(name, told[name] ?? "0");

  await saveStore(told);
  // The last thing, so that the page counts what saving took.
  if (existsSync(report)) await attempt("there is no summary", () => summarize(binary, report));
});

/** Saves the store if it has changed. What is carried one by one was saved by hubcap, which has said what became of it. */
async function saveStore(told) {
  if (remembered("contents")) return;
  const [path, prefix, content] = [remembered("path"), remembered("prefix"), told.key];
  if (!remembered("started") || !prefix) return say("there was no cache or no hubcap in this job, nothing is saved");
  if (input("save") === "false") return say("nothing is saved, as the input save says");
  if (!content) return note("nothing is saved: hubcap down gave no key");
  if (unchanged(path, told.changed)) return say("nothing has changed, nothing is saved");
  await attempt("the store is not saved", () => save({ path, prefix, content }));
}

/** Writes the job summary, with the seconds of both steps. */
async function summarize(binary, report) {
  const start = remembered("took") ? [`--start=${remembered("took")}`] : [];
  const told = await hubcap(binary, ["summary", report, ...start, `--end=${seconds()}`], { minutes: 1 });
  rmSync(report, { force: true });
  output("seconds-saved", told["seconds-saved"] ?? "");
}
