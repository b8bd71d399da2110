// Draws the map of a collection on a canvas: move, zoom, hover, colour by a field, choose points to search from.

import { ask } from "./session.js";

const $ = (id) => document.getElementById(id);
const canvas = $("map");
const context = canvas.getContext("2d");
const tip = canvas.parentElement.querySelector(".tip");
// Told apart also by those who do not see red and green; the last is for the rest.
const COLOURS = ["#0b8a8a", "#d98b1e", "#7a5fb0", "#c2477f", "#4f8f3a", "#3b74c4", "#a3662c", "#8a8f90"];
const CELL = 0.02; // of the grid that finds the point under the pointer

const state = { map: null, colours: null, view: { x: 0, y: 0, scale: 1 }, hover: -1, found: new Set(), chosen: new Set(), grid: new Map() };

/** Groups of a field, the greatest seven by name, the rest together. */
function groupsOf(field) {
  const { map } = state;
  if (field === "length") {
    const edges = [100, 200, 400, 800];
    const names = ["under 100", "100 to 199", "200 to 399", "400 to 799", "800 and more"];
    return { names, of: map.lengths.map((length) => edges.filter((edge) => length >= edge).length) };
  }
  const values = field === "organism" ? map.organisms : map.names.map(() => "");
  const counts = new Map();
  for (const value of values) if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
  const names = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLOURS.length - 1).map(([name]) => name);
  const place = new Map(names.map((name, at) => [name, at]));
  return { names: [...names, "other"], of: values.map((value) => place.get(value) ?? names.length) };
}

function colour() {
  const groups = groupsOf($("colour").value);
  const last = COLOURS.length - 1;
  const colourOf = (at) => (groups.names[at] === "other" ? COLOURS[last] : COLOURS[at % last]);
  state.colours = groups.of.map(colourOf);
  // The greatest groups lie on top.
  state.order = Uint32Array.from(groups.of.keys()).sort((a, b) => groups.of[b] - groups.of[a]);
  $("legend").replaceChildren(
    ...groups.names.map((name, at) => {
      const item = document.createElement("span");
      const dot = document.createElement("i");
      dot.style.background = colourOf(at);
      item.append(dot, name);
      return item;
    }),
  );
  draw();
}

const toScreen = (x, y) => {
  const { width, height } = canvas;
  const half = Math.min(width, height) / 2.1;
  const { view } = state;
  return [width / 2 + (x - view.x) * half * view.scale, height / 2 - (y - view.y) * half * view.scale];
};

const toMap = (left, top) => {
  const { width, height } = canvas;
  const half = Math.min(width, height) / 2.1;
  const { view } = state;
  return [(left - width / 2) / half / view.scale + view.x, (height / 2 - top) / half / view.scale + view.y];
};

let isDrawing = false;
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    paint();
  });
}

/**
 * Squares of `size` pixels, each over what is there already. Pixels are blended here: a call to the canvas for each of tens of
 * thousands of points takes longer than a frame.
 */
function paintPoints(size, opacity) {
  const { map, order, colours } = state;
  const { width, height } = canvas;
  if (state.image?.width !== width || state.image?.height !== height) state.image = context.createImageData(width, height);
  const pixels = state.image.data.fill(0);
  let last = "";
  let red, green, blue;
  for (const at of order) {
    const place = toScreen(map.x[at], map.y[at]);
    const [left, top] = [Math.round(place[0] - size / 2), Math.round(place[1] - size / 2)];
    const [right, bottom] = [Math.min(left + size, width), Math.min(top + size, height)];
    if (right <= 0 || bottom <= 0 || left >= width || top >= height) continue;
    if (colours[at] !== last) {
      last = colours[at];
      [red, green, blue] = [1, 3, 5].map((from) => parseInt(last.slice(from, from + 2), 16));
    }
    for (let y = Math.max(top, 0); y < bottom; y++) {
      for (let x = Math.max(left, 0); x < right; x++) {
        const to = 4 * (y * width + x);
        const beneath = pixels[to + 3] / 255;
        const covered = opacity + beneath * (1 - opacity);
        const share = opacity / covered;
        pixels[to] += (red - pixels[to]) * share;
        pixels[to + 1] += (green - pixels[to + 1]) * share;
        pixels[to + 2] += (blue - pixels[to + 2]) * share;
        pixels[to + 3] = covered * 255;
      }
    }
  }
  context.putImageData(state.image, 0, 0);
}

function paint() {
  const { map, found, chosen, hover } = state;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!map || !canvas.width || !canvas.height) return;
  const ratio = devicePixelRatio || 1;
  const size = Math.round(Math.max(2, Math.min(8, Math.sqrt(state.view.scale) * (map.ids.length > 5000 ? 2 : 3.5))) * ratio);
  const isDim = found.size > 0;
  paintPoints(size, isDim ? 0.15 : 0.75);
  const ink = getComputedStyle(canvas).color;
  const ring = (at, width) => {
    const [left, top] = toScreen(map.x[at], map.y[at]);
    context.beginPath();
    context.arc(left, top, size + 2 * ratio, 0, 2 * Math.PI);
    context.fillStyle = state.colours[at];
    context.fill();
    context.lineWidth = width * ratio;
    context.strokeStyle = ink;
    context.stroke();
  };
  for (const at of found) ring(at, 0.5);
  for (const at of chosen) ring(at, 2);
  if (hover >= 0) ring(hover, 2);
  if (state.box) {
    const { left, top, width, height } = state.box;
    context.strokeStyle = ink;
    context.lineWidth = ratio;
    context.strokeRect(left, top, width, height);
  }
}

function fit() {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  draw();
}

const cellOf = (value) => Math.floor(value / CELL);

function buildGrid() {
  const { map, grid } = state;
  grid.clear();
  map.x.forEach((x, at) => {
    const key = cellOf(x) + ":" + cellOf(map.y[at]);
    if (!grid.has(key)) grid.set(key, []);
    grid.get(key).push(at);
  });
}

/** The point nearest to a place on the screen, or -1. */
function pointAt(left, top) {
  const { map, grid } = state;
  if (!map) return -1;
  const [x, y] = toMap(left, top);
  const reach = Math.max(1, Math.ceil(0.012 / state.view.scale / CELL));
  let best = -1;
  let least = (0.02 / state.view.scale) ** 2;
  for (let i = cellOf(x) - reach; i <= cellOf(x) + reach; i++) {
    for (let j = cellOf(y) - reach; j <= cellOf(y) + reach; j++) {
      for (const at of grid.get(i + ":" + j) ?? []) {
        const distance = (map.x[at] - x) ** 2 + (map.y[at] - y) ** 2;
        if (distance < least) [least, best] = [distance, at];
      }
    }
  }
  return best;
}

const place = (event) => {
  const ratio = devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
};

function zoom(factor, left = canvas.width / 2, top = canvas.height / 2) {
  const [x, y] = toMap(left, top);
  state.view.scale = Math.min(200, Math.max(0.5, state.view.scale * factor));
  const [x2, y2] = toMap(left, top);
  state.view.x += x - x2;
  state.view.y += y - y2;
  draw();
}

function describe(at) {
  const { map } = state;
  const gene = map.genes[at] ? ` (${map.genes[at]})` : "";
  return `${map.ids[at]}${gene} ${map.names[at]}${map.organisms[at] ? ", " + map.organisms[at] : ""}`;
}

function choose(points) {
  state.chosen = new Set(points);
  const list = document.createElement("ul");
  for (const at of points.slice(0, 50)) {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = "/?" + new URLSearchParams({ q: state.map.ids[at], by: "id", in: $("collection").value });
    link.textContent = state.map.ids[at];
    item.append(link, describe(at).slice(state.map.ids[at].length));
    list.append(item);
  }
  const head = document.createElement("h2");
  head.textContent = points.length === 1 ? "Search from this record" : `${points.length} records chosen`;
  $("chosen").replaceChildren(...(points.length ? [head, list] : []));
  draw();
}

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  drag = { from: place(event), view: { ...state.view }, isBox: event.shiftKey, moved: false };
});
canvas.addEventListener("pointermove", (event) => {
  const [left, top] = place(event);
  if (drag) {
    const [dx, dy] = [left - drag.from[0], top - drag.from[1]];
    drag.moved ||= Math.hypot(dx, dy) > 4;
    if (drag.isBox) {
      state.box = { left: Math.min(left, drag.from[0]), top: Math.min(top, drag.from[1]), width: Math.abs(dx), height: Math.abs(dy) };
    } else {
      const half = (Math.min(canvas.width, canvas.height) / 2.1) * state.view.scale;
      state.view.x = drag.view.x - dx / half;
      state.view.y = drag.view.y + dy / half;
    }
    draw();
    return;
  }
  const at = pointAt(left, top);
  if (at !== state.hover) {
    state.hover = at;
    tip.hidden = at < 0;
    if (at >= 0) tip.textContent = describe(at);
    draw();
  }
  const ratio = devicePixelRatio || 1;
  tip.style.left = Math.min(left / ratio + 12, canvas.clientWidth - 200) + "px";
  tip.style.top = top / ratio + 12 + "px";
});
canvas.addEventListener("pointerup", (event) => {
  const [left, top] = place(event);
  if (drag?.isBox && drag.moved) {
    const { box, map } = state;
    const isIn = (at) => {
      const [x, y] = toScreen(map.x[at], map.y[at]);
      return x >= box.left && x <= box.left + box.width && y >= box.top && y <= box.top + box.height;
    };
    choose([...map.ids.keys()].filter(isIn));
  } else if (drag && !drag.moved) {
    const at = pointAt(left, top);
    choose(at < 0 ? [] : [at]);
  }
  drag = null;
  state.box = null;
  draw();
});
canvas.addEventListener("pointerleave", () => {
  state.hover = -1;
  tip.hidden = true;
  draw();
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), ...place(event));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = 0.1 / state.view.scale;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (event.key in moves) {
    state.view.x += moves[event.key][0];
    state.view.y += moves[event.key][1];
    draw();
  } else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else return;
  event.preventDefault();
});
$("reset").addEventListener("click", () => {
  state.view = { x: 0, y: 0, scale: 1 };
  draw();
});
$("find").addEventListener("input", () => {
  const word = $("find").value.trim().toLowerCase();
  const { map } = state;
  state.found = new Set();
  if (word && map) {
    map.ids.forEach((id, at) => {
      if (describe(at).toLowerCase().includes(word)) state.found.add(at);
    });
    $("told").textContent = `${state.found.size} of ${map.ids.length} found`;
  }
  draw();
});

async function load() {
  const name = $("collection").value;
  if (!name) return;
  Object.assign(state, { map: null, hover: -1, found: new Set(), chosen: new Set(), view: { x: 0, y: 0, scale: 1 } });
  $("chosen").replaceChildren();
  $("told").textContent = "Laying out the map\u2026";
  for (;;) {
    const response = await ask(`/v1/collections/${encodeURIComponent(name)}/map`);
    if (name !== $("collection").value) return;
    if (response.status !== 202) {
      if (!response.ok) {
        $("told").textContent = (await response.json()).detail ?? "The map could not be had.";
        return;
      }
      state.map = await response.json();
      break;
    }
    await new Promise((later) => setTimeout(later, 700));
  }
  const { map } = state;
  $("told").textContent = map.ids.length < map.n_records ? `${map.ids.length} of ${map.n_records} records, evenly spread` : `${map.ids.length} records`;
  const fields = [["length", map.lengths.some((length) => length > 0)], ["organism", map.organisms.some((name) => name)]];
  $("colour").replaceChildren(...fields.filter(([, has]) => has).map(([name]) => new Option(name, name)));
  if (!$("colour").options.length) $("colour").append(new Option("one colour", "none"));
  buildGrid();
  colour();
}

$("collection").addEventListener("change", load);
$("colour").addEventListener("change", colour);
new ResizeObserver(fit).observe(canvas);
fit();
load();
