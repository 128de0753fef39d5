// Microseconds of one inference in Node.js: `node bench/wasm/time.mjs DIR NAME [NAME..]`.
//
// Reads what `onebit emit wasm MODEL -o DIR` wrote, and times both variants on the first 1,000 images of MNIST's test
// split, which ONEBIT_DATA has (mnist/t10k-images-idx3-ubyte, plain or with .gz). Every batch of 10 images gives one
// figure; the median and the least of 2,000 batches after 1,000 are printed, as one JSON object.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

const N_IMAGES = 1000;
const BATCH = 10;
const N_WARM = 1000;
const N_BATCHES = 2000;

const [folder, ...names] = process.argv.slice(2);
if (names.length === 0) {
  console.error("give the folder of emitted files and the names of networks in it");
  process.exit(2);
}

function images() {
  const path = join(process.env.ONEBIT_DATA ?? "data", "mnist/t10k-images-idx3-ubyte");
  const bytes = existsSync(path) ? readFileSync(path) : gunzipSync(readFileSync(`${path}.gz`));
  return Array.from({ length: N_IMAGES }, (_, i) => new Uint8Array(bytes.subarray(16 + 784 * i, 16 + 784 * (i + 1))));
}

function time(net, inputs) {
  const output = net.run(inputs[0]);
  const figures = [];
  for (let batch = 0; batch < N_WARM + N_BATCHES; batch++) {
    const first = (batch * BATCH) % N_IMAGES;
    const start = process.hrtime.bigint();
    for (let i = 0; i < BATCH; i++) net.run(inputs[first + i], output);
    const nanoseconds = Number(process.hrtime.bigint() - start);
    if (batch >= N_WARM) figures.push(nanoseconds / BATCH / 1000);
  }
  figures.sort((a, b) => a - b);
  const round = (x) => Number(x.toFixed(2));
  return { median_us: round(figures[N_BATCHES / 2]), least_us: round(figures[0]) };
}

const inputs = images();
const results = [];
for (const name of names) {
  const { load } = await import(pathToFileURL(resolve(folder, `${name}.mjs`)));
  for (const [variant, file] of [["simd", `${name}.wasm`], ["scalar", `${name}.scalar.wasm`]]) {
    const bytes = readFileSync(join(folder, file));
    results.push({ network: name, variant, bytes: bytes.length, ...time(await load(bytes), inputs) });
  }
}
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
console.log(JSON.stringify({
  what: "emitted WebAssembly in Node.js: microseconds of one inference, one image at a time, one thread",
  command: `node bench/wasm/time.mjs DIR ${names.join(" ")}`,
  date: new Date().toISOString().slice(0, 10),
  cpu: cpus()[0].model,
  node: process.version,
  v8: process.versions.v8,
  commit,
  results,
}, null, 2));
