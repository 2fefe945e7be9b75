// "Break it": the same model with one part missing or wrong, beside the intact one.

import { data, state, change, onChange, run, bundledPicture, bundledCount, tokenIn, windowAround } from "./state.js";
import { sheet } from "./draw.js";
import { say, make, makeFigure, percent, className } from "./text.js";
import { attentionMap } from "./walk.js";
import { makeBars, setBars } from "./picture.js";

const BREAKS = ["mask", "shift", "bias", "softmax", "labels"];
const breakFigures = {};
const SLICE = 30; // milliseconds of work between two breaths of the page
const counted = {}; // how many of the bundled pictures are right, for each set of breaks
let counting = null;

export function startBreaks() {
  for (const name of BREAKS) {
    const input = make("input", { type: "checkbox", role: "switch", id: `break-${name}` });
    input.addEventListener("change", () => toggle(name, input.checked));
    const words = make("span", {}, make("b"), make("small"));
    document.getElementById("switches").append(make("label", { "data-break": name }, input, words));
  }
  const mend = make("button", { type: "button", id: "mend" });
  mend.addEventListener("click", () => change({ breaks: new Set() }));
  document.getElementById("switches").append(mend);
  makeBars(document.getElementById("break-bars"), 2);
  for (const name of ["intact", "broken"]) {
    breakFigures[name] = makeFigure({ role: "img" });
    document.getElementById("break-figures").append(breakFigures[name].figure);
  }
  const button = make("button", { type: "button", id: "count" });
  button.addEventListener("click", count);
  document.getElementById("break-many").append(button, make("p", { class: "hint", "aria-live": "polite" }));
  onChange(drawBreaks);
}

/** Mask, shift and labels are parts of the shifted block, so the lens goes there. */
function toggle(name, on) {
  const breaks = new Set(state.breaks);
  if (on) breaks.add(name);
  else breaks.delete(name);
  const shifted = ["mask", "shift", "labels"].includes(name);
  change(
    shifted && on
      ? { breaks, block: 1, key: null, head: Math.min(state.head, data.config.num_heads[0] - 1) }
      : { breaks },
  );
}

function drawBreaks() {
  const { intact, broken, breaks } = state;
  for (const label of document.querySelectorAll("#switches label")) {
    const name = label.dataset.break;
    label.querySelector("b").textContent = say(`break.${name}`);
    label.querySelector("small").textContent = say(`break.${name}.small`);
    label.querySelector("input").checked = breaks.has(name);
  }
  document.getElementById("mend").textContent = say("break.mend");
  document.getElementById("mend").disabled = breaks.size === 0;
  setBars(document.getElementById("break-bars"), intact, broken);
  const [before, after] = [intact.answer, broken.answer];
  const key = breaks.size === 0 ? "break.none" : before === after ? "break.same" : "break.other";
  document.getElementById("break-answer").textContent = say(key, {
    before: className(before),
    after: className(after),
    was: percent(intact.probabilities[before]),
    is: percent(broken.probabilities[after]),
  });
  for (const [name, run] of [
    ["intact", intact],
    ["broken", broken],
  ]) {
    const { canvas, caption } = breakFigures[name];
    const block = run.blocks[state.block];
    attentionMap(sheet(canvas, ...block.grid), state.block, run, { marks: true });
    const values = { number: state.block + 1, head: state.head + 1, ...masked(run) };
    caption.innerHTML = [`figure.${name}`, block.shift ? "lost" : null, "total"]
      .filter(Boolean)
      .map((text) => say(`break.${text}`, values))
      .join("<br>");
    canvas.setAttribute("aria-label", caption.textContent);
  }
  drawCount();
}

/** How much of the token's attention goes where the intact mask forbids it. */
function masked(run) {
  const intact = state.intact.blocks[state.block];
  const block = run.blocks[state.block];
  const token = tokenIn(block.grid);
  const { window, i, tokens } = windowAround(block, token);
  const there = windowAround(intact, token);
  const { mask, m } = intact;
  const allowed = new Set(there.tokens.filter((_, j) => !mask || mask[(there.window * m + there.i) * m + j] === 0));
  const start = ((window * block.heads + Math.min(state.head, block.heads - 1)) * m + i) * m;
  const row = block.weights.subarray(start, start + m);
  const lost = tokens.reduce((sum, l, j) => sum + (allowed.has(l) ? 0 : row[j]), 0);
  return { lost: percent(lost), total: row.reduce((sum, value) => sum + value, 0).toFixed(2) };
}

const keyOf = (breaks) => BREAKS.filter((name) => breaks.has(name)).join("+") || "intact";

/** Ask the intact and the broken model about all bundled pictures, a few at a time so that the page stays alive. */
async function count() {
  for (const breaks of [new Set(), state.breaks]) {
    const key = keyOf(breaks);
    if (counted[key] !== undefined) continue;
    let right = 0;
    let start = performance.now();
    for (let number = 0; number < bundledCount; number++) {
      right += run(bundledPicture(number), breaks).answer === data.labels[number];
      if (performance.now() - start < SLICE) continue;
      counting = `${number + 1} / ${bundledCount}`;
      drawCount();
      await new Promise((done) => setTimeout(done));
      start = performance.now();
    }
    counted[key] = right;
    counting = null;
  }
  drawCount();
}

function drawCount() {
  const [button, text] = document.getElementById("break-many").children;
  const [intact, broken] = [counted.intact, counted[keyOf(state.breaks)]];
  button.textContent = say("break.count", { count: bundledCount });
  button.disabled = counting !== null;
  const values = { count: bundledCount, intact, broken };
  if (counting) text.textContent = counting;
  else if (intact === undefined || broken === undefined) text.textContent = "";
  else text.textContent = say(state.breaks.size ? "break.counted" : "break.counted.intact", values);
}
