// The token under the lens: where it meets others, and one head's arithmetic down to a single pair of tokens.

import { data, state, change, onChange, pair, tokenIn, tokenOf, windowAround, attentionRow, moveBy } from "./state.js";
import {
  sheet,
  greyImage,
  cells,
  signedCells,
  gridLines,
  seam,
  frame,
  framePair,
  outline,
  digits,
  pointable,
  rolledImage,
  ramp,
  alpha,
  COLORS,
} from "./draw.js";
import { say, make, makeFigure, percent, signed, announce } from "./text.js";
import { regionLabels } from "./swin.js";
import { attentionMap, chooseToken } from "./walk.js";
import { place } from "./picture.js";

const PARTS = ["product", "bias", "mask", "score", "weight"];
const MASKED = -50; // a score below has been masked: -100 was added
const SIGNS = { bias: "+", mask: "+", score: "=", weight: "→" };
const lensFigures = {};
const matrixFigures = {};
const sums = { rows: [] };
const cellsOfPair = {};

const chosenBlock = () => state.intact.blocks[state.block];

export function startLens() {
  startRadios();
  const where = document.getElementById("where");
  for (const name of ["window", "shifted", "rolled", "row"]) {
    const part = (lensFigures[name] = makeFigure({ tabindex: "0", role: "application" }));
    where.append(part.figure);
    const moved = () => (name === "rolled" ? shiftShown() : 0);
    const grid = () => chosenBlock().grid;
    pointable(part.canvas, {
      grid,
      at: () => moveBy(tokenIn(grid()), -moved(), grid()),
      choose: (at) => chooseToken(moveBy(at, moved(), grid()), grid()),
      hover: (at) => {
        if (at === null) return change({ over: null });
        change({ over: { query: tokenIn(grid()), key: moveBy(at, moved(), grid()) } });
      },
    });
  }
  startMatrices();
  onChange(drawLens);
}

/** The shift that the three pictures of windows show: the block's own, or that of the SW-MSA block of its stage. */
function shiftShown() {
  return state.block < data.config.depths[0] ? state.intact.blocks[1].shift : 0;
}

function startRadios() {
  const radios = (host, name, count, choose) => {
    for (let number = 0; number < count; number++) {
      const input = make("input", { type: "radio", name, value: number, class: "hidden" });
      input.addEventListener("change", () => choose(number));
      document.getElementById(host).append(make("label", {}, input, String(number + 1)));
    }
  };
  const heads = Math.max(...data.config.num_heads);
  radios("blocks", "block", state.intact.blocks.length, (block) => {
    change({ block, key: null, over: null, head: Math.min(state.head, state.intact.blocks[block].heads - 1) });
  });
  radios("heads", "head", heads, (head) => change({ head, key: null }));
}

function drawLens() {
  const block = chosenBlock();
  const { grid, heads } = block;
  document.getElementById("lens-title").textContent = say("lens.title", place());
  document.querySelectorAll("#blocks input").forEach((input, number) => {
    input.checked = number === state.block;
    const kind = state.intact.blocks[number].shift ? "SW-MSA" : "W-MSA";
    input.setAttribute("aria-label", say("lens.block.label", { number: number + 1, kind }));
  });
  document.querySelectorAll("#heads input").forEach((input, number) => {
    input.checked = number === state.head;
    input.parentElement.hidden = number >= heads;
    input.setAttribute("aria-label", say("lens.head.label", { number: number + 1 }));
  });
  drawWhere(block, grid);
  drawSums(block);
  drawPair(block);
  drawMatrices(block);
}

/** The window, the shifted window, the rolled map with its labels, and the attention on the picture. */
function drawWhere(block, grid) {
  const [h, w] = grid;
  const { M } = block;
  const shift = shiftShown();
  const token = tokenIn(grid);
  const image = greyImage(state.pixels);
  const marks = pair();
  const plain = windowAround({ grid, M, shift: 0 }, token);
  const moved = windowAround({ grid, M, shift }, token);
  const labels = regionLabels(h, w, shift);
  const at = (l) => moveBy(l, -shift, grid);
  const dim = (context) => {
    context.drawImage(image, 0, 0, w, h);
    context.fillStyle = "#00000055";
    context.fillRect(0, 0, w, h);
  };

  let context = sheet(lensFigures.window.canvas, h, w);
  dim(context);
  fill(context, h, w, plain.tokens, COLORS.wmsa);
  gridLines(context, h, w, M);
  outline(context, h, w, plain.tokens, COLORS.wmsa);
  framePair(context, w, marks);

  context = sheet(lensFigures.shifted.canvas, h, w);
  dim(context);
  fill(context, h, w, moved.tokens, COLORS.swmsa);
  gridLines(context, h, w, M, shift);
  outline(context, h, w, moved.tokens, COLORS.swmsa);
  framePair(context, w, marks);

  context = sheet(lensFigures.rolled.canvas, h, w);
  rolledImage(context, image, h, w, shift);
  cells(context, h, w, (l) => COLORS.regions[labels[l]] + alpha(0.42));
  gridLines(context, h, w, M);
  seam(context, h, w, shift);
  digits(context, h, w, (l) => labels[l]);
  outline(context, h, w, moved.tokens.map(at), COLORS.swmsa);
  framePair(context, w, { query: at(marks.query), key: marks.key === null ? null : at(marks.key) });

  attentionMap(sheet(lensFigures.row.canvas, h, w), state.block);

  const facts = { window: plain.window + 1, shifted: moved.window + 1, label: labels[at(token)], head: state.head + 1 };
  for (const name of Object.keys(lensFigures)) {
    const { canvas, caption, figure } = lensFigures[name];
    figure.hidden = shift === 0 && (name === "shifted" || name === "rolled");
    const key = shift === 0 && name === "window" ? "where.whole" : `where.${name}`;
    caption.innerHTML = say(key, facts);
    canvas.setAttribute("aria-label", `${caption.textContent} ${say("map.keys")}`);
  }
  const split = moved.tokens.some((l) => labels[at(l)] !== labels[at(token)]);
  const hint = state.block !== 1 ? "" : split ? say("where.split", facts) : say("where.one");
  document.getElementById("where-hint").textContent = hint;
}

function fill(context, h, w, tokens, color) {
  const inside = new Set(tokens);
  cells(context, h, w, (l) => (inside.has(l) ? color + alpha(0.4) : null));
}

/** One token's row of numbers in one head: what is added up, and what softmax makes of it. Each (m). */
function partsOf(block, head, window, i) {
  const { m, heads, scale, bias, mask, scores } = block;
  const q = vector(block, 0, head, window, i);
  const product = Array.from({ length: m }, (_, j) => {
    const k = vector(block, 1, head, window, j);
    return scale * q.reduce((sum, value, e) => sum + value * k[e], 0);
  });
  const start = ((window * heads + head) * m + i) * m;
  return {
    product,
    bias: bias.subarray((head * m + i) * m, (head * m + i + 1) * m),
    mask: mask ? mask.subarray((window * m + i) * m, (window * m + i + 1) * m) : new Float32Array(m),
    score: scores.subarray(start, start + m),
    weight: attentionRow(block, head, window, i),
  };
}

/** Query (part 0), key (1) or value (2) of one token in one head: (d). */
function vector({ qkv, m, heads, d }, part, head, window, token) {
  const start = (((window * m + token) * 3 + part) * heads + head) * d;
  return qkv.subarray(start, start + d);
}

/** For every head a row of small maps: q·k/√d + bias + mask = score → weight. */
function drawSums(block) {
  const { M, heads } = block;
  const { query, key } = pair();
  const { window, i, tokens } = windowAround(block, query);
  const host = document.getElementById("sums");
  if (sums.rows.length !== heads) buildSums(host, heads);
  PARTS.forEach((part, n) => {
    sums.names[n].replaceChildren(
      make("b", {}, say(`sums.${part}`)),
      make("small", {}, say(part === "mask" && !block.mask ? "sums.mask.none" : `sums.${part}.small`)),
    );
  });
  const all = sums.rows.map((_, head) => partsOf(block, head, window, i));
  const sizes = (part) => all.flatMap((parts) => [...parts[part]].filter((value) => value > MASKED).map(Math.abs));
  const largest = { product: Math.max(...sizes("product")), bias: Math.max(...sizes("bias")) };
  largest.score = Math.max(...sizes("score"));
  sums.rows.forEach(({ row, name, canvases }, head) => {
    row.classList.toggle("here", head === state.head);
    name.textContent = say("lens.head.label", { number: head + 1 });
    PARTS.forEach((part, n) => {
      const values = all[head][part];
      const context = sheet(canvases[n], M, M);
      if (part === "weight") cells(context, M, M, (j) => ramp("weights", values[j] / Math.max(...values)));
      else if (part === "mask") cells(context, M, M, (j) => (values[j] < 0 ? COLORS.masked : "#ffffff"));
      else {
        cells(context, M, M, (j) =>
          values[j] < MASKED ? COLORS.masked : ramp("signed", 0.5 + values[j] / (2 * largest[part])),
        );
      }
      frame(context, Math.floor(i / M), i % M, COLORS.query, 2);
      const j = tokens.indexOf(key);
      if (j >= 0) frame(context, Math.floor(j / M), j % M, COLORS.K, 2);
      const value = j < 0 ? "" : part === "weight" ? percent(values[j]) : signed(values[j]);
      canvases[n].setAttribute("aria-label", say("sums.label", { part: say(`sums.${part}`), head: head + 1, value }));
    });
  });
}

function buildSums(host, heads) {
  host.replaceChildren();
  sums.names = PARTS.map(() => make("div"));
  host.append(make("div", { class: "sum names" }, make("span", { class: "name" }), ...sums.names));
  sums.rows = Array.from({ length: heads }, (_, head) => {
    const name = make("span", { class: "name" });
    const canvases = PARTS.map((part) => {
      const canvas = make("canvas", part === "weight" ? { tabindex: "0", role: "application" } : { role: "img" });
      const places = () => windowAround(chosenBlock(), tokenIn(chosenBlock().grid)).tokens;
      pointable(canvas, {
        grid: () => [chosenBlock().M, chosenBlock().M],
        at: () => Math.max(places().indexOf(pair().key), 0),
        choose: (j) => choosePair(tokenIn(chosenBlock().grid), places()[j], head),
        hover: (j) => change({ over: j === null ? null : { query: tokenIn(chosenBlock().grid), key: places()[j] } }),
      });
      return canvas;
    });
    const boxes = canvases.map((canvas, n) =>
      make("div", SIGNS[PARTS[n]] ? { "data-sign": SIGNS[PARTS[n]] } : {}, canvas),
    );
    const row = make("div", { class: "sum" }, name, ...boxes);
    host.append(row);
    return { row, name, canvases };
  });
}

/** Keep a pair of tokens (numbers in the block's grid) under the lens. */
function choosePair(query, key, head = state.head) {
  const { grid } = chosenBlock();
  change({ token: tokenOf(query, grid), key, head, over: null });
  requestAnimationFrame(() => announce(document.getElementById("pair-words").textContent)); // once it is written
}

/** One pair's arithmetic: query, key, their products, and the sum that becomes a weight. */
function drawPair(block) {
  const host = document.getElementById("pair");
  const { query, key } = pair();
  const { window, i, tokens } = windowAround(block, query);
  const j = tokens.indexOf(key);
  const at = (l) => `(${Math.floor(l / block.grid[1])}, ${l % block.grid[1]})`;
  if (!cellsOfPair.q) buildPair(host);
  const words = document.getElementById("pair-words");
  const equation = host.querySelector(".equation");
  if (j < 0) {
    equation.textContent = "";
    words.textContent = say("pair.none", { query: at(query), key: key === null ? "" : at(key) });
    return;
  }
  const head = Math.min(state.head, block.heads - 1);
  const [q, k] = [vector(block, 0, head, window, i), vector(block, 1, head, window, j)];
  const products = q.map((value, e) => value * k[e]);
  const parts = partsOf(block, head, window, i);
  const largest = {
    qk: Math.max(...q.map(Math.abs), ...k.map(Math.abs)),
    product: Math.max(...products.map(Math.abs)),
  };
  const sum = products.reduce((total, value) => total + value, 0);
  const draw = (name, values, most, text) => {
    signedCells(sheet(cellsOfPair[name].canvas, 1, values.length), 1, values.length, (e) => values[e], most);
    cellsOfPair[name].value.textContent = text;
  };
  cellsOfPair.q.name.innerHTML = `<span class="dot" style="background:${COLORS.query}"></span>${say("pair.q")} ${at(query)}`;
  cellsOfPair.k.name.innerHTML = `<span class="dot" style="background:${COLORS.K}"></span>${say("pair.k")} ${at(key)}`;
  cellsOfPair.product.name.textContent = say("pair.product");
  draw("q", q, largest.qk, "");
  draw("k", k, largest.qk, "");
  draw("product", products, largest.product, `Σ = ${signed(sum)}`);
  const terms = [`${signed(sum)} / √${block.d}`, `${plus(parts.bias[j])} ${say("pair.bias")}`];
  if (block.mask) terms.push(`${plus(parts.mask[j], 0)} ${say("pair.mask")}`);
  terms.push(`= ${signed(parts.score[j])}`, `→ softmax → ${percent(parts.weight[j])}`);
  equation.replaceChildren(...terms.flatMap((term) => [make("span", {}, term), " "]));
  const values = { query: at(query), key: at(key), weight: percent(parts.weight[j]), head: head + 1 };
  words.textContent = say(parts.mask[j] < 0 ? "pair.masked" : "pair.words", values);
}

const plus = (value, digits = 2) => `${value < 0 ? "−" : "+"} ${Math.abs(value).toFixed(digits)}`;

function buildPair(host) {
  const strips = make("div", { class: "strips" });
  for (const name of ["q", "k", "product"]) {
    const part = { name: make("span"), canvas: make("canvas", { "aria-hidden": "true" }), value: make("span") };
    cellsOfPair[name] = part;
    strips.append(part.name, part.value, part.canvas);
  }
  host.append(strips, make("p", { class: "equation" }), make("p", { id: "pair-words" }));
}

/** The window's matrices: attention and mask, each (m, m). */
function startMatrices() {
  for (const name of ["attention", "bias", "mask"]) {
    const part = (matrixFigures[name] = makeFigure({ tabindex: "0", role: "application" }));
    document.getElementById("matrices").append(part.figure);
    const size = () => chosenBlock().m;
    const tokens = () => windowAround(chosenBlock(), tokenIn(chosenBlock().grid)).tokens;
    const pairAt = (at) => ({ query: tokens()[Math.floor(at / size())], key: tokens()[at % size()] });
    pointable(part.canvas, {
      grid: () => [size(), size()],
      at: () => {
        const { query, key } = pair();
        return tokens().indexOf(query) * size() + Math.max(tokens().indexOf(key), 0);
      },
      choose: (at) => choosePair(pairAt(at).query, pairAt(at).key),
      hover: (at) => change({ over: at === null ? null : pairAt(at) }),
    });
  }
}

function drawMatrices(block) {
  const { m, mask, bias, heads } = block;
  const { window, tokens } = windowAround(block, tokenIn(block.grid));
  const head = Math.min(state.head, heads - 1);
  const start = (window * heads + head) * m * m;
  const weights = block.weights.subarray(start, start + m * m);
  const largest = Math.max(...weights);
  const biases = bias.subarray(head * m * m, (head + 1) * m * m);
  const largestBias = Math.max(...biases.map(Math.abs));
  const paint = {
    attention: (at) => ramp("weights", Math.sqrt(weights[at] / largest)),
    bias: (at) => ramp("signed", 0.5 + biases[at] / (2 * largestBias)),
    mask: (at) => (mask[window * m * m + at] < 0 ? COLORS.masked : "#ffffff"),
  };
  matrixFigures.mask.figure.hidden = !mask;
  const { query, key } = pair();
  const values = { window: window + 1, head: head + 1, m, i: tokens.indexOf(query), j: tokens.indexOf(key) };
  for (const [name, { figure, canvas, caption }] of Object.entries(matrixFigures)) {
    if (figure.hidden) continue;
    const context = sheet(canvas, m, m);
    cells(context, m, m, paint[name]);
    cross(context, m, tokens);
    caption.innerHTML = say(`matrices.${name}`, values);
    canvas.setAttribute("aria-label", `${caption.textContent} ${say("matrices.keys", values)}`);
  }
}

/** The row of the query and the cell of the pair in an (m, m) matrix. */
function cross(context, m, tokens) {
  const { query, key } = pair();
  const [i, j] = [tokens.indexOf(query), tokens.indexOf(key)];
  if (i < 0) return;
  context.strokeStyle = COLORS.query;
  context.lineWidth = 1.6 * context.px;
  context.strokeRect(0, i, m, 1);
  if (j < 0) return;
  context.strokeStyle = COLORS.K;
  context.strokeRect(j, 0, 1, m);
  frame(context, i, j, COLORS.query, 1.6);
}
