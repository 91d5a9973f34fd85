// The page: which picture, which question, and who answers. Panels are shown for what the bundle answers.

import { get, getFile, hasKey, onLocked, sampleAddress } from "./api.js";
import { make, shownOnce } from "./dom.js";
import { hide } from "./overlay.js";
import { PANELS } from "./panels.js";

const SHOWN = 8; // of the samples; all of them are searched
const $ = (id) => document.getElementById(id);
const state = { picture: null, panels: [] };

const announce = (text) => { $("status").textContent = text; };

/** Run `action`; say what went wrong, in the service's words. */
async function attempt(action, failed = () => {}) {
  $("problem").hidden = true;
  try {
    await action();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
    failed();
  }
}

// The picture

async function take(blob, { name = "your picture", alt = "Your picture", sample = null } = {}) {
  const shown = $("shown");
  const address = URL.createObjectURL(blob);
  hide();
  state.picture = { blob, name, sample };
  if (shown.src) URL.revokeObjectURL(shown.src);
  shown.src = address;
  shown.alt = alt;
  shown.hidden = false;
  $("empty").hidden = true;
  // A picture that the browser cannot show (a TIFF) can still be asked about; the service has the last word.
  await shown.decode().catch(() => { shown.hidden = true; });
  for (const button of $("samples").children) button.setAttribute("aria-pressed", String(button.dataset.file === sample?.file));
  for (const panel of state.panels) panel.changed?.(state.picture);
}

async function takeSample(sample) {
  await attempt(async () => {
    await take(await getFile(`/samples/${encodeURIComponent(sample.file)}`), { name: sample.file, alt: sample.alt, sample });
  });
}

function takeFile(file) {
  if (file) take(file, { name: file.name, alt: `Your picture, ${file.name}` });
}

function listen() {
  const stage = $("stage");
  $("file").addEventListener("change", (event) => { takeFile(event.target.files[0]); event.target.value = ""; });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); stage.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) stage.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    takeFile(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    takeFile([...event.clipboardData.files].find((file) => file.type.startsWith("image/")));
  });
  $("overlay-off").addEventListener("click", () => {
    hide(); // and the button with it: the keyboard goes on where texts are typed
    document.querySelector("[role=tabpanel]:not([hidden]) input")?.focus();
  });
  for (const link of document.querySelectorAll("footer a")) {
    link.addEventListener("click", (event) => {
      if (!hasKey()) return;
      event.preventDefault(); // a link carries no key
      attempt(async () => location.assign(URL.createObjectURL(await getFile(link.getAttribute("href")))));
    });
  }
  $("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    setTheme(dark ? "light" : "dark");
  });
  $("about-open").addEventListener("click", () => $("about").showModal());
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("vlp-theme", theme);
}

// The tabs

function showTabs(endpoints, limits) {
  const names = new Set(endpoints.map((endpoint) => endpoint.name));
  const context = {
    limits, announce, attempt, picture: () => state.picture, explains: names.has("explain"), take,
    modality: endpoints.find((endpoint) => endpoint.name === "classify")?.modality,
  };
  const offered = PANELS.filter((panel) => names.has(panel.endpoint));
  state.panels = offered.map((panel) => ({ ...panel, ...panel.open(context) }));
  $("tabs").replaceChildren(...state.panels.map((panel, index) => make("button", {
    type: "button", role: "tab", id: `tab-${panel.endpoint}`, "aria-controls": `panel-${panel.endpoint}`, text: panel.title,
    onclick: () => choose(index), onkeydown: (event) => step(event, index),
  })));
  $("panels").replaceChildren(...state.panels.map((panel) => make("div", {
    role: "tabpanel", id: `panel-${panel.endpoint}`, "aria-labelledby": `tab-${panel.endpoint}`, hidden: true,
  }, panel.element)));
  if (state.panels.length) choose(0);
  else $("panels").append(make("p", { class: "lead", text: "This bundle answers nothing that the page knows how to ask." }));
}

function choose(chosen) {
  state.panels.forEach((panel, index) => {
    const tab = $(`tab-${panel.endpoint}`);
    tab.setAttribute("aria-selected", String(index === chosen));
    tab.tabIndex = index === chosen ? 0 : -1;
    $(`panel-${panel.endpoint}`).hidden = index !== chosen;
    panel.shown?.(index === chosen);
  });
  hide();
  $("problem").hidden = true;
}

function step(event, index) {
  const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!move) return;
  const next = (index + move + state.panels.length) % state.panels.length;
  choose(next);
  $(`tab-${state.panels[next].endpoint}`).focus();
}

// The model

function showFacts(served, told) {
  const facts = { Bundle: served.bundle, Answers: told.tasks.join(", "), Data: `${served.lineage.data ?? "?"}`.slice(0, 16) };
  for (const [task, values] of Object.entries(served.metrics)) {
    const named = ["accuracy", "roc_auc", "hard_negative_accuracy", "cider", "miou", "macro_f1", "faithful_share"];
    for (const name of named.filter((one) => typeof values[one] === "number")) {
      facts[`${task}: ${name.replaceAll("_", " ")}`] = values[name].toFixed(3);
    }
  }
  facts["Largest picture"] = `${(told.limits.max_bytes / 1e6).toFixed(0)} MB, ${(told.limits.max_pixels / 1e6).toFixed(0)} megapixels`;
  for (const [library, version] of Object.entries(served.lineage.libraries ?? {})) facts[library] = version;
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
  $("bundle").textContent = `Bundle ${served.bundle} · ${told.tasks.join(", ")}`;
}

function askForKey(wrong) {
  $("key-problem").hidden = !wrong;
  if (!$("locked").open) $("locked").showModal();
  return new Promise((resolve) => {
    $("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      $("locked").close();
      resolve($("key").value);
    }, { once: true });
  });
}

async function start() {
  const theme = localStorage.getItem("vlp-theme");
  if (theme) document.documentElement.dataset.theme = theme;
  listen();
  onLocked(askForKey);
  $("locked").addEventListener("cancel", (event) => event.preventDefault());
  await attempt(async () => {
    const told = await get("/tasks");
    showTabs(told.endpoints, told.limits);
    const [served, offered] = await Promise.all([get("/lineage"), get("/samples/index.json")]);
    showFacts(served, told);
    $("source").textContent = offered.source;
    const offer = offered.samples.slice(0, SHOWN);
    const addresses = await Promise.all(offer.map((sample) => sampleAddress(sample.file)));
    $("samples").replaceChildren(...offer.map((sample, index) => make("button", {
      type: "button", "data-file": sample.file, "aria-pressed": "false", "aria-label": sample.alt, onclick: () => takeSample(sample),
    }, shownOnce(addresses[index], { alt: "" }))));
    if (offered.samples.length) await takeSample(offered.samples[0]);
  });
}

start();
