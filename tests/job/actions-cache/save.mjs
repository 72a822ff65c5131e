// actions/cache/save, as far as workflows of the tests use it: the real library, which does all of the work there too.

import { saveCache } from "@actions/cache";

const path = process.env.INPUT_PATH.split("\n").map((line) => line.trim()).filter(Boolean);
const id = await saveCache(path, process.env.INPUT_KEY);
console.log(id === -1 ? "nothing is saved" : `saved ${process.env.INPUT_KEY}`);
