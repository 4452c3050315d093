// The condition of a rule: the visual editor over the form's own field, which holds the JSON, and the sentence below.
//
// The field is what the form sends; without scripts it is edited as it is. The server judges every edit and says what
// the condition means, so that there is one parser and one way to put a condition into words.

import { Catalogue } from "./conditions/catalogue.js";
import { Editor } from "./conditions/editor.js";

const root = document.querySelector("[data-conditions]");
const field = root.querySelector("textarea[name]");
const place = root.querySelector("[data-editor]");
const sentence = root.querySelector("[data-sentence]");
const problems = root.querySelector("[data-problems]");
const views = [...root.querySelectorAll("[data-view]")];

const catalogue = new Catalogue(JSON.parse(root.dataset.catalogue));
catalogue.first = JSON.parse(root.dataset.first);
const templates = Object.fromEntries(
  [...root.querySelectorAll("template[data-node]")].map((template) => [template.dataset.node, template]),
);
const editor = new Editor(place, catalogue, templates, () => {
  field.value = JSON.stringify(editor.tree(), null, 2);
  field.dispatchEvent(new Event("change", { bubbles: true }));
  scheduleCheck();
});

// -- editor or JSON --------------------------------------------------------------------------------------------
let view = "json";

function readJson() {
  try {
    return { tree: JSON.parse(field.value) };
  } catch (error) {
    return { problem: `This is not JSON: ${error.message}` };
  }
}

function choose(next) {
  const { tree, problem } = readJson();
  if (next === "editor" && problem) {
    showProblems([problem]);
    next = "json";
  } else if (next === "editor" && view !== "editor") {
    editor.load(tree);
  }
  view = next;
  place.hidden = view !== "editor";
  root.querySelector("[data-json]").hidden = view !== "json";
  for (const button of views) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  root.querySelector("[data-foot]").hidden = view !== "editor";
  if (!problem) scheduleCheck(0);
}

for (const button of views) button.addEventListener("click", () => choose(button.dataset.view));
for (const button of root.querySelectorAll("[data-add]"))
  button.addEventListener("click", () => {
    const clause = editor.newClause();
    editor.addToRoot(button.dataset.add === "group" ? { any: [clause] } : clause);
  });
field.addEventListener("input", () => scheduleCheck());

// -- what it means, and what is wrong with it ------------------------------------------------------------------
let waiting;
let asked = 0;

function scheduleCheck(delay = 250) {
  clearTimeout(waiting);
  waiting = setTimeout(check, delay);
}

function showProblems(messages) {
  problems.replaceChildren(
    ...messages.map((message) => Object.assign(document.createElement("li"), { textContent: message })),
  );
  problems.hidden = !messages.length;
}

async function check() {
  const mine = ++asked;
  const body = new URLSearchParams({
    when: field.value,
    csrfmiddlewaretoken: root.closest("form").elements.csrfmiddlewaretoken.value,
  });
  let answer;
  try {
    const response = await fetch(root.dataset.check, { method: "POST", body, headers: { Accept: "application/json" } });
    if (!response.ok) return;
    answer = await response.json();
  } catch {
    return; // offline for a moment: the last sentence stays until the next edit
  }
  if (mine !== asked) return;
  sentence.textContent = answer.sentence || "This condition cannot be read yet.";
  sentence.classList.toggle("quiet", !answer.sentence);
  // What the page came with is told anew below, at the clauses that have it.
  root.querySelector("[data-server-errors]").hidden = true;
  const left = view === "editor" ? editor.showErrors(answer.errors) : answer.errors;
  showProblems(left.map(({ path, message }) => (path === "when" ? message : `${path}: ${message}`)));
}

root.querySelector("[data-views]").hidden = false;
choose("editor");
