// What the page knows, and how everything learns of a change: change(…) once, and every drawing function runs again.

import { unpackWeights, standardise, bytesOf } from "./data.js";
import { SwinTransformer, softmax, windowOrder, cyclicShift } from "./swin.js";

export const data = JSON.parse(document.getElementById("data").textContent);
export const weights = unpackWeights(data.shapes, data.weights);
export const PIXELS = data.config.img_size;
const bundled = bytesOf(data.pictures);

/** Picture `number` of the bundled test pictures: (28·28) bytes. */
export const bundledPicture = (number) => bundled.slice(number * PIXELS ** 2, (number + 1) * PIXELS ** 2);
export const bundledCount = bundled.length / PIXELS ** 2;

export const state = {
  picture: 9, // number of the bundled picture; null: drawn or uploaded
  pixels: bundledPicture(9),
  drawing: false,
  step: "picture",
  block: 0,
  head: 0,
  channel: 0, // main.js starts with the one that differs most from token to token
  token: { row: 11, column: 4 }, // in the grid of the first stage
  key: null, // the other token of the pair, a number in the grid of the block; null: the one with the largest weight
  over: null, // the pair that the pointer is on: { query, key }
  breaks: new Set(),
  language: "en",
};

/** Run the model and keep everything that the page shows: one plain object, which nobody changes afterwards. */
export function run(pixels, breaks = new Set()) {
  const model = new SwinTransformer(data.config, weights, breaks);
  const start = performance.now();
  const logits = model.forward(standardise(pixels, data.statistics));
  const milliseconds = performance.now() - start;
  const blocks = model.blocks.map(({ grid, M, shift, saved, attn }) => {
    const { numHeads: heads, d, scale } = attn;
    return { grid, M, shift, heads, d, scale, m: M * M, c: heads * d, ...saved, ...attn.saved };
  });
  const probabilities = softmax(logits, logits.length);
  const answer = probabilities.indexOf(Math.max(...probabilities));
  const { patches } = model.patchEmbed.proj.saved;
  return { logits, probabilities, answer, milliseconds, patches, blocks, ...model.saved };
}

/** The channel of x (l, c) that differs most from token to token. */
export function liveliestChannel(x, c) {
  const sums = new Float64Array(c);
  const squares = new Float64Array(c);
  x.forEach((value, place) => {
    sums[place % c] += value;
    squares[place % c] += value * value;
  });
  const spread = squares.map((square, channel) => square - (sums[channel] ** 2 * c) / x.length);
  return spread.indexOf(Math.max(...spread));
}

const drawings = [];
let waiting = false;

/** Run `draw` after every change. */
export const onChange = (draw) => drawings.push(draw);

/** Change some of the state, and draw everything again at the next frame. */
export function change(changes) {
  if ("pixels" in changes) state.intact = run(changes.pixels);
  if ("pixels" in changes || "breaks" in changes) {
    const breaks = changes.breaks ?? state.breaks;
    state.broken = breaks.size ? run(changes.pixels ?? state.pixels, breaks) : state.intact;
  }
  Object.assign(state, changes);
  if (!waiting) requestAnimationFrame(drawAll);
  waiting = true;
}

function drawAll() {
  waiting = false;
  for (const draw of drawings) draw();
}

/** The window in which a token meets others: its number, the token's place in it, and the token at each place. */
export function windowAround({ grid: [H, W], M, shift }, token) {
  const home = cyclicShift(
    Int32Array.from({ length: H * W }, (_, l) => l),
    shift,
    H,
    W,
  );
  const tokens = windowOrder(M, H, W).map((place) => home[place]);
  const place = tokens.indexOf(token);
  const window = Math.floor(place / M ** 2);
  return { window, i: place % M ** 2, tokens: tokens.slice(window * M ** 2, (window + 1) * M ** 2) };
}

/** Place `at` of a map (H, W) after going `by` rows down and `by` columns right, round the edges. */
export const moveBy = (at, by, [H, W]) => ((Math.floor(at / W) + by + H) % H) * W + (((at % W) + by + W) % W);

/** The chosen token as a number in the grid (h, w) of a map that may be coarser. */
export function tokenIn([H, W]) {
  const [rows, columns] = data.config.grids[0];
  return Math.floor((state.token.row * H) / rows) * W + Math.floor((state.token.column * W) / columns);
}

/** Token number l of the grid (h, w) as { row, column } of the first stage's grid; stays where it is inside l. */
export function tokenOf(l, [H, W]) {
  if (l === tokenIn([H, W])) return state.token;
  const [rows, columns] = data.config.grids[0];
  return { row: Math.floor(l / W) * (rows / H), column: (l % W) * (columns / W) };
}

/** The weights (m) with which a token attends to the window's tokens, in one head. */
export function attentionRow(block, head, window, i) {
  const start = ((window * block.heads + head) * block.m + i) * block.m;
  return block.weights.subarray(start, start + block.m);
}

/** The pair of tokens that everything points at, as numbers in the grid of the chosen block. */
export function pair() {
  if (state.over) return state.over;
  const block = state.intact.blocks[state.block];
  const query = tokenIn(block.grid);
  const { window, i, tokens } = windowAround(block, query);
  if (state.key !== null && tokens.includes(state.key)) return { query, key: state.key };
  const row = attentionRow(block, state.head, window, i);
  return { query, key: tokens[row.indexOf(Math.max(...row))] };
}
