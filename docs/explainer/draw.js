// Drawing on canvases. Everywhere the unit is one cell of a map, so a token is the square (column, row, 1, 1).

import { data, PIXELS } from "./state.js";

export const COLORS = data.colors;
const paper = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/** The context of a canvas that shows h × w cells, as sharp as the screen; one pixel of the page is `px` cells. */
export function sheet(canvas, h, w) {
  const ratio = window.devicePixelRatio || 1;
  canvas.style.aspectRatio = `${w} / ${h}`;
  const width = canvas.clientWidth || 100;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round((width * ratio * h) / w);
  const context = canvas.getContext("2d");
  context.setTransform(canvas.width / w, 0, 0, canvas.height / h, 0, 0);
  context.px = w / width;
  context.imageSmoothingEnabled = false;
  context.fillStyle = paper("--well");
  context.fillRect(0, 0, w, h);
  return context;
}

const images = new WeakMap();

/** A canvas with grey pixels (28·28), one pixel each. Made once for each picture. */
export function greyImage(pixels) {
  if (images.has(pixels)) return images.get(pixels);
  const canvas = Object.assign(document.createElement("canvas"), { width: PIXELS, height: PIXELS });
  const context = canvas.getContext("2d");
  const image = context.createImageData(PIXELS, PIXELS);
  pixels.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  context.putImageData(image, 0, 0);
  images.set(pixels, canvas);
  return canvas;
}

/** The colour of a number from 0 to 1 on one of the colour maps "weights", "heat", "signed". */
export function ramp(name, value) {
  const colors = COLORS[name];
  return colors[Math.round(Math.min(Math.max(value, 0), 1) * (colors.length - 1))];
}

/** Fill the cells of an h × w map: colorOf(place) for each, null for none. */
export function cells(context, h, w, colorOf) {
  const { imageSmoothingEnabled } = context;
  context.imageSmoothingEnabled = false;
  context.drawImage(sheetOf(h, w, colorOf), 0, 0, w, h);
  context.imageSmoothingEnabled = imageSmoothingEnabled;
}

/** A canvas with one pixel for each cell, so that no hairlines can appear between them. */
export function sheetOf(h, w, colorOf) {
  const small = Object.assign(document.createElement("canvas"), { width: w, height: h });
  const context = small.getContext("2d");
  for (let place = 0; place < h * w; place++) {
    const color = colorOf(place);
    if (!color) continue;
    context.fillStyle = color;
    context.fillRect(place % w, Math.floor(place / w), 1, 1);
  }
  return small;
}

/** Positive and negative numbers: the middle of the colour map is 0, its ends the largest. */
export function signedCells(context, h, w, valueOf, largest) {
  cells(context, h, w, (place) => ramp("signed", 0.5 + valueOf(place) / (2 * largest || 1)));
}

export function line(context, x1, y1, x2, y2, color, width, dash = []) {
  context.strokeStyle = color;
  context.lineWidth = width * context.px;
  context.setLineDash(dash.map((length) => length * context.px));
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
  context.setLineDash([]);
}

/** Lines between tokens, and thicker ones, dark on white, every M tokens from `offset` on. */
export function gridLines(context, h, w, M, offset = 0) {
  for (let row = 1; row < h; row++) line(context, 0, row, w, row, "#ffffff40", 0.6);
  for (let column = 1; column < w; column++) line(context, column, 0, column, h, "#ffffff40", 0.6);
  for (const [color, width] of [
    ["#ffffff", 3.6],
    ["#111111", 1.6],
  ]) {
    for (let row = offset; row < h; row += M) if (row > 0) line(context, 0, row, w, row, color, width);
    for (let column = offset; column < w; column += M)
      if (column > 0) line(context, column, 0, column, h, color, width);
  }
}

/** The seam of a map that was rolled by `shift`. */
export function seam(context, h, w, shift) {
  if (shift <= 0) return;
  for (const [color, width, dash] of [
    ["#ffffff", 4.5, []],
    [COLORS.seam, 2.5, [7, 5]],
  ]) {
    line(context, 0, h - shift, w, h - shift, color, width, dash);
    line(context, w - shift, 0, w - shift, h, color, width, dash);
  }
}

/** Frame one cell in `color`, inside a white and a black casing so that it shows on anything. */
export function frame(context, row, column, color, width = 2.4) {
  for (const [paint, extra] of [
    ["#000000", 3.2],
    ["#ffffff", 1.6],
    [color, 0],
  ]) {
    context.strokeStyle = paint;
    context.lineWidth = (width + extra) * context.px;
    context.strokeRect(column, row, 1, 1);
  }
}

/** Frames around the query token and the key token, numbers of tokens in a map w wide. */
export function framePair(context, w, { query, key }) {
  if (key !== undefined && key !== null) frame(context, Math.floor(key / w), key % w, COLORS.K);
  frame(context, Math.floor(query / w), query % w, COLORS.query);
}

/** Lines around a set of tokens of an h × w map. */
export function outline(context, h, w, tokens, color) {
  const inside = new Set(tokens);
  const edges = [];
  for (const l of inside) {
    const [row, column] = [Math.floor(l / w), l % w];
    if (row === 0 || !inside.has(l - w)) edges.push([column, row, column + 1, row]);
    if (row === h - 1 || !inside.has(l + w)) edges.push([column, row + 1, column + 1, row + 1]);
    if (column === 0 || !inside.has(l - 1)) edges.push([column, row, column, row + 1]);
    if (column === w - 1 || !inside.has(l + 1)) edges.push([column + 1, row, column + 1, row + 1]);
  }
  for (const [paint, width] of [
    ["#000000", 5],
    [color, 3],
  ])
    for (const edge of edges) line(context, ...edge, paint, width);
}

/** Attention over a dimmed picture: the heat of weightOf(token), 1 for the largest. */
export function attentionOnPicture(context, image, [h, w], weightOf) {
  context.drawImage(image, 0, 0, w, h);
  context.fillStyle = "#00000066";
  context.fillRect(0, 0, w, h);
  cells(context, h, w, (token) => {
    const weight = weightOf(token);
    return weight === null ? null : ramp("heat", weight) + alpha(0.25 + 0.65 * Math.sqrt(weight));
  });
}

/** A number from 0 to 1 as the last two digits of a colour. */
export const alpha = (value) =>
  Math.round(255 * Math.min(Math.max(value, 0), 1))
    .toString(16)
    .padStart(2, "0");

/** An image h × w cells large, rolled up and to the left by `by` cells. */
export function rolledImage(context, image, h, w, by) {
  for (const down of [-by, h - by]) for (const right of [-by, w - by]) context.drawImage(image, right, down, w, h);
}

/** The digit of its region on each cell: colour alone would fail one reader in twelve. */
export function digits(context, h, w, labelOf, size = 0.6) {
  context.save();
  context.font = `600 100px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let place = 0; place < h * w; place++) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    const side = context.canvas.width / w;
    context.translate(((place % w) + 0.5) * side, (Math.floor(place / w) + 0.54) * side);
    context.scale((size * side) / 100, (size * side) / 100);
    context.lineWidth = 16;
    context.strokeStyle = "#000000b0";
    context.strokeText(labelOf(place), 0, 0);
    context.fillStyle = "#ffffff";
    context.fillText(labelOf(place), 0, 0);
  }
  context.restore();
}

/**
 * Make a canvas a map of cells to point at, by pointer and by arrow keys.
 * grid() → [h, w]; at() → the place that the arrows move from; choose(place); hover(place or null).
 */
export function pointable(canvas, { grid, at, choose, hover = () => {} }) {
  const placeOf = (event) => {
    const [h, w] = grid();
    const box = canvas.getBoundingClientRect();
    const limit = (value, count) => Math.min(Math.max(Math.floor(value * count), 0), count - 1);
    return limit((event.clientY - box.top) / box.height, h) * w + limit((event.clientX - box.left) / box.width, w);
  };
  canvas.addEventListener("pointermove", (event) => hover(placeOf(event)));
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("click", (event) => choose(placeOf(event)));
  canvas.addEventListener("keydown", (event) => {
    const [h, w] = grid();
    const [row, column] = [Math.floor(at() / w), at() % w];
    const moved = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!moved) return;
    event.preventDefault();
    choose(((row + moved[0] + h) % h) * w + ((column + moved[1] + w) % w));
  });
}
