// The cyclic shift as a film that can be played forwards and backwards, or step by step.
//
// Frame 0: windows as in W-MSA. 1: windows moved by `shift`. 2 … shift + 1: the map rolls, one token a frame.
// shift + 2: the labels of the regions. A frame number may lie between two whole ones while the film runs.

import { sheetOf, rolledImage, gridLines, seam, digits, alpha, COLORS } from "./draw.js";
import { regionLabels } from "./swin.js";
import { say, make } from "./text.js";

const SECONDS_PER_FRAME = 0.7;
const ICONS = { back: "back", stepBack: "step-back", step: "step", play: "play" };
export const still = window.matchMedia("(prefers-reduced-motion: reduce)");

export const lastFrame = ({ shift }) => shift + 2;

/** By how many tokens the map has rolled in this frame. */
export const rolledIn = ({ shift }, frame) => Math.min(Math.max(frame - 1, 0), shift);

/** Draw one frame. map: { H, W, M, shift, image }, the image anything that a canvas can draw. */
export function drawFrame(context, map, frame) {
  const { H, W, M, shift, image } = map;
  const rolled = rolledIn(map, frame);
  const moved = shift * Math.min(frame, 1) - rolled; // where the first window border lies
  const labels = regionLabels(H, W, shift);
  const region = (row, column) => labels[((row - shift + H) % H) * W + ((column - shift + W) % W)]; // before the roll
  const strength = 0.16 + 0.2 * Math.min(Math.max(frame - shift - 1, 0), 1);
  const tints = sheetOf(H, W, (l) => COLORS.regions[region(Math.floor(l / W), l % W)] + alpha(strength));
  rolledImage(context, image, H, W, rolled);
  if (frame > 0) rolledImage(context, tints, H, W, rolled);
  gridLines(context, H, W, M, moved);
  if (rolled > 0) seam(context, H, W, rolled);
  if (frame >= lastFrame(map) - 0.05) digits(context, H, W, (place) => labels[place], H > 20 ? 0.62 : 0.5);
}

/** What the frame shows, in words. */
function frameText(map, frame) {
  const whole = Math.round(frame);
  if (whole === 0) return say("frame.windows");
  if (whole === 1) return say("frame.moved", map);
  if (whole === lastFrame(map)) return say("frame.labels");
  return say("frame.rolled", { ...map, rolled: whole - 1 });
}

/** Buttons and a slider that run the film. */
export class ShiftPlayer {
  /** host: an empty element; map() → { H, W, M, shift, image }; show(): draws this.frame somewhere. */
  constructor(host, map, show) {
    Object.assign(this, { map, show, frame: 0, direction: 0 });
    const actions = {
      back: () => this.play(-1),
      stepBack: () => this.goTo(Math.ceil(this.frame) - 1),
      step: () => this.goTo(Math.floor(this.frame) + 1),
      play: () => this.play(1),
    };
    this.buttons = {};
    for (const [name, action] of Object.entries(actions)) {
      const button = (this.buttons[name] = make("button", { type: "button" }));
      button.innerHTML = `<svg aria-hidden="true"><use href="#icon-${ICONS[name]}" /></svg>`;
      button.addEventListener("click", action);
    }
    const { back, stepBack, step, play } = this.buttons;
    this.slider = make("input", { type: "range", min: 0, max: lastFrame(map()), step: 1, value: 0 });
    this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
    this.text = make("p", { class: "frame", "aria-live": "polite" });
    host.append(make("div", { class: "player", role: "group" }, back, stepBack, this.slider, step, play), this.text);
  }

  /** Stop at a whole frame. */
  goTo(frame) {
    this.direction = 0;
    this.frame = Math.min(Math.max(frame, 0), lastFrame(this.map()));
    this.show();
    this.describe();
  }

  /** Run forwards (1) or backwards (-1); pressed while running: pause. */
  play(direction) {
    if (this.direction === direction) return this.goTo(Math.round(this.frame));
    const last = lastFrame(this.map());
    if (direction > 0 && this.frame >= last) this.frame = 0;
    if (direction < 0 && this.frame <= 0) this.frame = last;
    this.direction = direction;
    let before = performance.now();
    const tick = (now) => {
      if (this.direction !== direction) return;
      const passed = Math.max(now - before, 0) / 1000 / SECONDS_PER_FRAME;
      if (!still.matches || passed >= 1.5) {
        before = now;
        this.frame += direction * (still.matches ? 1 : passed);
      }
      if (direction > 0 ? this.frame >= last : this.frame <= 0) return this.goTo(this.frame);
      this.show();
      this.describe();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    this.describe();
  }

  /** Bring slider, buttons and text to the frame. */
  describe() {
    const running = { back: -1, play: 1 };
    for (const [name, button] of Object.entries(this.buttons)) {
      const on = running[name] !== undefined && this.direction === running[name];
      button.setAttribute("aria-label", say(on ? "player.pause" : `player.${name}`));
      button.querySelector("use").setAttribute("href", `#icon-${on ? "pause" : ICONS[name]}`);
    }
    const text = frameText(this.map(), this.frame);
    this.slider.value = Math.round(this.frame);
    this.slider.setAttribute("aria-label", say("player.slider"));
    this.slider.setAttribute("aria-valuetext", text);
    if (this.text.textContent !== text) this.text.textContent = text;
  }
}
