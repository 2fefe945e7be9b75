// Swin Transformer, written a third time: the names of swin_numpy, in plain JavaScript.
//
// Numbers lie row by row in Float32Arrays; the comments give the shapes, in the axis names of the project:
// h w grid rows, columns · c channels · p patch side · k windows · m tokens in a window · a heads · d head width ·
// i query token · j key token · l token of the whole map. One picture at a time, so there is no n.

/** The number Σ x[i + …] · y[j + …] over `length` neighbours. Where all the time goes. */
function dot(x, i, y, j, length) {
  let sum = 0;
  for (let d = 0; d < length; d++) sum += x[i + d] * y[j + d];
  return sum;
}

/** x Wᵀ + b. x (l, in), weight (out, in), bias (out) or undefined → (l, out). */
export function linear(x, weight, bias) {
  const [outs, ins] = [weight.shape[0], weight.data.length / weight.shape[0]];
  const y = new Float32Array((x.length / ins) * outs);
  for (let place = 0, row = 0; row < x.length; row += ins)
    for (let out = 0; out < outs; out++)
      y[place++] = dot(x, row, weight.data, out * ins, ins) + (bias ? bias.data[out] : 0);
  return y;
}

/** exp(x) / Σ exp(x) in every row. x (rows, width) → same. */
export function softmax(x, width) {
  const y = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += width) {
    const largest = Math.max(...x.subarray(row, row + width)); // taken off first, so that exp can't overflow
    let sum = 0;
    for (let place = row; place < row + width; place++) sum += Math.exp(x[place] - largest);
    for (let place = row; place < row + width; place++) y[place] = Math.exp(x[place] - largest) / sum;
  }
  return y;
}

/** (x - mean) / √(variance + eps) · weight + bias over the channels. x (l, c), weight (c), bias (c) → (l, c). */
export function layerNorm(x, weight, bias, eps = 1e-5) {
  const c = weight.data.length;
  const y = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += c) {
    const token = x.subarray(row, row + c);
    const mean = token.reduce((sum, value) => sum + value, 0) / c;
    const variance = token.reduce((sum, value) => sum + (value - mean) ** 2, 0) / c;
    for (let e = 0; e < c; e++)
      y[row + e] = ((token[e] - mean) / Math.sqrt(variance + eps)) * weight.data[e] + bias.data[e];
  }
  return y;
}

/** x · Φ(x), where Φ is the normal distribution function. */
export const gelu = (x) => x.map((value) => (value > 0 ? value - value * normalTail(value) : value * normalTail(-value)));

// erfc(z) ≈ t · exp(-z² + polynomial(t)), t = 1 / (1 + z/2), with an error below 1.2e-7 (Press et al., Numerical Recipes)
const ERFC = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
  -0.82215223, 0.17087277]; // prettier-ignore

/** 1 - Φ(u), for u >= 0. */
function normalTail(u) {
  const z = u / Math.SQRT2;
  const t = 1 / (1 + z / 2);
  return 0.5 * t * Math.exp(-z * z + ERFC.reduceRight((value, coefficient) => value * t + coefficient, 0));
}

/** The rows of x (l, c) in another order: row order[i] of x becomes row i. */
function take(x, order) {
  const c = x.length / order.length;
  const y = new x.constructor(x.length);
  order.forEach((row, i) => y.set(x.subarray(row * c, row * c + c), i * c));
  return y;
}

/** The order that undoes `order`. */
const inverse = (order) => order.reduce((back, row, i) => ((back[row] = i), back), new Array(order.length));

/** Which token of the map stands at each place of the windows: (h·w) token numbers in the order (kh kw) (mh mw). */
export function windowOrder(M, H, W) {
  const order = [];
  for (let kh = 0; kh < H / M; kh++)
    for (let kw = 0; kw < W / M; kw++)
      for (let mh = 0; mh < M; mh++)
        for (let mw = 0; mw < M; mw++) order.push((kh * M + mh) * W + kw * M + mw);
  return order;
}

/** Cut a map into windows that don't overlap. x (h, w, c) → (k, m, c). */
export const windowPartition = (x, M, H, W) => take(x, windowOrder(M, H, W));

/** Undo windowPartition. windows (k, m, c) → (h, w, c). */
export const windowReverse = (windows, M, H, W) => take(windows, inverse(windowOrder(M, H, W)));

/** Roll the map up and to the left by `shift` tokens; what leaves at one side enters at the other. x (h, w, c) → same. */
export function cyclicShift(x, shift, H, W) {
  const order = [];
  for (let row = 0; row < H; row++)
    for (let column = 0; column < W; column++)
      order.push(((row + shift + H) % H) * W + ((column + shift + W) % W));
  return take(x, order);
}

/** On which side of the seam each token of the shifted map lies: 0 to 3, two bits. Returns (h, w). */
export function regionLabels(H, W, shift) {
  const side = new Uint8Array(H * W);
  for (let row = 0; row < H; row++)
    for (let column = 0; column < W; column++)
      side[row * W + column] = 2 * (row >= H - shift) + (column >= W - shift);
  return side;
}

/** What SW-MSA adds to its scores: 0 where token i may look at token j, -100 where the seam parts them. (k, m, m) */
export function shiftMask(H, W, M, shift, side = regionLabels(H, W, shift)) {
  const m = M * M;
  const labels = windowPartition(side, M, H, W);
  const mask = new Float32Array(labels.length * m);
  for (let place = 0; place < labels.length; place++)
    for (let j = 0; j < m; j++)
      mask[place * m + j] = labels[place] === labels[place - (place % m) + j] ? 0 : -100;
  return mask;
}

/** Which row of the bias table belongs to query i and key j. Returns (m, m). */
export function relativePositionIndex(M) {
  const index = new Int32Array(M ** 4);
  for (let i = 0; i < M * M; i++)
    for (let j = 0; j < M * M; j++) {
      const rows = Math.floor(i / M) - Math.floor(j / M) + M - 1;
      const columns = (i % M) - (j % M) + M - 1;
      index[i * M * M + j] = rows * (2 * M - 1) + columns;
    }
  return index;
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
    const { M, numHeads: heads, d, scale } = this;
    const m = M * M;
    const windows = x.length / (m * heads * d);
    const qkv = this.qkv.forward(x); // (k, m, three, a, d): q, k and v of each token side by side
    const at = (part, window, head, token) => (((window * m + token) * 3 + part) * heads + head) * d;
    const bias = this.relativePositionBias();
    const scores = new Float32Array(windows * heads * m * m); // (k, a, i, j)
    let place = 0;
    for (let window = 0; window < windows; window++)
      for (let head = 0; head < heads; head++)
        for (let i = 0; i < m; i++)
          for (let j = 0; j < m; j++) {
            const product = dot(qkv, at(0, window, head, i), qkv, at(1, window, head, j), d);
            const masked = mask ? mask[(window * m + i) * m + j] : 0;
            scores[place++] = scale * product + bias[(head * m + i) * m + j] + masked;
          }
    const weights = this.breaks.has("softmax") ? softmaxOfColumns(scores, m) : softmax(scores, m);
    const z = new Float32Array(x.length); // (k, m, (a d))
    for (let window = 0; window < windows; window++)
      for (let head = 0; head < heads; head++)
        for (let i = 0; i < m; i++) {
          const row = ((window * heads + head) * m + i) * m;
          const sum = ((window * m + i) * heads + head) * d;
          for (let j = 0; j < m; j++) {
            const value = at(2, window, head, j);
            for (let e = 0; e < d; e++) z[sum + e] += weights[row + j] * qkv[value + e];
          }
        }
    this.saved = { qkv, bias, mask, scores, weights, z };
    return this.proj.forward(z);
  }

  /** B (a, i, j): for each head, the table's entry for the offset from token j to token i. */
  relativePositionBias() {
    const { relativePositionIndex: index, relativePositionBiasTable: table, numHeads: heads } = this;
    const bias = new Float32Array(heads * index.length);
    if (this.breaks.has("bias")) return bias;
    for (let head = 0; head < heads; head++)
      index.forEach((row, pair) => (bias[head * index.length + pair] = table.data[row * heads + head]));
    return bias;
  }
}

/** The mistake of learners: every column of (…, m, m) sums to 1, not every row. */
function softmaxOfColumns(scores, m) {
  const turn = (x) => x.map((_, place) => {
    const [i, j] = [Math.floor(place / m) % m, place % m];
    return x[place - i * m - j + j * m + i];
  });
  return turn(softmax(turn(scores), m));
}

/** x + attention(norm(x)), then x + mlp(norm(x)). Tokens (h·w, c) in, tokens (h·w, c) out. */
export class SwinTransformerBlock {
  constructor(state, name, grid, M, shift, numHeads, breaks) {
    const fits = Math.min(...grid) <= M; // one window is the whole map: nothing is shifted
    Object.assign(this, { grid, breaks, M: fits ? Math.min(...grid) : M, shift: fits || breaks.has("shift") ? 0 : shift });
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

  /** The shift mask (k, m, m), or null where nothing is shifted. */
  maskFor() {
    const [H, W] = this.grid;
    if (this.shift === 0 || this.breaks.has("mask")) return null;
    const side = regionLabels(H, W, this.shift);
    return shiftMask(H, W, this.M, this.shift, this.breaks.has("labels") ? cyclicShift(side, this.shift, H, W) : side);
  }
}

const add = (x, y) => x.map((value, place) => value + y[place]);

/** A convolution whose stride is its kernel size p: cut the image into patches, map the numbers of each to e. */
export class Conv2d {
  constructor(state, name, p) {
    Object.assign(this, { p, linear: new Linear(state, name) });
  }

  /** x (H, W), grey → (h·w, e). */
  forward(x, H, W) {
    const { p } = this;
    const patches = []; // (h w) (p1 p2)
    for (let h = 0; h < H / p; h++)
      for (let w = 0; w < W / p; w++)
        for (let p1 = 0; p1 < p; p1++)
          for (let p2 = 0; p2 < p; p2++) patches.push(x[(h * p + p1) * W + w * p + p2]);
    this.saved = { patches: new Float32Array(patches) };
    return this.linear.forward(this.saved.patches);
  }
}

/** From pixels to tokens: image (H, W) → (h·w, c). */
export class PatchEmbed {
  constructor(state, p) {
    this.proj = new Conv2d(state, "patch_embed.proj", p);
    this.norm = new LayerNorm(state, "patch_embed.norm");
  }

  forward = (image, H, W) => this.norm.forward(this.proj.forward(image, H, W));
}

/** Four neighbours become one token: their channels side by side (4c), normed, mapped to 2c. */
export class PatchMerging {
  constructor(state, name, grid) {
    this.grid = grid;
    this.norm = new LayerNorm(state, `${name}.norm`);
    this.reduction = new Linear(state, `${name}.reduction`);
  }

  forward = (x) => this.reduction.forward(this.norm.forward(this.neighbours(x)));

  /** x (h·w, c) → (h/2·w/2, 4c), in the official order, in which the row offset runs fastest. */
  neighbours(x) {
    const [H, W] = this.grid;
    const order = [];
    for (let h = 0; h < H; h += 2)
      for (let w = 0; w < W; w += 2)
        for (let p2 = 0; p2 < 2; p2++)
          for (let p1 = 0; p1 < 2; p1++) order.push((h + p1) * W + w + p2);
    return take(x, order);
  }
}

/** One stage: blocks, W-MSA and SW-MSA by turns, and the PatchMerging that follows, if one does. */
export class BasicLayer {
  constructor(config, stage, state, breaks) {
    const grid = config.grids[stage];
    const shiftOf = (i) => (i % 2 === 0 ? 0 : Math.floor(config.window_size / 2));
    const block = (_, i) =>
      new SwinTransformerBlock(state, `layers.${stage}.blocks.${i}`, grid, config.window_size, shiftOf(i),
        config.num_heads[stage], breaks); // prettier-ignore
    this.blocks = Array.from({ length: config.depths[stage] }, block);
    const last = stage === config.depths.length - 1;
    this.downsample = last ? null : new PatchMerging(state, `layers.${stage}.downsample`, grid);
  }

  forward = (x) => this.blocks.reduce((tokens, block) => block.forward(tokens), x);
}

/** The whole model. config: the fields of SwinConfig; state: {name: {shape, data}}; breaks: what to break on purpose. */
export class SwinTransformer {
  constructor(config, state, breaks = new Set()) {
    this.config = config;
    this.patchEmbed = new PatchEmbed(state, config.patch_size);
    this.layers = config.depths.map((_, stage) => new BasicLayer(config, stage, state, breaks));
    this.norm = new LayerNorm(state, "norm");
    this.head = new Linear(state, "head");
  }

  /** image (H, W), normalised → logits (num_classes). */
  forward(image) {
    let x = this.patchEmbed.forward(image, this.config.img_size, this.config.img_size);
    this.saved = { image, tokens: x };
    for (const { blocks, downsample, forward } of this.layers) {
      x = forward(x);
      if (downsample) x = this.saved.merged = downsample.forward(x);
    }
    const features = this.saved.features = meanOverTokens(this.norm.forward(x), this.head.weight.shape[1]);
    return this.head.forward(features);
  }

  get blocks() {
    return this.layers.flatMap((layer) => layer.blocks);
  }
}

/** x (l, c) → (c). */
function meanOverTokens(x, c) {
  const sum = new Float32Array(c);
  x.forEach((value, place) => (sum[place % c] += value));
  return sum.map((value) => (value * c) / x.length);
}
