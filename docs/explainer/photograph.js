// The same windows, shift, labels and mask on a photograph, where the model has nothing to say.

import { data, onChange, windowAround, moveBy } from "./state.js";
import { sheet, cells, digits, frame, pointable, alpha, COLORS } from "./draw.js";
import { regionLabels, shiftMask } from "./swin.js";
import { say, makeFigure } from "./text.js";
import { ShiftPlayer, drawFrame, rolledIn } from "./shift.js";

// The map that stage 2 of Swin-T has of a 224 × 224 photograph: 28 × 28 tokens, each 8 × 8 pixels.
const SIDE = data.config.window_size;
const MAP = { H: 28, W: 28, grid: [28, 28], M: SIDE, shift: Math.floor(SIDE / 2) };
const photoFigures = {};
const chosen = { token: 26 * MAP.W + 12, key: null, over: null };
let film;

export async function startPhotograph() {
  const canvas = document.getElementById("photo-map");
  for (const name of ["labels", "mask"]) {
    photoFigures[name] = makeFigure({ tabindex: "0", role: "application" });
    document.getElementById("photo-figures").append(photoFigures[name].figure);
  }
  const shown = (at) => moveBy(at, Math.round(rolledIn(MAP, film.frame)), MAP.grid);
  const back = (token) => moveBy(token, -Math.round(rolledIn(MAP, film.frame)), MAP.grid);
  film = new ShiftPlayer(document.getElementById("photo-player"), () => MAP, drawPhotograph);
  pointable(canvas, {
    grid: () => MAP.grid,
    at: () => back(chosen.token),
    choose: (at) => choose(shown(at)),
    hover: (at) => hover(at === null ? null : { query: chosen.token, key: shown(at) }),
  });
  const tokens = () => windowAround(MAP, chosen.token).tokens;
  pointable(photoFigures.labels.canvas, {
    grid: () => [SIDE, SIDE],
    at: () => tokens().indexOf(chosen.token),
    choose: (at) => choose(tokens()[at]),
    hover: (at) => hover(at === null ? null : { query: chosen.token, key: tokens()[at] }),
  });
  const pairAt = (at) => ({ query: tokens()[Math.floor(at / SIDE ** 2)], key: tokens()[at % SIDE ** 2] });
  pointable(photoFigures.mask.canvas, {
    grid: () => [SIDE * SIDE, SIDE * SIDE],
    at: () => tokens().indexOf(chosen.token) * SIDE * SIDE + Math.max(tokens().indexOf(chosen.key), 0),
    choose: (at) => choose(pairAt(at).query, pairAt(at).key),
    hover: (at) => hover(at === null ? null : pairAt(at)),
  });
  document.getElementById("photo-upload").addEventListener("change", (event) => usePhotograph(event.target.files[0]));
  onChange(drawPhotograph);
  const image = Object.assign(new Image(), { src: `data:image/jpeg;base64,${data.photograph}` });
  await image.decode();
  await usePhotograph(image);
}

function choose(token, key = null) {
  Object.assign(chosen, { token, key, over: null });
  drawPhotograph();
}

function hover(over) {
  chosen.over = over;
  drawPhotograph();
}

/** Take the middle square of an image or of a file. */
async function usePhotograph(source) {
  if (!source) return;
  let image = source;
  try {
    if (source instanceof Blob) image = await createImageBitmap(source);
  } catch {
    document.getElementById("photo-token").textContent = say("upload.failed", { file: source.name });
    return;
  }
  const side = Math.min(image.width, image.height);
  const square = Object.assign(document.createElement("canvas"), { width: 448, height: 448 });
  square
    .getContext("2d")
    .drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, 448, 448);
  MAP.image = square;
  drawPhotograph();
}

function drawPhotograph() {
  if (!MAP.image) return;
  const canvas = document.getElementById("photo-map");
  const { window, i, tokens } = windowAround(MAP, chosen.token);
  const { query, key } = chosen.over ?? { query: chosen.token, key: chosen.key };
  const rolled = Math.round(rolledIn(MAP, film.frame));
  const context = sheet(canvas, ...MAP.grid);
  context.imageSmoothingEnabled = true;
  drawFrame(context, MAP, film.frame);
  const mark = (token, color) => {
    const at = moveBy(token, -rolled, MAP.grid);
    frame(context, Math.floor(at / MAP.W), at % MAP.W, color);
  };
  if (key !== null) mark(key, COLORS.K);
  mark(query, COLORS.query);

  const labels = regionLabels(...MAP.grid, MAP.shift);
  const labelOf = (token) => labels[moveBy(token, -MAP.shift, MAP.grid)];
  let small = sheet(photoFigures.labels.canvas, SIDE, SIDE);
  cells(small, SIDE, SIDE, (j) => COLORS.regions[labelOf(tokens[j])] + alpha(0.75));
  digits(small, SIDE, SIDE, (j) => labelOf(tokens[j]));
  markIn(small, tokens, query, key);

  const m = SIDE * SIDE;
  const mask = shiftMask(...MAP.grid, SIDE, MAP.shift).subarray(window * m * m, (window + 1) * m * m);
  small = sheet(photoFigures.mask.canvas, m, m);
  cells(small, m, m, (at) => (mask[at] < 0 ? COLORS.masked : "#ffffff"));
  const row = tokens.indexOf(query);
  small.strokeStyle = COLORS.query;
  small.lineWidth = 1.6 * small.px;
  small.strokeRect(0, row, m, 1);
  if (tokens.includes(key)) frame(small, row, tokens.indexOf(key), COLORS.K, 1.6);

  const seen = mask.subarray(i * m, (i + 1) * m).filter((value) => value === 0).length;
  const facts = {
    row: Math.floor(chosen.token / MAP.W),
    column: chosen.token % MAP.W,
    window: window + 1,
    label: labelOf(chosen.token),
    seen,
    m,
  };
  document.getElementById("photo-token").textContent = say("photo.token", facts);
  photoFigures.labels.caption.innerHTML = say("photo.labels", facts);
  photoFigures.mask.caption.innerHTML = say("photo.mask", facts);
  canvas.setAttribute("aria-label", say("photo.label", facts));
  for (const { canvas: map, caption } of Object.values(photoFigures))
    map.setAttribute("aria-label", `${caption.textContent} ${say("map.keys")}`);
  film.describe();
}

function markIn(context, tokens, query, key) {
  for (const [token, color] of [
    [key, COLORS.K],
    [query, COLORS.query],
  ]) {
    const j = tokens.indexOf(token);
    if (j >= 0) frame(context, Math.floor(j / SIDE), j % SIDE, color);
  }
}
