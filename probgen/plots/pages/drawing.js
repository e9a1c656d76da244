"use strict";
// What the pages share: the record, colours of the present mode, a canvas as sharp as the screen, axes.

const $ = (id) => document.getElementById(id);
const record = JSON.parse($("data").textContent);

function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

// Fit a canvas to the room it has; return its context, in units of CSS pixels, wiped clean.
function fresh(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "13px system-ui, sans-serif";
  return pen;
}

// A rectangle of the canvas with data coordinates: x to the right, y upwards.
function frame(left, top, width, height, xs, ys) {
  return {
    left, top, width, height, xs, ys,
    x: (v) => left + (v - xs[0]) / (xs[1] - xs[0]) * width,
    y: (v) => top + height - (v - ys[0]) / (ys[1] - ys[0]) * height,
    backX: (p) => xs[0] + (p - left) / width * (xs[1] - xs[0]),
    backY: (p) => ys[0] + (top + height - p) / height * (ys[1] - ys[0]),
  };
}

// Round numbers in a range: about so many, and no fewer than three.
function ticks(range, about) {
  const raw = (range[1] - range[0]) / about, power = 10 ** Math.floor(Math.log10(raw));
  const steps = [0.5, 1, 2, 5, 10].map((k) => k * power);
  function multiples(step) {
    const found = [];
    for (let k = Math.ceil(range[0] / step - 1e-9); k * step <= range[1] + 1e-9 * step; k++) found.push(k * step);
    return found;
  }
  const i = Math.max(1, steps.findIndex((step) => step >= raw)), found = multiples(steps[i]);
  return found.length < 3 ? multiples(steps[i - 1]) : found;
}

const short = (v) => (Math.abs(v) < 1e-12 ? "0" : String(+v.toPrecision(3))).replace("-", "−");

function axes(pen, f, xName, yName, withY = true) {
  pen.strokeStyle = colour("line");
  pen.fillStyle = colour("soft");
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(f.left, f.top);
  pen.lineTo(f.left, f.top + f.height);
  pen.lineTo(f.left + f.width, f.top + f.height);
  pen.stroke();
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const v of ticks(f.xs, Math.max(4, f.width / 80))) pen.fillText(short(v), f.x(v), f.top + f.height + 4);
  if (xName) pen.fillText(xName, f.left + f.width / 2, f.top + f.height + 20);
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  if (withY) for (const v of ticks(f.ys, Math.max(3, f.height / 70))) pen.fillText(short(v), f.left - 5, f.y(v));
  pen.textAlign = "left";
  pen.textBaseline = "bottom";
  if (yName) pen.fillText(yName, f.left - 30, f.top - 3);
}

function line(pen, points, ink, width = 2) {
  pen.strokeStyle = ink;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

function dot(pen, x, y, ink, radius = 4) {
  pen.fillStyle = ink;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}

function ring(pen, x, y, ink, radius = 6, width = 2) {
  pen.strokeStyle = ink;
  pen.lineWidth = width;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.stroke();
}

function cross(pen, x, y, ink, size = 4) {
  line(pen, [[x - size, y - size], [x + size, y + size]], ink, 1.8);
  line(pen, [[x - size, y + size], [x + size, y - size]], ink, 1.8);
}

// Draw again where the room or the mode has changed.
function redrawn(draw) {
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
