// Start everything: language, light or dark, the film on the overview, the check against swin_numpy.

import { data, state, change, onChange, run, bundledPicture, liveliestChannel } from "./state.js";
import { sheet, ramp, COLORS } from "./draw.js";
import { fillTexts, say } from "./text.js";
import { startPicture } from "./picture.js";
import { startWalk, goTo, isStep, shiftMap } from "./walk.js";
import { startLens } from "./lens.js";
import { startBreaks } from "./breaks.js";
import { startPhotograph } from "./photograph.js";
import { drawFrame, lastFrame, still } from "./shift.js";

const root = document.documentElement;

/** What a visitor chose is remembered where the browser allows it (not in every private window). */
const memory = {
  get(key) {
    try {
      return localStorage.getItem(`explainer.${key}`);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`explainer.${key}`, value);
    } catch {
      // nothing is lost but the memory
    }
  },
};

function setLanguage(language) {
  state.language = language;
  fillTexts();
  const other = document.getElementById("language");
  other.textContent = language === "en" ? "中文" : "English";
  other.lang = language === "en" ? "zh" : "en";
  change({});
}

function setTheme(theme) {
  root.dataset.theme = theme;
  change({});
}

function startHeader() {
  document.getElementById("language").addEventListener("click", () => {
    setLanguage(state.language === "en" ? "zh" : "en");
    memory.set("language", state.language);
  });
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(root.dataset.theme === "dark" ? "light" : "dark");
    memory.set("theme", root.dataset.theme);
  });
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  root.dataset.theme = memory.get("theme") ?? (dark.matches ? "dark" : "light");
  const chinese = root.lang === "zh-CN"; // the copy of the Chinese site
  const wanted = chinese ? "zh" : memory.get("language") ?? navigator.language;
  state.language = wanted.startsWith("zh") ? "zh" : "en";
}

/** The second card shows the cyclic shift, on and on, until someone stops it. */
function startFilm() {
  const canvas = document.querySelector("#card-block2 canvas");
  const button = document.getElementById("motion");
  let paused = still.matches;
  let begun = performance.now();
  let visible = true;
  const draw = (now) => {
    const last = lastFrame(shiftMap());
    const time = ((now - begun) / 900) % (2 * last + 4); // forwards, rest, backwards, rest
    const frame = paused ? last : Math.min(Math.max(time < last + 2 ? time : 2 * last + 2 - time, 0), last);
    drawFrame(sheet(canvas, shiftMap().H, shiftMap().W), shiftMap(), frame);
    if (!paused && visible) requestAnimationFrame(draw);
  };
  new IntersectionObserver(([entry]) => {
    const came = entry.isIntersecting && !visible;
    visible = entry.isIntersecting;
    if (came) requestAnimationFrame(draw);
  }).observe(canvas);
  const show = () => {
    button.setAttribute("aria-pressed", paused);
    button.querySelector("use").setAttribute("href", paused ? "#icon-play" : "#icon-pause");
    requestAnimationFrame(draw);
  };
  button.addEventListener("click", () => {
    paused = !paused;
    begun = performance.now();
    show();
  });
  onChange(() => paused && draw(0));
  show();
}

/** A wave runs through the cards whenever the model has a new picture. */
function startFlow() {
  const rail = document.getElementById("rail");
  let seen = null;
  onChange(() => {
    if (state.pixels === seen || state.drawing) return;
    seen = state.pixels;
    rail.classList.remove("flow");
    void rail.offsetWidth; // or the browser would not start the animation again
    rail.classList.add("flow");
  });
}

/** Ten pictures: how far are the logits from those that swin_numpy gave when the page was built? */
export function selfCheck() {
  const runs = data.logits.slice(0, data.config.num_classes).map((_, number) => run(bundledPicture(number)));
  const differences = runs.flatMap(({ logits }, number) =>
    [...logits].map((value, label) => Math.abs(value - data.logits[number][label])),
  );
  const times = runs.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b);
  return { runs, largest: Math.max(...differences), milliseconds: times[Math.floor(times.length / 2)] };
}

function startCheck() {
  let result;
  setTimeout(() => {
    result = selfCheck();
    change({});
  }, 1500);
  onChange(() => {
    const values = result && {
      largest: result.largest.toExponential(1),
      time: result.milliseconds.toFixed(0),
      count: result.runs.length,
    };
    document.getElementById("check-result").textContent = result ? say("about.check", values) : "";
  });
  document.getElementById("source").textContent = document.getElementById("swin.js").textContent.trim();
}

function start() {
  const { style } = root;
  for (const [name, color] of Object.entries({
    numpy: COLORS.numpy,
    q: COLORS.Q,
    k: COLORS.K,
    negative: ramp("signed", 0.2),
    positive: ramp("signed", 0.8),
  }))
    style.setProperty(`--${name}`, color);
  startHeader();
  run(state.pixels); // the first run is slow, until the browser has compiled it
  change({ pixels: state.pixels });
  state.channel = liveliestChannel(state.intact.tokens, data.config.widths[0]);
  startPicture();
  startWalk();
  startLens();
  startBreaks();
  startPhotograph();
  startFilm();
  startFlow();
  startCheck();
  setLanguage(state.language);
  const hash = location.hash.slice(1);
  if (hash === "zh" || hash === "en") setLanguage(hash);
  if (isStep(hash)) {
    goTo(hash);
    document.getElementById("walk").scrollIntoView();
  }
  window.addEventListener("hashchange", () => isStep(location.hash.slice(1)) && goTo(location.hash.slice(1)));
  new ResizeObserver(() => change({})).observe(document.querySelector("main"));
}

start();
window.explainer = { run, selfCheck, bundledPicture, state, change, data }; // for tests, and for the curious
