// All words of the page: texts.json in English, texts.zh.json in Chinese.

import { data, state } from "./state.js";

/** The text `key` in the page's language; {name} in it is replaced by values.name. */
export function say(key, values = {}) {
  const text = data.texts[state.language][key];
  if (!text) throw new Error(`texts.json: expected a text for ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? facts[name]);
}

/** Numbers that the texts mention: all from the model. */
const facts = (() => {
  const { config, parameters } = data;
  const [[h, w], [h2, w2]] = config.grids;
  const M = config.window_size;
  return {
    h,
    w,
    h2,
    w2,
    M,
    parameters: parameters.toLocaleString("en"),
    side: config.img_size,
    p: config.patch_size,
    patchNumbers: config.patch_size ** 2,
    tokens: h * w,
    tokens2: h2 * w2,
    m: M ** 2,
    windows: (h * w) / M ** 2,
    pairs: ((h * w) ** 2).toLocaleString("en"),
    windowPairs: (h * w * M ** 2).toLocaleString("en"),
    c: config.widths[0],
    c2: config.widths[1],
    c4: 4 * config.widths[0],
    heads1: config.num_heads[0],
    heads2: config.num_heads[1],
    shift: Math.floor(M / 2),
    classes: config.num_classes,
  };
})();

export const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.0995 ? 1 : 0)} %`;
export const signed = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
export const className = (label) => say(`class.${label}`);

/** Put the texts into every element that asks for one. */
export function fillTexts() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of document.querySelectorAll("[data-say-html]")) element.innerHTML = say(element.dataset.sayHtml);
  for (const element of document.querySelectorAll("[data-say-label]"))
    element.setAttribute("aria-label", say(element.dataset.sayLabel));
}

/** Have a screen reader say it. */
export const announce = (text) => (document.getElementById("say").textContent = text);

/** An element with attributes and children: make("p", { class: "hint" }, "text", otherElement). */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A figure with a canvas and a caption, to be drawn later: { figure, canvas, caption }. */
export function makeFigure(attributes = {}) {
  const canvas = make("canvas", attributes);
  const caption = make("figcaption");
  return { figure: make("figure", {}, canvas, caption), canvas, caption };
}
