// Runs a WebAssembly program that was built for WASI: `node wasi.mjs PROGRAM [ARGUMENTS]`.
//
// In: the module's path, then its arguments. Out: its standard streams and its exit code. The
// program sees the environment, and no files.

import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const args = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args, env: process.env });
const module = await WebAssembly.compile(await readFile(args[0]));
// V8 calls Node's functions by a short cut on which a garbage collection ends Node with a
// segmentation fault (nodejs/node#46777); functions of JavaScript's own are called the long way.
const imports = {};
for (const [name, call] of Object.entries(wasi.getImportObject().wasi_snapshot_preview1)) {
  imports[name] = (...words) => call(...words);
}
const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: imports });
process.exitCode = wasi.start(instance);
