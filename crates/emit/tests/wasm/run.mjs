// Runs emitted networks: `node run.mjs FOLDER`.
//
// In: in FOLDER, cases.json, a list of {name, images}, each with NAME.mjs and its modules, and inputs.bin, the images
// of all of them one after the other. Out: in FOLDER, outputs.bin: for each network, each variant and each image the
// answer, then what else is kept, in the order of kept.json, a list of lists of names.

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const file = (name) => new URL(name, folder);
const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const ARRAYS = { int: Int32Array, real: Float32Array };

const cases = JSON.parse(await readFile(file("cases.json"), "utf8"));
const inputs = await readFile(file("inputs.bin"));
const outputs = [];
const kept = [];
let next = 0;
for (const { name, images } of cases) {
  const { load } = await import(file(`${name}.mjs`));
  const start = next;
  for (const variant of [`${name}.wasm`, `${name}.scalar.wasm`]) {
    const bytes = await readFile(file(variant));
    const module = await WebAssembly.compile(bytes);
    const net = await load(module);
    // What an earlier run may leave behind the constants.
    const { input: { value: first } } = (await WebAssembly.instantiate(module)).exports;
    new Uint8Array(net.memory.buffer).fill(0xa5, first);
    const Elements = ARRAYS[net.input.kind] ?? Uint8Array;
    next = start;
    for (let image = 0; image < images; image++) {
      const input = new Elements(net.input.length);
      bytesOf(input).set(inputs.subarray(next, next + input.byteLength));
      next += input.byteLength;
      outputs.push(bytesOf(net.run(input)));
      for (const value of net.values) outputs.push(bytesOf(net.value(value.name)));
    }
    if (variant === `${name}.wasm`) kept.push(net.values.map((value) => value.name));
  }
}
if (next !== inputs.length) throw new Error(`${inputs.length - next} bytes of input are left`);
await writeFile(file("outputs.bin"), Buffer.concat(outputs));
await writeFile(file("kept.json"), JSON.stringify(kept));
