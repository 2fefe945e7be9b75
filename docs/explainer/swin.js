// Swin Transformer, written a third time: the names of swin_numpy, in plain JavaScript.
//
// Numbers lie row by row in Float32Arrays; the comments give the shapes, in the axis names of the project:
// h w grid rows, columns · c channels · p patch side · e embedding channel · k windows · m tokens in a window ·
// a heads · d head width · i query token · j key token · l token of the whole map. One picture at a time, so no n.

/** [of(0, 0), of(0, 1), …]: a value for every row and column. */
const table = (rows, columns, of) =>
  Array.from({ length: rows * columns }, (_, place) => of(Math.floor(place / columns), place % columns));

/** The rows of x (l, c) in another order: row order[i] of x becomes row i. */
function take(x, order) {
  const c = x.length / order.length;
  const y = new x.constructor(x.length);
  order.forEach((row, i) => y.set(x.subarray(row * c, (row + 1) * c), i * c));
  return y;
}

/** The rows of x back where they were before take(…, order): row i of x becomes row order[i]. */
function put(x, order) {
  const c = x.length / order.length;
  const y = new x.constructor(x.length);
  order.forEach((row, i) => y.set(x.subarray(i * c, (i + 1) * c), row * c));
  return y;
}

/** x[i] · y[j] + x[i + 1] · y[j + 1] + …, `length` products. This is where the time goes. */
function dot(x, i, y, j, length) {
  let sum = 0;
  for (let d = 0; d < length; d++) sum += x[i + d] * y[j + d];
  return sum;
}

const add = (x, y) => x.map((value, place) => value + y[place]);

/** x Wᵀ + b. x (l, in), weight (out, in), bias (out) or undefined → (l, out). */
export function linear(x, weight, bias) {
  const outs = weight.shape[0];
  const ins = weight.data.length / outs;
  const y = new Float32Array((x.length / ins) * outs);
  for (let place = 0, row = 0; row < x.length; row += ins)
    for (let out = 0; out < outs; out++, place++)
      y[place] = dot(x, row, weight.data, out * ins, ins) + (bias ? bias.data[out] : 0);
  return y;
}

/** exp(x) / Σ exp(x) in every row of `width` numbers. x (rows, width) → same. */
export function softmax(x, width) {
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    const row = x.subarray(start, start + width);
    const largest = Math.max(...row); // subtracted first, so that exp can't overflow
    const exp = row.map((value) => Math.exp(value - largest));
    const sum = exp.reduce((total, value) => total + value, 0);
    for (let j = 0; j < width; j++) y[start + j] = exp[j] / sum;
  }
  return y;
}

/** (x - mean) / √(variance + eps) · weight + bias over the channels. x (l, c), weight (c), bias (c) → (l, c). */
export function layerNorm(x, weight, bias, eps = 1e-5) {
  const c = weight.data.length;
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += c) {
    const token = x.subarray(start, start + c);
    const mean = token.reduce((sum, value) => sum + value, 0) / c;
    const variance = token.reduce((sum, value) => sum + (value - mean) ** 2, 0) / c;
    const deviation = Math.sqrt(variance + eps);
    for (let e = 0; e < c; e++) y[start + e] = ((token[e] - mean) / deviation) * weight.data[e] + bias.data[e];
  }
  return y;
}

/** x · Φ(x), where Φ is the normal distribution function: 1 - Φ(u) is the tail beyond u. */
export const gelu = (x) => x.map((u) => (u > 0 ? u - u * normalTail(u) : u * normalTail(-u)));

/** ½ erfc(u/√2) for u >= 0, with an error below 1.2e-7 (Press et al., Numerical Recipes, erfcc). */
function normalTail(u) {
  const z = u / Math.SQRT2;
  const t = 1 / (1 + z / 2);
  const polynomial = ERFC.reduceRight((value, coefficient) => value * t + coefficient, 0);
  return (t / 2) * Math.exp(-z * z + polynomial);
}

const ERFC = `-1.26551223 1.00002368 0.37409196 0.09678418 -0.18628806
   0.27886807 -1.13520398 1.48851587 -0.82215223 0.17087277`.split(/\s+/).map(Number);

/** Which token of the map stands at each place of the windows: (h·w) token numbers in the order (kh kw) (mh mw). */
export const windowOrder = (M, H, W) =>
  table(H / M, W / M, (kh, kw) => table(M, M, (mh, mw) => (kh * M + mh) * W + (kw * M + mw))).flat();

/** Cut a map into windows that don't overlap. x (h, w, c) → (k, m, c). */
export const windowPartition = (x, M, H, W) => take(x, windowOrder(M, H, W));

/** Undo windowPartition. windows (k, m, c) → (h, w, c). */
export const windowReverse = (windows, M, H, W) => put(windows, windowOrder(M, H, W));

/** Roll the map up and left by `shift` tokens; what leaves at one side enters at the other. x (h, w, c) → same. */
export function cyclicShift(x, shift, H, W) {
  return take(x, table(H, W, (row, column) => ((row + shift + H) % H) * W + ((column + shift + W) % W)));
}

/** On which side of the seam each token of the shifted map lies: two bits, 0 to 3. Returns (h, w). */
export function regionLabels(H, W, shift) {
  return Uint8Array.from(table(H, W, (row, column) => 2 * (row >= H - shift) + (column >= W - shift)));
}

/** What SW-MSA adds to its scores: 0 where token i may look at token j, -100 where the seam parts them. (k, m, m) */
export function shiftMask(H, W, M, shift, side = regionLabels(H, W, shift)) {
  const labels = windowPartition(side, M, H, W);
  const m = M ** 2;
  const windows = table(labels.length / m, 1, (k) => labels.subarray(k * m, (k + 1) * m));
  return Float32Array.from(windows.flatMap((label) => table(m, m, (i, j) => (label[i] === label[j] ? 0 : -100))));
}

/** Which row of the bias table belongs to query i and key j. Returns (m, m). */
export function relativePositionIndex(M) {
  return table(M ** 2, M ** 2, (i, j) => {
    const rows = Math.floor(i / M) - Math.floor(j / M) + M - 1;
    const columns = (i % M) - (j % M) + M - 1;
    return rows * (2 * M - 1) + columns;
  });
}

class Linear {
  constructor(state, name) {
    this.weight = state[`${name}.weight`];
    this.bias = state[`${name}.bias`];
  }
  forward = (x) => linear(x, this.weight, this.bias);
}

class LayerNorm extends Linear {
  forward = (x) => layerNorm(x, this.weight, this.bias);
}

class Mlp {
  constructor(state, name) {
    this.fc1 = new Linear(state, `${name}.fc1`);
    this.fc2 = new Linear(state, `${name}.fc2`);
  }
  forward = (x) => this.fc2.forward(gelu(this.fc1.forward(x)));
}

/** softmax(Q Kᵀ / √d + B) V in every window. With a mask it is SW-MSA, without one W-MSA. */
export class WindowAttention {
  constructor(state, name, M, numHeads, breaks) {
    Object.assign(this, { M, numHeads, breaks });
    this.relativePositionBiasTable = state[`${name}.relative_position_bias_table`];
    this.relativePositionIndex = relativePositionIndex(M);
    this.qkv = new Linear(state, `${name}.qkv`);
    this.proj = new Linear(state, `${name}.proj`);
    this.d = this.proj.weight.shape[0] / numHeads;
    this.scale = this.d ** -0.5;
  }

  /** x (k, m, c), mask (k, m, m) or null → (k, m, c). */
  forward(x, mask) {
    const qkv = this.qkv.forward(x); // (k, m, three, a, d): q, k and v of each token side by side
    const bias = this.relativePositionBias();
    const scores = this.scores(qkv, bias, mask);
    const weights = this.breaks.has("softmax") ? softmaxOfColumns(scores, this.M ** 2) : softmax(scores, this.M ** 2);
    const z = this.weightedSum(weights, qkv);
    this.saved = { qkv, bias, mask, scores, weights, z };
    return this.proj.forward(z);
  }

  /** Where in qkv the query (part 0), key (1) or value (2) of a token begins. */
  at = (part, k, head, token) => (((k * this.M ** 2 + token) * 3 + part) * this.numHeads + head) * this.d;

  /** Q Kᵀ / √d + B + mask: qkv (k, m, three, a, d) → (k, a, i, j). */
  scores(qkv, bias, mask) {
    const { numHeads: heads, d, at, scale } = this;
    const m = this.M ** 2;
    const scores = new Float32Array((qkv.length / (3 * d)) * m);
    for (let place = 0, k = 0; place < scores.length; k++)
      for (let head = 0; head < heads; head++)
        for (let i = 0; i < m; i++)
          for (let j = 0; j < m; j++, place++) {
            const product = dot(qkv, at(0, k, head, i), qkv, at(1, k, head, j), d);
            scores[place] = scale * product + bias[(head * m + i) * m + j] + (mask ? mask[(k * m + i) * m + j] : 0);
          }
    return scores;
  }

  /** weights (k, a, i, j) times V: → (k, m, (a d)). */
  weightedSum(weights, qkv) {
    const { numHeads: heads, d, at } = this;
    const m = this.M ** 2;
    const z = new Float32Array(qkv.length / 3);
    for (let place = 0, k = 0; place < weights.length; k++)
      for (let head = 0; head < heads; head++)
        for (let i = 0; i < m; i++) {
          const sum = ((k * m + i) * heads + head) * d;
          for (let j = 0; j < m; j++, place++) {
            const value = at(2, k, head, j);
            for (let e = 0; e < d; e++) z[sum + e] += weights[place] * qkv[value + e];
          }
        }
    return z;
  }

  /** B (a, i, j): for each head, the table's entry for the offset from token j to token i. */
  relativePositionBias() {
    const { relativePositionBiasTable: entries, relativePositionIndex: index, numHeads: heads } = this;
    if (this.breaks.has("bias")) return new Float32Array(heads * index.length);
    return Float32Array.from(table(heads, index.length, (head, pair) => entries.data[index[pair] * heads + head]));
  }
}

/** The wrong axis: every column of each (m, m) sums to 1, not every row. */
function softmaxOfColumns(scores, m) {
  const turn = (x) => {
    const places = table(x.length / m, m, (row, j) => (row - (row % m) + j) * m + (row % m));
    return x.map((_, place) => x[places[place]]);
  };
  return turn(softmax(turn(scores), m));
}

/** x + attention(norm(x)), then x + mlp(norm(x)). Tokens (h·w, c) in, tokens (h·w, c) out. */
export class SwinTransformerBlock {
  constructor(state, name, grid, windowSize, shiftSize, numHeads, breaks) {
    this.grid = grid;
    this.breaks = breaks;
    const whole = Math.min(...grid) <= windowSize; // one window holds the map: nothing is shifted
    this.M = whole ? Math.min(...grid) : windowSize;
    this.shift = whole || breaks.has("shift") ? 0 : shiftSize;
    this.norm1 = new LayerNorm(state, `${name}.norm1`);
    this.attn = new WindowAttention(state, `${name}.attn`, this.M, numHeads, breaks);
    this.norm2 = new LayerNorm(state, `${name}.norm2`);
    this.mlp = new Mlp(state, `${name}.mlp`);
  }

  forward(x) {
    const attended = add(x, this.attend(this.norm1.forward(x)));
    const y = add(attended, this.mlp.forward(this.norm2.forward(attended)));
    this.saved = { x, attended, y };
    return y;
  }

  /** W-MSA or SW-MSA on a whole map: shift, cut into windows, attend, and all of it back. x (h·w, c) → same. */
  attend(x) {
    const [H, W] = this.grid;
    x = cyclicShift(x, this.shift, H, W);
    let windows = windowPartition(x, this.M, H, W);
    windows = this.attn.forward(windows, this.maskFor());
    x = windowReverse(windows, this.M, H, W);
    return cyclicShift(x, -this.shift, H, W);
  }

  /** The shift mask (k, m, m); null where nothing is shifted. */
  maskFor() {
    const [H, W] = this.grid;
    if (this.shift === 0 || this.breaks.has("mask")) return null;
    const side = regionLabels(H, W, this.shift);
    return shiftMask(H, W, this.M, this.shift, this.breaks.has("labels") ? cyclicShift(side, this.shift, H, W) : side);
  }
}

/** A convolution whose stride is its kernel size p: cut the image into patches, map the numbers of each to e. */
class Conv2d extends Linear {
  /** x (H, W), grey → (h·w, e). */
  forward = (x, H, W) => {
    const p = this.weight.shape[3];
    const patches = table(H / p, W / p, (h, w) => table(p, p, (p1, p2) => x[(h * p + p1) * W + (w * p + p2)])).flat();
    this.saved = { patches: Float32Array.from(patches) }; // (h·w, p1·p2)
    return linear(this.saved.patches, this.weight, this.bias);
  };
}

/** From pixels to tokens: image (H, W) → (h·w, c). */
class PatchEmbed {
  constructor(state) {
    this.proj = new Conv2d(state, "patch_embed.proj");
    this.norm = new LayerNorm(state, "patch_embed.norm");
  }
  forward = (image, H, W) => this.norm.forward(this.proj.forward(image, H, W));
}

/** Four neighbours become one token: their channels side by side (4c), normed, mapped to 2c. */
class PatchMerging {
  constructor(state, name, grid) {
    this.grid = grid;
    this.norm = new LayerNorm(state, `${name}.norm`);
    this.reduction = new Linear(state, `${name}.reduction`);
  }
  forward = (x) => this.reduction.forward(this.norm.forward(this.neighbours(x)));

  /** x (h·w, c) → (h/2·w/2, 4c), in the official order, in which the row offset runs fastest. */
  neighbours(x) {
    const [H, W] = this.grid;
    return take(x, table(H / 2, W / 2, (h, w) => table(2, 2, (p2, p1) => (2 * h + p1) * W + (2 * w + p2))).flat());
  }
}

/** One stage: blocks, W-MSA and SW-MSA by turns, and the PatchMerging that follows, if one does. */
class BasicLayer {
  constructor(config, stage, state, breaks) {
    const { window_size: M, num_heads, depths, grids } = config;
    this.blocks = table(depths[stage], 1, (i) => {
      const shift = i % 2 === 0 ? 0 : Math.floor(M / 2);
      const name = `layers.${stage}.blocks.${i}`;
      return new SwinTransformerBlock(state, name, grids[stage], M, shift, num_heads[stage], breaks);
    });
    const last = stage === depths.length - 1;
    this.downsample = last ? null : new PatchMerging(state, `layers.${stage}.downsample`, grids[stage]);
  }
  forward = (x) => this.blocks.reduce((tokens, block) => block.forward(tokens), x);
}

/** The whole model. config: fields of SwinConfig; state: {name: {shape, data}}; breaks: what to break on purpose. */
export class SwinTransformer {
  constructor(config, state, breaks = new Set()) {
    this.config = config;
    this.patchEmbed = new PatchEmbed(state);
    this.layers = config.depths.map((_, stage) => new BasicLayer(config, stage, state, breaks));
    this.blocks = this.layers.flatMap((layer) => layer.blocks);
    this.norm = new LayerNorm(state, "norm");
    this.head = new Linear(state, "head");
  }

  /** image (H, W), standardised → logits (num_classes). */
  forward(image) {
    let x = this.patchEmbed.forward(image, this.config.img_size, this.config.img_size);
    this.saved = { tokens: x };
    for (const layer of this.layers) {
      x = layer.forward(x);
      if (layer.downsample) x = this.saved.merged = layer.downsample.forward(x);
    }
    this.saved.features = meanOverTokens(this.norm.forward(x), this.head.weight.shape[1]);
    return this.head.forward(this.saved.features);
  }
}

/** x (l, c) → (c). */
function meanOverTokens(x, c) {
  const mean = new Float32Array(c);
  x.forEach((value, place) => (mean[place % c] += (value * c) / x.length));
  return mean;
}
