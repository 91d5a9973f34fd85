// Statements about the picture, each with its probability and, on request, the part of the picture it rests on.

import { ask } from "./api.js";
import { bar, make, percent, sayForm } from "./dom.js";
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
    rows = [{ text }, ...rows.filter((row) => row.text !== text)].slice(0, limits.max_texts);
    score([rows[0]]);
  }

  async function score(wanted) {
    const current = picture();
    draw();
    if (!current || !wanted.length) return;
    await attempt(async () => {
      const found = await ask("match", { image: current.blob, texts: wanted.map((row) => row.text) });
      if (picture() !== current) return; // another picture was taken meanwhile
      found.answers.forEach((answer, index) => { wanted[index].answer = answer; });
      announce(found.answers.map((answer) => `${answer.text}: ${answer.decision}, ${percent(answer.score)}`).join("; "));
      draw();
      if (explains && wanted.length === rows.length) explain(rows[0]);
    }, () => { rows = rows.filter((row) => row.answer); draw(); });
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
    list.replaceChildren(...rows.map(drawn));
  }

  function drawn(row) {
    const { answer } = row;
    const kind = answer ? answer.decision : "waiting";
    return make("li", { class: `answer${row.chosen ? " chosen" : ""}${answer ? "" : " busy"}` },
      make("span", { class: "text", text: row.text }),
      make("span", { class: `verdict ${kind}`, text: answer ? { true: "True", false: "False" }[kind] : "…" }),
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
