// Runs a WebAssembly program that was built for WASI: `node wasi.mjs PROGRAM [ARGUMENTS]`.
//
// In: the module's path, then its arguments. Out: its standard streams and its exit code. The
// program sees the environment, and no files.

import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const args = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args, env: process.env });
const module = await WebAssembly.compile(await readFile(args[0]));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
process.exitCode = wasi.start(instance);
