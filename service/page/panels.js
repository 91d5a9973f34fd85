// The page's tabs, in order; each is shown when the bundle has its endpoint.

import { ask, sampleAddress } from "./api.js";
import { NO_PICTURE, make, percent, sayForm, scoreList, shownOnce } from "./dom.js";
import { matchPanel } from "./match.js";
import { hide, showMask } from "./overlay.js";

/** A panel of a line to type into and a result below it; `run` makes the result of what was typed, or of the picture
 *  alone (null) where a button `pictured` offers that. */
function typedPanel({ limits, picture, announce, attempt }, { lead, label, placeholder, button, suggestions, run, alone, pictured }) {
  const result = make("div", { class: "result" });
  const submit = (text) => attempt(async () => {
    const current = picture();
    if (!current && (!alone || text === null)) throw new Error(NO_PICTURE);
    result.classList.add("busy");
    try {
      const { element, said } = await run(text, current);
      if (!alone && picture() !== current) return; // another picture was taken meanwhile
      result.replaceChildren(element);
      announce(said);
    } finally {
      result.classList.remove("busy");
    }
  });
  const line = sayForm({ label, placeholder, button, limit: limits.max_characters, submit });
  const other = pictured && make("button", { type: "button", class: "quiet", text: pictured, onclick: () => submit(null) });
  return {
    element: make("div", {}, make("p", { class: "lead", text: lead }), line.form, other, result),
    changed(current) {
      if (!alone) result.replaceChildren(); // what is not about the picture stays
      line.suggest(current.sample?.[suggestions] ?? []);
    },
  };
}

/** A panel that answers for each picture by itself, once it is looked at. */
function pictureOnly({ picture, announce, attempt }, { lead, run }) {
  const result = make("div", { class: "result" });
  let answered = null;
  async function answer() {
    const current = picture();
    if (!current || answered === current) return;
    answered = current;
    result.replaceChildren(make("p", { class: "lead", text: "…" }));
    await attempt(async () => {
      const { element, said } = await run(current);
      if (picture() !== current) return;
      result.replaceChildren(element);
      announce(said);
    }, () => {
      if (picture() !== current) return;
      answered = null; // asked again when the tab is opened again
      result.replaceChildren();
    });
  }
  let shown = false;
  return {
    element: make("div", {}, make("p", { class: "lead", text: lead }), result),
    changed() { if (shown) answer(); },
    shown(now) { shown = now; if (now) answer(); },
  };
}

const askPanel = (context) => typedPanel(context, {
  lead: "Ask a question about the picture.", label: "A question about the picture",
  placeholder: "What would you like to know?", button: "Ask", suggestions: "questions",
  async run(question, { blob }) {
    const found = await ask("ask", { image: blob, question });
    const element = make("div", {}, make("p", { class: "lead", text: question }), make("p", { class: "big", text: found.answer }), scoreList(found.scores));
    return { element, said: `${question} ${found.answer}, ${percent(found.score)}` };
  },
});

const captionPanel = (context) => pictureOnly(context, {
  lead: "What the model sees, in its own words.",
  async run({ blob }) {
    const found = await ask("caption", { image: blob });
    const element = make("div", {}, make("p", { class: "big", text: `“${found.caption}”` }),
      make("p", { class: "lead", text: `${percent(found.score)} sure of each word on average` }));
    return { element, said: found.caption };
  },
});

const classifyPanel = (context) => {
  const classified = async (fields) => {
    const { labels, scores } = await ask("classify", fields);
    const said = labels.join(", ") || "None of the classes";
    return { element: make("div", {}, make("p", { class: "big", text: said }), scoreList(scores, 8)), said };
  };
  if (context.modality === "image") {
    return pictureOnly(context, {
      lead: "Which of the classes it knows the picture shows.", run: ({ blob }) => classified({ image: blob }),
    });
  }
  const both = context.modality === "both";
  return typedPanel(context, {
    lead: both ? "Which of the classes it knows the picture and a text about it belong to." : "Which of the classes it knows a text belongs to.",
    label: "A text to classify", placeholder: "What does it say?", button: "Classify", suggestions: "texts", alone: !both,
    run: (text, current) => classified({ image: both ? current.blob : [], text }),
  });
};

const segmentPanel = (context) => typedPanel(context, {
  lead: "Name something in the picture, and see where the model finds it.", label: "Something in the picture",
  placeholder: "What are you looking for?", button: "Show", suggestions: "expressions",
  async run(text, { blob }) {
    hide();
    const mask = await createImageBitmap(await ask("segment", { image: blob, text }));
    const share = showMask(mask);
    const found = share ? `“${text}” covers ${percent(share)} of the picture.` : `The model finds no “${text}”.`;
    return { element: make("p", { class: "big", text: found }), said: found };
  },
});

const generatePanel = (context) => {
  let seed = 0;
  return typedPanel(context, {
    lead: "Say what to draw. Each time it is drawn anew.", label: "What to draw",
    placeholder: "What should be drawn?", button: "Draw", suggestions: "texts", alone: true,
    async run(text) {
      const address = URL.createObjectURL(await ask("generate", { text, seed }));
      seed += 1;
      const made = make("img", { class: "made", src: address, alt: `Drawn by the model: ${text}` });
      return { element: make("figure", {}, made, make("figcaption", { class: "lead", text })), said: `Drawn: ${text}` };
    },
  });
};

const retrievePanel = (context) => {
  const picture = async ({ id }) => {
    try {
      return shownOnce(await sampleAddress(id), { alt: id });
    } catch {
      return make("p", { text: id }); // an item of a saved index that is none of the samples
    }
  };
  const gallery = async (hits) => {
    const pictures = await Promise.all(hits.map(picture));
    return make("div", { class: "gallery" }, ...hits.map((hit, index) =>
      make("figure", {}, pictures[index], make("figcaption", { text: hit.score.toFixed(2) }))));
  };
  return typedPanel(context, {
    lead: "Describe a picture, or take the one that is shown, and find those of the collection that fit.", label: "A description",
    placeholder: "What should it show?", button: "Find", suggestions: "texts", alone: true, pictured: "Like this picture",
    async run(text, current) {
      const { hits } = await ask("retrieve", text === null ? { image: current.blob, k: 8 } : { image: [], texts: [text], k: 8 });
      return { element: await gallery(hits), said: `${hits.length} pictures were found.` };
    },
  });
};

export const PANELS = [
  { endpoint: "match", title: "True or false", open: matchPanel },
  { endpoint: "ask", title: "Questions", open: askPanel },
  { endpoint: "caption", title: "Caption", open: captionPanel },
  { endpoint: "classify", title: "Classes", open: classifyPanel },
  { endpoint: "segment", title: "Where", open: segmentPanel },
  { endpoint: "retrieve", title: "Find", open: retrievePanel },
  { endpoint: "generate", title: "Draw", open: generatePanel },
];
