// The playground: strokes come in, the network's answer and its bits go out. Follows the loader in the same script.

/** Strokes as lists of points, in units of the drawing area's width. */
const strokes = [];
const SIZE = 28;
/** MNIST's digits fit into a square of 20 pixels, centred by their mass in one of 28. */
const BOX = 20;
/** Width of a stroke in pixels of the image. */
const PEN = 2.6;
/** A dot does not become a disc. */
const MOST_ENLARGED = 90;
/** Runs of a measurement; it ends even where the clock stands still. */
const [BATCH, MOST_BATCHES, MEASURED_MS] = [500, 20, 25];

const byId = (id) => document.getElementById(id);
const pad = byId("pad");
const small = document.createElement("canvas");
small.width = small.height = SIZE;
const image = small.getContext("2d", { willReadFrequently: true });
const bytes = decode(byId(hasSimd() ? "simd-module" : "scalar-module").textContent);
const net = await load(bytes);
const hidden = net.values.filter((value) => value.kind === "bits" && value.shape.length === 1);
const seen = net.values.find((value) => value.kind === "bits" && value.shape.length === 3);

function decode(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

/** Draws the strokes on a canvas, with point (x, y) at (x - left, y - top) * scale. */
function trace(context, { left, top, scale, width, colour }) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = colour;
  for (const stroke of strokes) {
    context.beginPath();
    for (const [x, y] of stroke) context.lineTo((x - left) * scale, (y - top) * scale);
    // A path of one point draws nothing, a line of no length a dot.
    if (stroke.length === 1) context.lineTo((stroke[0][0] - left) * scale, (stroke[0][1] - top) * scale);
    context.stroke();
  }
}

/** The pixels of the strokes, scaled and centred as MNIST's digits are. */
function pixels() {
  const points = strokes.flat();
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((BOX - PEN) / Math.max(right - left, bottom - top), MOST_ENLARGED);
  const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
  const at = (x, y) => {
    const place = { left: middle.x - x / scale, top: middle.y - y / scale, scale, width: PEN, colour: "#fff" };
    image.fillStyle = "#000";
    image.fillRect(0, 0, SIZE, SIZE);
    trace(image, place);
    const rgba = image.getImageData(0, 0, SIZE, SIZE).data;
    return Uint8Array.from({ length: SIZE * SIZE }, (_, i) => rgba[4 * i]);
  };
  const grey = at(SIZE / 2, SIZE / 2);
  let [mass, x, y] = [0, 0, 0];
  grey.forEach((value, i) => {
    mass += value;
    x += value * ((i % SIZE) + 0.5);
    y += value * (Math.floor(i / SIZE) + 0.5);
  });
  return mass > 0 ? at(SIZE - x / mass, SIZE - y / mass) : grey;
}

/** Shows bits as squares. */
function show(canvas, bits, width, height) {
  const colour = (name) => {
    const hex = getComputedStyle(document.body).getPropertyValue(name).trim();
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  };
  const colours = [colour("--none"), colour("--bit")];
  canvas.width = width;
  canvas.height = height;
  const picture = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const bit = (bits[i >> 3] >> (i & 7)) & 1;
    picture.data.set([...colours[bit], 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

const rows = Array.from({ length: net.output.length }, (_, digit) => {
  const row = document.createElement("li");
  row.innerHTML = `<span>${digit}</span><div class="track"><div class="bar"></div></div><span class="value"></span>`;
  byId("scores").append(row);
  return row;
});
const maps = hidden.map((value) => {
  const n = value.shape[0];
  let width = Math.ceil(Math.sqrt(n));
  while (n % width !== 0) width++;
  const figure = document.createElement("figure");
  figure.innerHTML = `<canvas></canvas><figcaption>${value.name.replace(/\.sign$/, "")}: ${n}</figcaption>`;
  byId("layers").append(figure);
  return { name: value.name, canvas: figure.firstChild, width, height: n / width };
});

/** Scores go from minus to plus the number of bits that the last layer reads. */
const REACH = hidden.at(-1).shape[0];

function showAll(x, isBlank) {
  const scores = net.run(x);
  const best = scores.indexOf(Math.max(...scores));
  byId("answer").textContent = isBlank ? "?" : best;
  rows.forEach((row, digit) => {
    row.classList.toggle("best", !isBlank && digit === best);
    row.querySelector(".bar").style.width = isBlank ? "0" : `${(50 * (scores[digit] + REACH)) / REACH}%`;
    row.querySelector(".value").textContent = isBlank ? "" : scores[digit];
  });
  show(byId("seen"), net.value(seen.name), SIZE, SIZE);
  for (const { name, canvas, width, height } of maps) {
    show(canvas, isBlank ? new Uint8Array(width * height) : net.value(name), width, height);
  }
}

function redraw() {
  const context = pad.getContext("2d");
  context.clearRect(0, 0, pad.width, pad.height);
  const colour = getComputedStyle(document.body).color;
  trace(context, { left: 0, top: 0, scale: pad.width, width: 0.075 * pad.width, colour });
  const isBlank = strokes.length === 0;
  showAll(isBlank ? new Uint8Array(SIZE * SIZE) : pixels(), isBlank);
}

/** The time of one run: the least of several batches, each long enough for a browser's coarse clock. */
function measure() {
  const x = strokes.length === 0 ? new Uint8Array(SIZE * SIZE) : pixels();
  const out = new Int32Array(net.output.length);
  let least = Infinity;
  const end = performance.now() + MEASURED_MS;
  for (let batch = 0; batch < MOST_BATCHES && performance.now() < end; batch++) {
    const start = performance.now();
    for (let i = 0; i < BATCH; i++) net.run(x, out);
    least = Math.min(least, (1000 * (performance.now() - start)) / BATCH);
  }
  byId("time").textContent = `${least.toFixed(least < 10 ? 1 : 0)} µs`;
}

let active = null;
function point(event) {
  const { left, top, width } = pad.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / width];
}
pad.addEventListener("pointerdown", (event) => {
  if (active !== null || event.button !== 0) return;
  active = event.pointerId;
  try {
    pad.setPointerCapture(active);
  } catch {
    // An event made by a script has no pointer to capture.
  }
  strokes.push([point(event)]);
  redraw();
});
pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== active) return;
  strokes.at(-1).push(point(event));
  redraw();
});
for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, (event) => {
    if (event.pointerId !== active) return;
    active = null;
    measure();
  });
}
function clear() {
  strokes.length = 0;
  redraw();
}
byId("clear").addEventListener("click", clear);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") clear();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

byId("network").textContent = [SIZE * SIZE, ...hidden.map((value) => value.shape[0]), rows.length].join(", ");
byId("size").textContent = `${(bytes.length / 1000).toFixed(1)} kB, ${hasSimd() ? "SIMD" : "scalar"}`;
redraw();
measure();
document.body.dataset.ready = "yes";
