// Small elements, made without markup from text.

/** An element with properties (`class`, `text`, `on…`, attributes) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = value;
    else if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** A picture of an object URL, which is given back once it is shown. */
export function shownOnce(address, properties) {
  const free = () => URL.revokeObjectURL(address);
  return make("img", { src: address, onload: free, onerror: free, ...properties });
}

export const NO_PICTURE = "Take a picture first.";

export const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.005 ? 1 : 0)} %`;

/** A bar of a share between 0 and 1; `kind` colours it. */
export function bar(share, kind = "") {
  const fill = make("i");
  requestAnimationFrame(() => fill.style.setProperty("width", `${100 * share}%`));
  return make("div", { class: `bar ${kind}`, "aria-hidden": "true" }, fill);
}

/** A line to type into, a button, and suggestions that fill it in. */
export function sayForm({ label, placeholder, button, limit, submit }) {
  const input = make("input", { type: "text", "aria-label": label, placeholder, maxlength: limit, autocomplete: "off", enterkeyhint: "send" });
  const send = make("button", { type: "submit", class: "main", text: button });
  const chips = make("div", { class: "chips" });
  const form = make("form", {
    onsubmit: (event) => {
      event.preventDefault();
      if (input.value.trim()) submit(input.value.trim());
      input.select();
    },
  }, make("div", { class: "say" }, input, send), chips);
  const suggest = (texts) => chips.replaceChildren(...texts.map((text) => make("button", {
    type: "button", text, onclick: () => { input.value = text; submit(text); },
  })));
  return { form, input, suggest };
}

/** Shares by name, the largest first, as bars. */
export function scoreList(scores, most = 5) {
  const sorted = Object.entries(scores).sort((one, other) => other[1] - one[1]).slice(0, most);
  return make("ul", { class: "scores" }, ...sorted.map(([name, share]) =>
    make("li", {}, make("span", { text: name }), bar(share), make("output", { text: percent(share) }))));
}
