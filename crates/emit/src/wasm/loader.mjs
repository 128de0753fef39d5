// Loads SIMD_FILE in browsers and Node.js: `const net = await load(); const scores = net.run(pixels)`.
// Written by onebit, the same for every network but for the names of its files.

/**
 * What a value is. In arrays, `bits` are a Uint8Array in which element i is bit i % 8 of byte i / 8 (least significant
 * first; 1 is +1, 0 is -1; spare bits of an input are ignored, those of an answer are 0), `levels(k)` a Uint8Array of
 * codes, `int` an Int32Array and `real` a Float32Array, in row-major order with channels last.
 * @typedef {Uint8Array | Int32Array | Float32Array} Elements
 * @typedef {{name: string, kind: string, shape: number[], length: number}} Value
 */

/** `i8x16.popcnt` in a module that does nothing else. */
const PROBE = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

/** Whether this engine has vectors of 128 bits. */
export function hasSimd() {
  return WebAssembly.validate(new Uint8Array(PROBE));
}

/**
 * Loads a network.
 * @param {WebAssembly.Module | ArrayBuffer | ArrayBufferView | URL | string} [source] a module, its bytes or its
 *   address; without it the file beside this one that fits the engine.
 * @returns {Promise<Network>}
 */
export async function load(source) {
  const beside = () => new URL(hasSimd() ? "./SIMD_FILE" : "./SCALAR_FILE", import.meta.url);
  const module = await compile(source ?? beside());
  return new Network(module, await WebAssembly.instantiate(module, {}));
}

async function compile(source) {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  const url = new URL(source, import.meta.url);
  if (url.protocol === "file:" && typeof process !== "undefined") {
    const { readFile } = await import("node:fs/promises");
    return WebAssembly.compile(await readFile(url));
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status}; check the address`);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** A network that is ready to run. */
export class Network {
  #run;
  #input;
  #output;
  #kept = new Map();

  /**
   * @param {WebAssembly.Module} module
   * @param {WebAssembly.Instance} instance
   */
  constructor(module, instance) {
    const [section] = WebAssembly.Module.customSections(module, "onebit");
    if (!section) throw new Error("this WebAssembly module has no section `onebit`; load one that onebit wrote");
    const { name, input, output, values } = JSON.parse(new TextDecoder().decode(section));
    const { memory, run } = instance.exports;
    this.#run = run;
    this.#input = view(memory, input);
    this.#output = view(memory, output);
    for (const value of values) this.#kept.set(value.name, view(memory, value));
    const about = ({ name, kind, shape }, { length }) => ({ name, kind, shape, length });
    /** @type {string} the Program's name */
    this.name = name;
    /** @type {Value} */
    this.input = about(input, this.#input);
    /** @type {Value} */
    this.output = about(output, this.#output);
    /** @type {Value[]} what `value` can read: nothing unless the network was emitted to keep values */
    this.values = values.map((value) => about(value, this.#kept.get(value.name)));
    /** @type {WebAssembly.Memory} */
    this.memory = memory;
  }

  /**
   * Runs the network on one image.
   * @param {Elements} input of `this.input`'s kind and length
   * @param {Elements} [output] where to write the answer; without it a new array
   * @returns {Elements} the answer, of `this.output`'s kind and length
   */
  run(input, output = new this.#output.constructor(this.#output.length)) {
    check("input", input, this.#input);
    check("output", output, this.#output);
    this.#input.set(input);
    this.#run();
    output.set(this.#output);
    return output;
  }

  /**
   * A copy of a value of the last run, by its layer's name, or `@input`.
   * @param {string} name
   * @returns {Elements}
   */
  value(name) {
    const kept = this.#kept.get(name);
    if (!kept) throw new RangeError(`no value \`${name}\` is kept; kept are: ${[...this.#kept.keys()].join(", ") || "none"}`);
    return kept.slice();
  }
}

/** The elements of a value in memory. */
function view(memory, { kind, shape, address }) {
  const n = shape.reduce((product, size) => product * size, 1);
  if (kind === "int") return new Int32Array(memory.buffer, address, n);
  if (kind === "real") return new Float32Array(memory.buffer, address, n);
  return new Uint8Array(memory.buffer, address, kind === "bits" ? Math.ceil(n / 8) : n);
}

function check(what, array, { constructor, length }) {
  // Uint8ClampedArray is what a canvas has.
  const fits = array instanceof constructor || (constructor === Uint8Array && array instanceof Uint8ClampedArray);
  if (!fits) throw new TypeError(`the ${what} must be a ${constructor.name}`);
  if (array.length !== length) throw new RangeError(`the ${what} has ${array.length} elements and must have ${length}`);
}
