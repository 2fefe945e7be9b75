// The side: the picture (chosen, drawn or uploaded) and the ten probabilities.

import { data, state, change, onChange, PIXELS, bundledPicture, pair, tokenIn } from "./state.js";
import { sheet, greyImage, framePair, pointable, frame, COLORS } from "./draw.js";
import { say, percent, className, make } from "./text.js";
import { chooseToken } from "./walk.js";

const pictureCanvas = document.getElementById("sight");
const cursor = { row: 14, column: 14 }; // of the keyboard, while drawing

export function startPicture() {
  data.labels.slice(0, data.config.num_classes).forEach((label, number) => {
    const input = make("input", { type: "radio", name: "picture", class: "hidden", value: number });
    const small = make("canvas", { width: PIXELS, height: PIXELS });
    small.getContext("2d").drawImage(greyImage(bundledPicture(number)), 0, 0);
    input.addEventListener("change", () =>
      change({ picture: number, pixels: bundledPicture(number), drawing: false, key: null }),
    );
    document.getElementById("pictures").append(make("label", {}, input, small));
  });
  document.getElementById("draw").addEventListener("click", () => {
    if (state.drawing) change({ drawing: false });
    else
      change({
        drawing: true,
        picture: null,
        pixels: state.picture === null ? state.pixels : new Uint8Array(PIXELS ** 2),
      });
    pictureCanvas.focus();
  });
  document.getElementById("clear").addEventListener("click", () => change({ pixels: new Uint8Array(PIXELS ** 2) }));
  document.getElementById("upload").addEventListener("change", (event) => upload(event.target.files[0]));
  pointable(pictureCanvas, {
    grid: () => (state.drawing ? [PIXELS, PIXELS] : data.config.grids[0]),
    at: () => (state.drawing ? cursor.row * PIXELS + cursor.column : tokenIn(data.config.grids[0])),
    choose: (place) => {
      if (state.drawing) moveCursor(place);
      else chooseToken(place, data.config.grids[0]);
    },
    hover: (place) => state.drawing || hoverToken(place),
  });
  pictureCanvas.addEventListener(
    "pointerdown",
    (event) => state.drawing && pictureCanvas.setPointerCapture(event.pointerId),
  );
  for (const kind of ["pointerdown", "pointermove"])
    pictureCanvas.addEventListener(kind, (event) => {
      if (!state.drawing || !event.buttons) return;
      const box = pictureCanvas.getBoundingClientRect();
      const scale = PIXELS / box.width;
      paint((event.clientY - box.top) * scale, (event.clientX - box.left) * scale);
    });
  pictureCanvas.addEventListener("keydown", (event) => {
    if (!state.drawing || event.key !== " ") return;
    event.preventDefault();
    paint(cursor.row + 0.5, cursor.column + 0.5);
  });
  makeBars(document.getElementById("bars"), 1);
  onChange(drawPicture);
  onChange(drawAnswer);
}

function moveCursor(place) {
  Object.assign(cursor, { row: Math.floor(place / PIXELS), column: place % PIXELS });
  change({});
}

/** The pointer is on token `place` of the first grid: it becomes the other token of the pair, if the block has it. */
export function hoverToken(place) {
  if (place === null) return change({ over: null });
  const [, W] = data.config.grids[0];
  const { grid } = state.intact.blocks[state.block];
  const [, w] = grid;
  const factor = W / w;
  const key = Math.floor(Math.floor(place / W) / factor) * w + Math.floor((place % W) / factor);
  change({ over: { query: tokenIn(grid), key } });
}

/** A soft round brush at (row, column), in pixels. */
function paint(row, column, radius = 1.5) {
  const pixels = state.pixels.slice();
  for (let y = 0; y < PIXELS; y++)
    for (let x = 0; x < PIXELS; x++) {
      const distance = Math.hypot(y + 0.5 - row, x + 0.5 - column);
      const ink = 230 * Math.min(Math.max(radius + 0.5 - distance, 0), 1);
      pixels[y * PIXELS + x] = Math.max(pixels[y * PIXELS + x], ink);
    }
  change({ pixels });
}

/** A file as 28 × 28 grey pixels: its middle square, turned to light on black where its border is light. */
async function upload(file) {
  if (!file) return;
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    document.getElementById("sight-hint").textContent = say("upload.failed", { file: file.name });
    return;
  }
  const small = Object.assign(document.createElement("canvas"), { width: PIXELS, height: PIXELS });
  const context = small.getContext("2d", { willReadFrequently: true });
  const side = Math.min(image.width, image.height);
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // behind transparent pixels
  context.fillRect(0, 0, PIXELS, PIXELS);
  context.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, PIXELS, PIXELS);
  const rgba = context.getImageData(0, 0, PIXELS, PIXELS).data;
  const grey = Array.from(
    { length: PIXELS ** 2 },
    (_, i) => 0.299 * rgba[4 * i] + 0.587 * rgba[4 * i + 1] + 0.114 * rgba[4 * i + 2],
  );
  const border = grey.filter(
    (_, i) => i < PIXELS || i >= PIXELS ** 2 - PIXELS || i % PIXELS === 0 || i % PIXELS === PIXELS - 1,
  );
  const light = border.reduce((sum, value) => sum + value, 0) / border.length > 127;
  change({
    picture: null,
    drawing: false,
    key: null,
    pixels: Uint8Array.from(grey, (value) => (light ? 255 - value : value)),
  });
}

function drawPicture() {
  const { grid } = state.intact.blocks[state.block];
  const [h, w] = state.drawing ? [PIXELS, PIXELS] : grid;
  const context = sheet(pictureCanvas, h, w);
  context.drawImage(greyImage(state.pixels), 0, 0, w, h);
  if (state.drawing) frame(context, cursor.row, cursor.column, COLORS.query, 1);
  else framePair(context, w, pair());
  pictureCanvas.setAttribute("aria-label", say(state.drawing ? "draw.label" : "picture.label", place()));
  document.getElementById("sight-hint").textContent = state.drawing ? say("draw.hint") : tokenText();
  document.getElementById("draw").setAttribute("aria-pressed", state.drawing);
  document.getElementById("clear").hidden = !state.drawing;
  document.querySelectorAll("#pictures input").forEach((input, number) => {
    input.checked = number === state.picture;
    input.setAttribute("aria-label", className(data.labels[number]));
  });
}

/** Row and column of the chosen token in the chosen block's grid, counted from 0. */
export function place() {
  const { grid } = state.intact.blocks[state.block];
  const token = tokenIn(grid);
  return { row: Math.floor(token / grid[1]), column: token % grid[1] };
}

const tokenText = () => say("picture.hint", place());

/** Ten rows with `count` bars each. */
export function makeBars(list, count) {
  for (let label = 0; label < data.config.num_classes; label++) {
    const bar = make(
      "span",
      { class: "bar" },
      ...Array.from({ length: count }, (_, i) => make("i", { class: i ? "broken" : "" })),
    );
    list.append(make("li", {}, make("span"), bar, make("span")));
  }
}

/** Bring the bars to the probabilities of one or two runs; the last run's numbers are written beside them. */
export function setBars(list, ...runs) {
  const last = runs[runs.length - 1];
  [...list.children].forEach((item, label) => {
    const [name, bar, value] = item.children;
    name.textContent = className(label);
    value.textContent = percent(last.probabilities[label]);
    runs.forEach((run, i) => (bar.children[i].style.width = `${100 * run.probabilities[label]}%`));
    item.className = label === last.answer ? "top" : "";
  });
}

function drawAnswer() {
  setBars(document.getElementById("bars"), state.intact);
  const { answer, milliseconds } = state.intact;
  const values = { answer: className(answer), time: milliseconds.toFixed(0) };
  let text = say("verdict", values);
  if (state.picture !== null) {
    const label = data.labels[state.picture];
    text += ` ${say(label === answer ? "verdict.right" : "verdict.wrong", { label: className(label) })}`;
  }
  document.getElementById("verdict").textContent = text;
}
