// Replays draws that probgen has made: nothing here is random.

const plane = record.dim === 2, BINS = 32, SPEEDS = [1, 2, 4, 8, 16, 32, 64];
const num = (v) => short(v);
const point = (x) => (plane ? `(${num(x[0])}, ${num(x[1])})` : num(x[0]));
const map = plane ? bytes(record.density) : null;
let part = null, at = 0, timer = null, picture = null;

// What all parts draw: the law, a histogram or a map with points.

function along(values, range) {
  return values.map((v, i) => [range[0] + i / (values.length - 1) * (range[1] - range[0]), v]);
}

function drawCurve(pen, f, values, ink, range = record.span[0], width = 2) {
  line(pen, along(values, range).map(([x, y]) => [f.x(x), f.y(y)]), ink, width);
}

function clipped(pen, f, draw) {
  pen.save();
  pen.beginPath();
  pen.rect(f.left, f.top - 1, f.width, f.height + 2);
  pen.clip();
  draw();
  pen.restore();
}

// A map of the root of the density, drawn once for each mode and put where it belongs.
function heat(pen, f) {
  const side = record.side, ink = colour("curve");
  if (!picture || picture.ink !== ink) {
    picture = document.createElement("canvas");
    picture.width = picture.height = side;
    const own = picture.getContext("2d");
    own.fillStyle = ink;
    own.fillRect(0, 0, side, side);
    const image = own.getImageData(0, 0, side, side);
    for (let i = 0; i < side; i++) for (let j = 0; j < side; j++)
      image.data[4 * ((side - 1 - i) * side + j) + 3] = 0.55 * map[i * side + j];
    own.putImageData(image, 0, 0);
    picture.ink = ink;
  }
  pen.drawImage(picture, f.left, f.top, f.width, f.height);
}

function planeFrame(top, w, h) {
  const f = frame(44, top, w - 60, h - top - 42, record.span[0], record.span[1]);
  heat(pen, f);
  axes(pen, f, "x1", "x2");
  return f;
}

function histogram(f, draws) {
  const [a, b] = record.span[0], counts = new Array(BINS).fill(0);
  for (const [x] of draws) if (x >= a && x < b) counts[Math.floor((x - a) / (b - a) * BINS)]++;
  pen.fillStyle = colour("curve");
  pen.globalAlpha = 0.45;
  counts.forEach((n, i) => {
    const x = a + i / BINS * (b - a), height = n * BINS / (b - a) / Math.max(draws.length, 1);
    const top = Math.max(f.y(height), f.top);
    pen.fillRect(f.x(x) + 0.5, top, f.width / BINS - 1, f.top + f.height - top);
  });
  pen.globalAlpha = 1;
  clipped(pen, f, () => drawCurve(pen, f, record.density, colour("ink"), record.span[0], 1.5));
  axes(pen, f, "x", "share of the draws so far, and the density", false);
}

const peak = (values) => 1.12 * Math.max(...values);
let pen = null;

function onLine(ys, name, withY) {
  const w = $("stage").clientWidth, h = $("stage").clientHeight;
  const upper = frame(44, 24, w - 60, 0.54 * h - 40, record.span[0], ys);
  const lower = frame(44, 0.54 * h + 40, w - 60, 0.46 * h - 82, record.span[0], [0, peak(record.density)]);
  axes(pen, upper, "", name, withY);
  return [upper, lower];
}

function arrow(from, to, ink) {
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]), length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (length < 1) return;
  line(pen, [from, to], ink, 2);
  const wing = (turn) => [to[0] - 8 * Math.cos(angle + turn), to[1] - 8 * Math.sin(angle + turn)];
  line(pen, [wing(0.45), to, wing(-0.45)], ink, 2);
}

// Inverse transform: up to u, across to the CDF, down to x.

function fromCdf(f, values, range, u, x, xName) {
  clipped(pen, f, () => drawCurve(pen, f, values, colour("curve"), range));
  axes(pen, f, xName, "u");
  arrow([f.left, f.y(u)], [f.x(x), f.y(u)], colour("second"));
  arrow([f.x(x), f.y(u)], [f.x(x), f.top + f.height], colour("second"));
  dot(pen, f.left, f.y(u), colour("second"), 5);
}

const inverse = {
  name: "Inverse transform",
  about: plane
    ? "A uniform number goes across to the CDF of the first coordinate and down to its quantile. A second one does the same on the CDF of the second coordinate given the first."
    : "A uniform number u goes across to the CDF F and down to its quantile x = F⁻¹(u): then x has the CDF F. Every number makes a draw.",
  key: [["second", "the number u and the way to its draw"], ["curve", plane ? "CDFs, and draws" : "CDF, and draws"]],
  draw(now) {
    const w = $("stage").clientWidth, h = $("stage").clientHeight, made = now.x.slice(0, at);
    if (plane) {
      const half = (w - 92) / 2, top = 0.3 * h - 20;
      const f = planeFrame(0.3 * h + 50, w, h);
      if (at) {
        const [u, x] = [now.u[at - 1], now.x[at - 1]];
        fromCdf(frame(44, 22, half - 10, top, record.span[0], [0, 1]), now.cdf, record.span[0], u[0], x[0], "x1");
        fromCdf(frame(66 + half, 22, half - 10, top, record.span[1], [0, 1]), now.given[at - 1], record.span[1], u[1], x[1], "x2, given x1");
      }
      clipped(pen, f, () => made.forEach((x) => dot(pen, f.x(x[0]), f.y(x[1]), colour("ink"), 2)));
      if (at) ring(pen, f.x(made[at - 1][0]), f.y(made[at - 1][1]), colour("second"));
      return;
    }
    const [upper, lower] = onLine([0, 1], "u", true);
    histogram(lower, made);
    if (at) fromCdf(upper, now.cdf, record.span[0], now.u[at - 1][0], now.x[at - 1][0], "");
    else clipped(pen, upper, () => drawCurve(pen, upper, now.cdf, colour("curve")));
  },
  say: (now, k) => `u = ${point(now.u[k])} → x = ${point(now.x[k])}`,
};

// Rejection: points under the envelope, of which those below p stay.

const rejection = {
  name: "Rejection",
  about: "Proposals fall evenly under the envelope M q. Those below p stay, and are exact draws; the others are thrown away.",
  key: [["good", "accepted (dots)"], ["bad", "rejected (crosses)"], ["curve", "density p"],
    ...(plane ? [] : [["second", "envelope M q"]])],
  draw(now) {
    const w = $("stage").clientWidth, h = $("stage").clientHeight;
    const kept = now.x.slice(0, at).filter((_, i) => now.accepted[i]);
    const mark = (f, x, y, i) => (now.accepted[i] ? dot(pen, f.x(x), f.y(y), colour("good"), plane ? 3 : 3.5)
      : cross(pen, f.x(x), f.y(y), colour("bad"), 3));
    let f, last;
    if (plane) {
      f = planeFrame(24, w, h);
      clipped(pen, f, () => { for (let i = 0; i < at; i++) mark(f, ...now.x[i], i); });
      last = at && now.x[at - 1];
    } else {
      const [upper, lower] = onLine([0, peak(now.hat)], "height", false);
      f = upper;
      clipped(pen, f, () => {
        drawCurve(pen, f, now.hat, colour("second"));
        drawCurve(pen, f, record.density, colour("curve"));
        for (let i = 0; i < at; i++) mark(f, now.x[i][0], now.height[i], i);
      });
      histogram(lower, kept);
      last = at && [now.x[at - 1][0], now.height[at - 1]];
    }
    const inside = (v, [a, b]) => Math.min(Math.max(v, a), b);  // who fell beyond the frame is at its edge
    if (last) ring(pen, f.x(inside(last[0], f.xs)), f.y(inside(last[1], f.ys)), colour("ink"), 8);
  },
  say(now, k) {
    const accepted = now.accepted.slice(0, k + 1).reduce((a, b) => a + b, 0);
    return `x = ${point(now.x[k])}: u = ${num(now.u[k])} is ${now.accepted[k] ? "below" : "not below"} `
      + `p/(M q) = ${num(now.ratio[k])}, ${now.accepted[k] ? "accepted" : "rejected"}; so far ${accepted} of ${k + 1} accepted`;
  },
};

// A Metropolis walk: a proposal near by, accepted or not; who is refused stays, and is counted again.

const walk = {
  name: "Metropolis walk",
  about: "From where it is, the walk looks at a proposal near by. It goes there with probability min(1, ratio of the densities), else it stays, and its place counts once more.",
  key: [["good", "proposal, accepted"], ["bad", "proposal, refused (cross)"], ["ink", "where the walk is"]],
  draw(now) {
    const w = $("stage").clientWidth, h = $("stage").clientHeight, been = now.x.slice(1, at + 1);
    let f, place;
    if (plane) {
      f = planeFrame(24, w, h);
      place = (x) => [f.x(x[0]), f.y(x[1])];
    } else {
      const [upper, lower] = onLine([0, peak(record.density)], "density", false);
      f = upper;
      const [a, b] = record.span[0], height = (x) => {
        const t = (x - a) / (b - a) * (record.density.length - 1), i = Math.floor(t);
        if (i < 0 || i >= record.density.length - 1) return 0;
        return record.density[i] + (t - i) * (record.density[i + 1] - record.density[i]);
      };
      place = (x) => [f.x(x[0]), f.y(height(x[0]))];
      histogram(lower, been);
    }
    clipped(pen, f, () => {
      if (plane) {
        for (let i = 0; i < at; i++) if (!now.accepted[i]) cross(pen, ...place(now.proposal[i]), colour("bad"), 2);
        line(pen, now.x.slice(Math.max(0, at - 40), at + 1).map(place), colour("soft"), 1);
        been.forEach((x) => dot(pen, ...place(x), colour("ink"), 2));
      } else drawCurve(pen, f, record.density, colour("curve"));
      if (at) {
        const ink = colour(now.accepted[at - 1] ? "good" : "bad"), to = place(now.proposal[at - 1]);
        arrow(place(now.x[at - 1]), to, ink);
        if (now.accepted[at - 1]) dot(pen, ...to, ink, 5); else cross(pen, ...to, ink, 6);
      }
      ring(pen, ...place(now.x[at]), colour("ink"), 8, 2.5);
    });
  },
  say(now, k) {
    const accepted = now.accepted.slice(0, k + 1).reduce((a, b) => a + b, 0);
    return `from ${point(now.x[k])} to ${point(now.proposal[k])}? Accepted with probability ${num(now.chance[k])}: `
      + `${now.accepted[k] ? "it goes" : "it stays"}; so far ${accepted} of ${k + 1} accepted`;
  },
};

const PARTS = { inverse, rejection, walk };
const steps = () => (part === "walk" ? record.walk.proposal : record[part].x).length;

function draw() {
  pen = fresh($("stage"));
  PARTS[part].draw(record[part]);
  $("said").textContent = at ? `Step ${at} of ${steps()}: ${PARTS[part].say(record[part], at - 1)}.`
    : `Before the first of ${steps()} steps: press Play or Step.`;
}

function goTo(step) {
  at = Math.min(Math.max(step, 0), steps());
  if (at === steps()) stop();
  draw();
}

function stop() {
  clearInterval(timer);
  timer = null;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
  $("said").setAttribute("aria-live", "polite");
}

function play() {
  if (at === steps()) at = 0;
  clearInterval(timer);
  timer = setInterval(() => goTo(at + 1), 1000 / SPEEDS[+$("speed").value]);
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
  $("said").setAttribute("aria-live", "off");
}

function choose(name) {
  part = name;
  stop();
  for (const tab of $("parts").children) tab.setAttribute("aria-selected", String(tab.dataset.part === name));
  $("about").textContent = PARTS[name].about;
  $("key").replaceChildren(...PARTS[name].key.map(([ink, text]) => {
    const entry = document.createElement("span"), swatch = document.createElement("span");
    swatch.textContent = "■ ";
    swatch.style.color = `var(--${ink})`;
    swatch.setAttribute("aria-hidden", "true");
    entry.append(swatch, text);
    return entry;
  }));
  goTo(0);
}

for (const name of Object.keys(PARTS).filter((name) => record[name])) {
  const tab = document.createElement("button");
  Object.assign(tab, { type: "button", id: `part-${name}`, textContent: PARTS[name].name });
  tab.setAttribute("role", "tab");
  tab.dataset.part = name;
  tab.addEventListener("click", () => choose(name));
  $("parts").append(tab);
}
$("play").addEventListener("click", () => (timer === null ? play() : stop()));
$("step").addEventListener("click", () => { stop(); goTo(at + 1); });
$("back").addEventListener("click", () => { stop(); goTo(at - 1); });
$("again").addEventListener("click", () => { stop(); goTo(0); });
$("speed").addEventListener("input", () => { if (timer !== null) play(); });
redrawn(draw);
choose($("parts").firstElementChild.dataset.part);
