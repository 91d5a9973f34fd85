// Statements about the picture, each with its probability and, on request, the part of the picture it rests on.

import { ask } from "./api.js";
import { NO_PICTURE, bar, make, percent, sayForm } from "./dom.js";
import { hide, showHeat } from "./overlay.js";

const SHOWN_AT_FIRST = 4;

export function matchPanel({ limits, picture, announce, attempt, explains }) {
  const list = make("ul", { class: "answers", "aria-label": "Statements" });
  const statement = sayForm({
    label: "A statement about the picture",
    placeholder: "Say something about the picture …",
    button: "Ask",
    limit: limits.max_characters,
    submit: (text) => { add(text); statement.input.value = ""; },
  });
  let rows = [];
  let typed = false;

  function add(text) {
    typed = true;
    const known = rows.find((row) => row.text === text);
    const row = known ?? { text };
    rows = [row, ...rows.filter((one) => one !== row)].slice(0, limits.max_texts);
    score([row], () => {
      if (known) return;
      rows = rows.filter((one) => one !== row);
      statement.input.value ||= text; // to be mended, or sent again
    });
  }

  async function score(wanted, refused = () => {}) {
    const current = picture();
    wanted.forEach((row) => { row.busy = true; });
    draw();
    if (!wanted.length) return;
    await attempt(async () => {
      if (!current) throw new Error(NO_PICTURE);
      const found = await ask("match", { image: current.blob, texts: wanted.map((row) => row.text) });
      if (picture() !== current) return; // another picture was taken meanwhile
      found.answers.forEach((answer, index) => { Object.assign(wanted[index], { answer, busy: false }); });
      announce(found.answers.map((answer) => `${answer.text}: ${answer.decision}, ${percent(answer.score)}`).join("; "));
      draw();
      if (explains && wanted.length === rows.length) explain(rows[0]);
    }, () => {
      if (picture() !== current) return;
      wanted.forEach((row) => { row.busy = false; });
      refused();
      draw();
    });
  }

  async function explain(row) {
    const current = picture();
    rows.forEach((one) => { one.chosen = false; });
    row.chosen = true;
    draw();
    await attempt(async () => {
      const found = await ask("explain", { image: current.blob, text: row.text });
      if (picture() !== current || !row.chosen) return;
      showHeat(found.heat);
      announce(`The map of “${row.text}” is shown on the picture.`);
    });
  }

  function draw() {
    // Rows are made anew; whoever stood on a button of one stands on it again.
    const focused = rows.find((row) => row.element?.contains(document.activeElement));
    const why = document.activeElement.classList.contains("why");
    rows.forEach((row) => { row.element = drawn(row); });
    list.replaceChildren(...rows.map((row) => row.element));
    const button = focused && ((why && focused.element.querySelector(".why")) || focused.element.querySelector(".remove"));
    button?.focus();
  }

  function drawn(row) {
    const { answer, busy } = row;
    const kind = answer ? answer.decision : "waiting";
    return make("li", { class: `answer${row.chosen ? " chosen" : ""}${busy ? " busy" : ""}` },
      make("span", { class: "text", text: row.text }),
      make("span", { class: `verdict ${kind}`, text: answer ? { true: "True", false: "False" }[kind] : busy ? "…" : "–" }),
      make("div", { class: "measure" }, bar(answer ? answer.score : 0, kind),
        make("output", { text: answer ? percent(answer.score) : "" })),
      make("div", { class: "row-actions" },
        explains && answer && make("button", {
          type: "button", class: "link why", text: row.chosen ? "Shown on the picture" : "Why?", "aria-pressed": String(Boolean(row.chosen)),
          onclick: () => explain(row),
        }),
        make("button", { type: "button", class: "link remove", text: "Remove", "aria-label": `Remove: ${row.text}`, onclick: () => remove(row) })));
  }

  function remove(row) {
    rows = rows.filter((one) => one !== row);
    if (row.chosen) hide();
    draw();
    statement.input.focus();
  }

  document.getElementById("stage").addEventListener("overlayhidden", () => {
    rows.forEach((row) => { row.chosen = false; });
    draw();
  });

  return {
    element: make("div", {},
      make("p", { class: "lead", text: "Is it true of the picture? The model gives each statement a probability." }),
      statement.form, list),
    changed(current) {
      // A sample brings its own statements, until somebody has typed some.
      if (!typed) rows = (current.sample?.texts ?? []).slice(0, SHOWN_AT_FIRST).map((text) => ({ text }));
      rows.forEach((row) => { row.answer = null; row.chosen = false; });
      statement.suggest((current.sample?.texts ?? []).filter((text) => typed || !rows.some((row) => row.text === text)));
      score(rows);
    },
  };
}
