// The map of a model's codes beside what it decodes to.

const [height, width] = record.shape, pixels = height * width;
const [low, high] = record.grey, codes = record.codes, dim = codes[0].length;
const data = bytes(record.data), STRIP = 9;
let across = 0, upwards = 1, start = 0, end = Math.min(1, codes.length - 1), nearest = 0, map = null;
let code = codes[0].slice();

// Decoders: from a grid of decoded pictures, or by the operations of the model's own decoder.

function ofGrid(grid) {
  const stored = bytes(grid.values), n = grid.n, step = (grid.high - grid.low) / 255;
  const place = (z, k) => {
    const [a, b] = grid.ranges[k], t = Math.min(Math.max((z[k] - a) / (b - a), 0), 1) * (n - 1);
    const i = Math.min(Math.floor(t), n - 2);
    return [i, t - i];
  };
  return (z) => {
    const [i, s] = place(z, 0), [j, t] = place(z, 1), out = new Float32Array(pixels);
    for (const [row, column, share] of [[j, i, (1 - t) * (1 - s)], [j, i + 1, (1 - t) * s],
      [j + 1, i, t * (1 - s)], [j + 1, i + 1, t * s]]) {
      const from = (row * n + column) * pixels;
      for (let p = 0; p < pixels; p++) out[p] += share * stored[from + p];
    }
    return out.map((v) => grid.low + v * step);
  };
}

const sigmoid = (v) => 1 / (1 + Math.exp(-v));
const MAPS = {
  sigmoid, tanh: Math.tanh, exp: Math.exp, expm1: Math.expm1, log: Math.log, log1p: Math.log1p, abs: Math.abs,
  sqrt: Math.sqrt, asinh: Math.asinh, relu: (v) => Math.max(v, 0), silu: (v) => v * sigmoid(v), neg: (v) => -v,
  reciprocal: (v) => 1 / v, softplus: (v, beta, top) => (v * beta > top ? v : Math.log1p(Math.exp(v * beta)) / beta),
  elu: (v, alpha, scale, rate) => scale * (v > 0 ? v : alpha * Math.expm1(v * rate)),
  leaky_relu: (v, slope) => (v > 0 ? v : slope * v),
  log_sigmoid: (v) => Math.min(v, 0) - Math.log1p(Math.exp(-Math.abs(v))),
};
const PAIRS = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b, pow: Math.pow,
  max: Math.max, min: Math.min, lt: (a, b) => +(a < b), gt: (a, b) => +(a > b), le: (a, b) => +(a <= b),
  ge: (a, b) => +(a >= b), eq: (a, b) => +(a === b),
};

function each(n, f) {
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) out[i] = f(i);
  return out;
}

function ofProgram(program) {
  const floats = new Float32Array(bytes(program.floats).buffer);
  const places = new Int32Array(bytes(program.places).buffer);
  const run = {
    constant: (o) => floats.subarray(o.at, o.at + o.n),
    take: (o, v) => each(o.n, (i) => v[o.x][places[o.at + i]]),
    map(o, v) {
      const x = v[o.x], f = MAPS[o.f], [a, b, c] = o.numbers;
      return each(x.length, (i) => f(x[i], a, b, c));
    },
    pair(o, v) {
      const x = v[o.x], y = v[o.y], f = PAIRS[o.f];
      return each(x.length, (i) => f(x[i], y[i]));
    },
    where: (o, v) => each(v[o.c].length, (i) => (v[o.c][i] ? v[o.x][i] : v[o.y][i])),
    reduce(o, v) {
      const out = new Float64Array(o.n).fill(o.f === "sum" ? 0 : -Infinity);
      for (let i = 0; i < o.n; i++) for (let k = 0; k < o.width; k++) {
        const a = v[o.x][i * o.width + k];
        out[i] = o.f === "sum" ? out[i] + a : Math.max(out[i], a);
      }
      return out;
    },
    linear(o, v) {
      const out = new Float64Array(o.rows * o.n);
      for (let r = 0; r < o.rows; r++) for (let i = 0; i < o.n; i++) {
        let total = o.b < 0 ? 0 : floats[o.b + i];
        for (let k = 0; k < o.m; k++) total += floats[o.w + i * o.m + k] * v[o.x][r * o.m + k];
        out[r * o.n + i] = total;
      }
      return out;
    },
  };
  return (z) => {
    const values = [Float64Array.from(z)];
    for (const op of program.ops) values.push(run[op.op](op, values));
    return values[program.result];
  };
}

const decode = record.decoder.kind === "grid" ? ofGrid(record.decoder) : ofProgram(record.decoder);

// How far the page is from the model: at codes at which the model itself has decoded.
function difference() {
  const known = new Float32Array(bytes(record.checks.values).buffer);
  let largest = 0, total = 0;
  record.checks.codes.forEach((z, i) => decode(z).forEach((v, p) => {
    const gap = Math.abs(v - known[i * pixels + p]) / (high - low);
    largest = Math.max(largest, gap);
    total += gap;
  }));
  return { largest, mean: total / (record.checks.codes.length * pixels), codes: record.checks.codes.length };
}

// Pictures: one canvas pixel for each pixel, in the grey scale of the data.

function show(canvas, pictures) {
  const n = pictures.length;
  canvas.width = n * width + (n - 1);
  canvas.height = height;
  canvas.style.aspectRatio = `${canvas.width} / ${height}`;
  const pen = canvas.getContext("2d"), image = pen.createImageData(canvas.width, height);
  pictures.forEach((picture, k) => {
    for (let p = 0; p < pixels; p++) {
      const at = 4 * (Math.floor(p / width) * canvas.width + k * (width + 1) + p % width);
      const grey = Math.round(255 * Math.min(Math.max((picture[p] - low) / (high - low), 0), 1));
      image.data[at] = image.data[at + 1] = image.data[at + 2] = grey;
      image.data[at + 3] = 255;
    }
  });
  pen.putImageData(image, 0, 0);
}

function own(i) {
  return Float32Array.from(data.subarray(i * pixels, (i + 1) * pixels), (v) => low + v / 255 * (high - low));
}

const between = (t) => codes[start].map((a, k) => a + t * (codes[end][k] - a));

// The map.

function range(k) {
  return record.decoder.kind === "grid" ? record.decoder.ranges[k] : record.ranges[k];
}

function drawMap() {
  const canvas = $("map"), pen = fresh(canvas), w = canvas.clientWidth, h = canvas.clientHeight;
  map = frame(42, 22, w - 56, h - 66, range(across), range(upwards));
  axes(pen, map, `z${across + 1}`, `z${upwards + 1}`);
  const at = (z) => [map.x(z[across]), map.y(z[upwards])];
  pen.save();
  pen.beginPath();
  pen.rect(map.left, map.top, map.width, map.height);
  pen.clip();
  pen.globalAlpha = 0.75;
  codes.forEach((z, i) => dot(pen, ...at(z), record.colours[record.labels[i]], 3));
  pen.globalAlpha = 1;
  line(pen, [at(codes[start]), at(codes[end])], colour("ink"), 1.5);
  ring(pen, ...at(codes[start]), colour("ink"), 5);
  ring(pen, ...at(codes[end]), colour("ink"), 8);
  pen.font = "bold 15px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  if (record.names.length > 1) record.names.forEach((name, c) => {
    const mine = codes.filter((_, i) => record.labels[i] === c);
    const middle = [across, upwards].map((k) => mine.map((z) => z[k]).sort((a, b) => a - b)[mine.length >> 1]);
    const [x, y] = [map.x(middle[0]), map.y(middle[1])];
    pen.strokeStyle = colour("paper");
    pen.strokeText(name, x, y);
    pen.fillStyle = colour("ink");
    pen.fillText(name, x, y);
  });
  const [x, y] = at(code);
  line(pen, [[x - 14, y], [x + 14, y]], colour("ink"), 1.5);
  line(pen, [[x, y - 14], [x, y + 14]], colour("ink"), 1.5);
  pen.restore();
}

function findNearest() {
  const [x, y] = [map.x(code[across]), map.y(code[upwards])];
  let least = Infinity;
  codes.forEach((z, i) => {
    const d = (map.x(z[across]) - x) ** 2 + (map.y(z[upwards]) - y) ** 2;
    if (d < least) [least, nearest] = [d, i];
  });
}

function draw() {
  drawMap();
  findNearest();
  show($("picture"), [decode(code)]);
  show($("datum"), [own(nearest)]);
  show($("again"), [decode(codes[nearest])]);
  const label = record.names.length > 1 ? `, labelled ${record.names[record.labels[nearest]]}` : "";
  $("said").textContent = `z${across + 1} = ${short(code[across])}, z${upwards + 1} = ${short(code[upwards])}; `
    + `nearest: datum ${nearest + 1}${label}`;
  for (const input of document.querySelectorAll("#sliders input")) {
    input.value = code[input.dataset.k];
    input.nextElementSibling.textContent = short(code[input.dataset.k]);
    input.parentElement.hidden = +input.dataset.k === across || +input.dataset.k === upwards;
  }
}

function drawStrip() {
  show($("strip"), Array.from({ length: STRIP }, (_, i) => decode(between(i / (STRIP - 1)))));
}

function pointTo(x, y) {
  const inside = (v, [a, b]) => Math.min(Math.max(v, a), b);
  code[across] = inside(x, range(across));
  code[upwards] = inside(y, range(upwards));
  draw();
}

// What the reader does.

$("map").addEventListener("pointermove", (e) => {
  if (e.pointerType === "mouse" || e.buttons) pointTo(map.backX(e.offsetX), map.backY(e.offsetY));
});
$("map").addEventListener("pointerdown", (e) => pointTo(map.backX(e.offsetX), map.backY(e.offsetY)));
$("map").addEventListener("keydown", (e) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
  if (!way) return;
  e.preventDefault();
  const step = (k) => (range(k)[1] - range(k)[0]) / (e.shiftKey ? 10 : 50);
  pointTo(code[across] + way[0] * step(across), code[upwards] + way[1] * step(upwards));
});
$("start").addEventListener("click", () => { start = nearest; drawStrip(); draw(); });
$("end").addEventListener("click", () => { end = nearest; drawStrip(); draw(); });
$("go").addEventListener("click", () => { code = codes[nearest].slice(); draw(); });
$("place").addEventListener("input", (e) => { code = between(+e.target.value); draw(); });
if (dim > 2) {
  $("choice").hidden = $("further").hidden = false;
  for (const [id, set] of [["across", (k) => { across = k; }], ["upwards", (k) => { upwards = k; }]]) {
    for (let k = 0; k < dim; k++) $(id).add(new Option(`z${k + 1}`, k));
    $(id).value = id === "across" ? 0 : 1;
    $(id).addEventListener("change", (e) => { set(+e.target.value); draw(); });
  }
  for (let k = 0; k < dim; k++) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "range", min: range(k)[0], max: range(k)[1], step: "any" });
    input.dataset.k = k;
    input.addEventListener("input", () => { code[k] = +input.value; draw(); });
    label.append(`z${k + 1}`, input, document.createElement("output"));
    $("sliders").append(label);
  }
}
redrawn(draw);
draw();
drawStrip();
const found = difference();
$("error").textContent = `${record.how} At ${found.codes} codes of the data the page differs from the model's own decoder by `
  + `${(100 * found.mean).toPrecision(2)} % of the grey scale on average, ${(100 * found.largest).toPrecision(2)} % at most.`;
$("error").dataset.largest = found.largest;
