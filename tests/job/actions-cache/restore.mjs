// actions/cache/restore, as far as workflows of the tests use it: the real library, which does all of the work there too.

import { appendFileSync } from "node:fs";
import { restoreCache } from "@actions/cache";

const input = (name) => (process.env[`INPUT_${name}`] ?? "").trim();
const lines = (name) => input(name).split("\n").map((line) => line.trim()).filter(Boolean);

const key = await restoreCache(lines("PATH"), input("KEY"), lines("RESTORE-KEYS"));
console.log(key ? `restored ${key}` : "nothing to restore");
appendFileSync(process.env.GITHUB_OUTPUT, `cache-hit=${key === input("KEY")}\ncache-matched-key=${key ?? ""}\n`);
