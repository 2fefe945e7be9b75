// The walk through the model: for each step its map, its shapes, and the line of swin_numpy that does it.

import { data, state, change, onChange, pair, tokenIn, tokenOf, windowAround, attentionRow, moveBy } from "./state.js";
import {
  sheet,
  greyImage,
  cells,
  signedCells,
  gridLines,
  framePair,
  frame,
  attentionOnPicture,
  pointable,
  outline,
  alpha,
  COLORS,
} from "./draw.js";
import { say, make, announce, className, percent, signed } from "./text.js";
import { ShiftPlayer, drawFrame, lastFrame, rolledIn, still } from "./shift.js";
import { place, hoverToken } from "./picture.js";

/** The cards of the overview, and the steps that each holds. */
const CARDS = {
  picture: ["picture", "patches", "tokens"],
  block1: ["windows", "attention1", "block1"],
  block2: ["shift", "mask", "attention2", "block2"],
  merging: ["merging"],
  stage2: ["stage2"],
  answer: ["answer"],
};
const STEPS = Object.values(CARDS).flat();
const BLOCK_OF = { windows: 0, attention1: 0, block1: 0, shift: 1, mask: 1, attention2: 1, block2: 1 };
const COARSE = ["merging", "stage2", "answer"]; // steps, and cards, on the map of the second stage
const FIRST = data.config.grids[0];
const SECOND = data.config.grids[1];
const mapCanvas = document.getElementById("map");
let player;

export function startWalk() {
  const rail = document.getElementById("rail");
  Object.entries(CARDS).forEach(([name, steps], n) => {
    const card = make("div", { class: "card", style: `--n: ${n}`, id: `card-${name}` }, make("strong"), make("small"));
    const map = make("canvas", { "aria-hidden": "true" });
    map.addEventListener("click", () => goTo(steps[0]));
    const tabs = make("div", { class: "tabs", role: "presentation" });
    for (const step of steps) {
      const tab = make(
        "button",
        { type: "button", role: "tab", id: `tab-${step}`, "aria-controls": "walk" },
        String(STEPS.indexOf(step) + 1),
      );
      tab.addEventListener("click", () => goTo(step));
      tabs.append(tab);
    }
    card.append(map, tabs);
    rail.append(card);
  });
  rail.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    turn(by);
    document.getElementById(`tab-${state.step}`).focus();
  });
  document.getElementById("back").addEventListener("click", () => turn(-1));
  document.getElementById("next").addEventListener("click", () => turn(1));
  player = new ShiftPlayer(document.getElementById("player"), shiftMap, () => state.step === "shift" && drawMap());
  pointable(mapCanvas, {
    grid: mapGrid,
    at: () => toMap(tokenIn(mapGrid())),
    choose: (at) => chooseToken(fromMap(at), mapGrid()),
    hover: (at) => hoverToken(at === null ? null : inFirst(fromMap(at), mapGrid())),
  });
  onChange(drawCards);
  onChange(drawWalk);
}

/** Open a step; its block comes under the lens. */
export function goTo(step) {
  const coarse = COARSE.includes(step);
  const block = BLOCK_OF[step] ?? (coarse ? Math.max(state.block, data.config.depths[0]) : state.block);
  change({
    step,
    block,
    head: Math.min(state.head, state.intact.blocks[block].heads - 1),
    channel: Math.min(state.channel, data.config.widths[coarse ? 1 : 0] - 1),
    over: null,
  });
  if (step === "shift" && !still.matches) player.play(1);
  else player.direction = 0;
  history.replaceState(null, "", `#${step}`);
}

const turn = (by) => goTo(STEPS[Math.min(Math.max(STEPS.indexOf(state.step) + by, 0), STEPS.length - 1)]);
export const isStep = (name) => STEPS.includes(name);

/** Put token l of a grid under the lens. */
export function chooseToken(l, grid) {
  change({ token: tokenOf(l, grid), key: null, over: null });
  announce(say("token.chosen", place()));
}

const mapGrid = () => (COARSE.includes(state.step) ? SECOND : FIRST);
/** What the film of the cyclic shift shows. */
export const shiftMap = () => {
  const { grid, M, shift } = state.intact.blocks[1];
  return { H: grid[0], W: grid[1], M, shift, image: greyImage(state.pixels) };
};

/** By how much the map on the canvas is rolled. */
const rolledNow = () => {
  if (state.step === "mask") return state.intact.blocks[1].shift;
  return state.step === "shift" ? Math.round(rolledIn(shiftMap(), player.frame)) : 0;
};
const fromMap = (at) => moveBy(at, rolledNow(), mapGrid());
const toMap = (token) => moveBy(token, -rolledNow(), mapGrid());
const inFirst = (l, grid) => {
  const { row, column } = tokenOf(l, grid);
  return row * FIRST[1] + column;
};

/** How each step draws its map. context: one cell is one token. */
const MAPS = {
  picture(context) {
    context.drawImage(greyImage(state.pixels), 0, 0, ...wide(FIRST));
    frame(context, state.token.row, state.token.column, COLORS.query);
  },
  patches(context) {
    const image = greyImage(state.pixels);
    const { patch_size: p } = data.config;
    for (let l = 0; l < FIRST[0] * FIRST[1]; l++) {
      const [row, column] = [Math.floor(l / FIRST[1]), l % FIRST[1]];
      context.drawImage(image, column * p, row * p, p, p, column + 0.08, row + 0.08, 0.84, 0.84);
    }
    frame(context, state.token.row, state.token.column, COLORS.query);
  },
  tokens: (context) => channelMap(context, state.intact.tokens, FIRST),
  windows(context) {
    const { M } = state.intact.blocks[0];
    context.drawImage(greyImage(state.pixels), 0, 0, ...wide(FIRST));
    windowTints(context, FIRST, M);
    gridLines(context, ...FIRST, M);
    framePair(context, FIRST[1], pair());
  },
  attention1: (context) => attentionMap(context, 0),
  block1: (context) => channelMap(context, state.intact.blocks[0].y, FIRST),
  shift: (context) => {
    drawFrame(context, shiftMap(), player.frame);
    const at = toMap(tokenIn(FIRST));
    frame(context, Math.floor(at / FIRST[1]), at % FIRST[1], COLORS.query);
  },
  mask(context) {
    drawFrame(context, shiftMap(), lastFrame(shiftMap()));
    const { query, key } = pair();
    framePair(context, FIRST[1], { query: toMap(query), key: key === null ? null : toMap(key) });
  },
  attention2: (context) => attentionMap(context, 1),
  block2: (context) => channelMap(context, state.intact.blocks[1].y, FIRST),
  merging: (context) => channelMap(context, state.intact.merged, SECOND),
  stage2: (context) => attentionMap(context, state.block),
  answer: (context) => channelMap(context, state.intact.blocks.at(-1).y, SECOND),
};

const wide = ([h, w]) => [w, h];

function windowTints(context, [h, w], M) {
  cells(context, h, w, (l) => {
    const window = 2 * (Math.floor(l / w / M) % 2) + (Math.floor((l % w) / M) % 2);
    return COLORS.windows[window] + alpha(0.3);
  });
}

/** One channel of the tokens x (h·w, c). */
function channelMap(context, x, [h, w], channel = state.channel) {
  const c = x.length / (h * w);
  const values = Array.from({ length: h * w }, (_, l) => x[l * c + channel]);
  signedCells(context, h, w, (l) => values[l], Math.max(...values.map(Math.abs)));
  if (context.px < 0.1) framePair(context, w, { query: tokenIn([h, w]) });
}

/** The weights of the chosen token, in one head of block number `b`, on the picture. */
export function attentionMap(context, b, run = state.intact, { marks = true } = {}) {
  const block = run.blocks[b];
  const { grid, M, shift } = block;
  const token = tokenIn(grid);
  const { window, i, tokens } = windowAround(block, token);
  const row = attentionRow(block, Math.min(state.head, block.heads - 1), window, i);
  const largest = Math.max(...row);
  attentionOnPicture(context, greyImage(state.pixels), grid, (l) => {
    const j = tokens.indexOf(l);
    return j < 0 ? null : row[j] / largest;
  });
  outline(context, ...grid, tokens, shift ? COLORS.swmsa : COLORS.wmsa);
  if (marks) framePair(context, grid[1], b === state.block ? pair() : { query: token });
}

function drawCards() {
  const { blocks, merged } = state.intact;
  const small = {
    picture: (context) => context.drawImage(greyImage(state.pixels), 0, 0, ...wide(FIRST)),
    block1: (context) => {
      MAPS.picture(context);
      windowTints(context, FIRST, blocks[0].M);
      gridLines(context, ...FIRST, blocks[0].M);
    },
    block2: () => {}, // main.js keeps it moving
    merging: (context) => channelMap(context, merged, SECOND),
    stage2: (context) => attentionMap(context, data.config.depths[0], state.intact, { marks: false }),
    answer: (context) => {
      const largest = Math.max(...state.intact.probabilities);
      state.intact.probabilities.forEach((value, label) => {
        context.fillStyle = value === largest ? COLORS.wmsa : "#888888";
        context.fillRect(0.3, 0.35 + label * 0.64, 6.4 * value + 0.05, 0.45);
      });
    },
  };
  for (const [name, steps] of Object.entries(CARDS)) {
    const card = document.getElementById(`card-${name}`);
    card.classList.toggle("here", steps.includes(state.step));
    card.querySelector("strong").textContent = say(`card.${name}`);
    card.querySelector("small").textContent = say(`card.${name}.shape`);
    if (name !== "block2")
      small[name](sheet(card.querySelector("canvas"), ...(COARSE.includes(name) ? SECOND : FIRST)));
    for (const step of steps) {
      const tab = document.getElementById(`tab-${step}`);
      tab.setAttribute("aria-selected", step === state.step);
      tab.setAttribute("aria-label", `${STEPS.indexOf(step) + 1}: ${say(`step.${step}`)}`);
      tab.tabIndex = step === state.step ? 0 : -1;
    }
  }
}

function drawMap() {
  MAPS[state.step](sheet(mapCanvas, ...mapGrid()));
}

let shown = ""; // which step, in which language, the text beside the map is of

function drawWalk() {
  drawMap();
  const { step } = state;
  document.getElementById("player").hidden = step !== "shift";
  mapCanvas.setAttribute("aria-label", say("map.label", { step: say(`step.${step}`), ...place() }));
  document.getElementById("map-hint").innerHTML = say(`hint.${HINTS[step] ?? "token"}`, mapFacts());
  const now = `${step} ${state.language}`;
  if (shown !== now) fillWalk(step);
  shown = now;
  MORE[step]?.draw();
  if (step === "shift") player.describe();
}

const HINTS = {
  tokens: "channel",
  block1: "channel",
  block2: "channel",
  merging: "channel",
  answer: "channel",
  attention1: "attention",
  attention2: "attention",
  stage2: "attention",
  shift: "shift",
  mask: "mask",
};
const mapFacts = () => ({ channel: state.channel, head: state.head + 1, ...place() });

/** The words of a step. */
function fillWalk(step) {
  const number = STEPS.indexOf(step);
  document.getElementById("walk-place").textContent = say("walk.place", { number: number + 1, count: STEPS.length });
  document.getElementById("walk-title").textContent = say(`step.${step}`);
  document.getElementById("walk-body").textContent = say(`body.${step}`);
  document.getElementById("walk-shape").textContent = say(`shape.${step}`);
  document.getElementById("back").disabled = number === 0;
  document.getElementById("next").disabled = number === STEPS.length - 1;
  const more = document.getElementById("walk-more");
  more.replaceChildren();
  MORE[step]?.make(more);
  document.getElementById("walk-code").replaceChildren(...code(data.steps[step]));
}

/** The line of swin_numpy, the function around it, and its twin in this page. */
function code({ file, number, line, mark, page, chapter, js, ...rest }) {
  const link = make("a", { href: page }, file);
  const source = make(
    "p",
    { class: "source" },
    link,
    ` ${say("code.line", { number })} · `,
    make("a", { href: chapter }, say("code.chapter")),
  );
  const whole = make("pre", { tabindex: "0" });
  rest.function.split("\n").forEach((text, i) => whole.append(i === mark ? make("mark", {}, text) : text, "\n"));
  return [
    source,
    make("pre", { class: "line" }, line),
    make("details", {}, make("summary", {}, say("code.function")), whole),
    make("details", {}, make("summary", {}, say("code.js")), make("pre", { tabindex: "0" }, js)),
  ];
}

/** All channels of a map as small pictures, to choose from. */
function channelsPart(tokensOf, grid) {
  let all;
  const columns = 8;
  return {
    make(host) {
      all = make("canvas", { tabindex: "0", role: "application" });
      host.append(all);
      const c = () => tokensOf().length / (grid[0] * grid[1]);
      pointable(all, {
        grid: () => [c() / columns, columns],
        at: () => state.channel,
        choose: (channel) => change({ channel }),
      });
    },
    draw() {
      const x = tokensOf();
      const [h, w] = grid;
      const c = x.length / (h * w);
      const [H, W] = [(c / columns) * (h + 1), columns * (w + 1)];
      const context = sheet(all, H, W);
      let largest = 0;
      for (const value of x) largest = Math.max(largest, Math.abs(value));
      for (let channel = 0; channel < c; channel++) {
        context.save();
        context.translate((channel % columns) * (w + 1) + 0.5, Math.floor(channel / columns) * (h + 1) + 0.5);
        signedCells(context, h, w, (l) => x[l * c + channel], largest * 0.6);
        if (channel === state.channel) {
          context.strokeStyle = COLORS.query;
          context.lineWidth = 3 * context.px;
          context.strokeRect(0, 0, w, h);
        }
        context.restore();
      }
      all.setAttribute("aria-label", say("channels.label", { channel: state.channel, count: c }));
    },
  };
}

/** The numbers of the chosen patch. */
const patchPart = {
  make(host) {
    this.text = host.appendChild(make("p", { class: "shapes" }));
  },
  draw() {
    const size = data.config.patch_size ** 2;
    const l = tokenIn(FIRST);
    const values = [...state.intact.patches.subarray(l * size, (l + 1) * size)].map((value) => signed(value));
    this.text.textContent = say("patch.numbers", { ...place(), numbers: values.join(", ") });
  },
};

/** The ten logits, and what softmax makes of them. */
const logitsPart = {
  make(host) {
    this.table = host.appendChild(make("table", { class: "logits" }));
  },
  draw() {
    const { logits, probabilities, answer } = state.intact;
    const head = make(
      "tr",
      {},
      make("th"),
      make("th", {}, say("answer.logit")),
      make("th", {}, say("answer.probability")),
    );
    const rows = [...logits].map((value, label) => {
      const cells = [className(label), signed(value), percent(probabilities[label])].map((text) =>
        make("td", {}, text),
      );
      return make("tr", label === answer ? { class: "top" } : {}, ...cells);
    });
    this.table.replaceChildren(head, ...rows);
  },
};

/** What a step shows beside its text. */
const MORE = {
  patches: patchPart,
  tokens: channelsPart(() => state.intact.tokens, FIRST),
  block1: channelsPart(() => state.intact.blocks[0].y, FIRST),
  block2: channelsPart(() => state.intact.blocks[1].y, FIRST),
  merging: channelsPart(() => state.intact.merged, SECOND),
  answer: logitsPart,
};
