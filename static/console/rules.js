// The rules of a profile: switches and order act on the draft without leaving the page, so that what is typed in the
// profile's form stays. Each answer brings the profile's new version, which the form must send when it is saved.

import { sortable } from "./sortable.js";

const list = document.getElementById("rule-list");
const acts = document.getElementById("rule-acts");
const form = document.getElementById("profile-form");
const status = document.getElementById("rules-status");

const cards = () => [...list.querySelectorAll("[data-rule]")];
const nameOf = (card) => card.querySelector(".rule-name").textContent;

async function act(url, values) {
  const body = new URLSearchParams({ ...values, csrfmiddlewaretoken: acts.elements.csrfmiddlewaretoken.value });
  const response = await fetch(url, { method: "POST", body, headers: { Accept: "application/json" } });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? "The server refused it.");
  if (form.elements.version) form.elements.version.value = answer.version;
  return answer.done;
}

// Nothing is shown that the server has not done: on a refusal the page is read again.
async function attempt(work) {
  try {
    status.textContent = await work();
  } catch {
    location.reload();
  }
}

// -- switches -------------------------------------------------------------------------------------------------
function showSwitch(card, enabled) {
  const button = card.querySelector("[data-switch]");
  button.setAttribute("aria-checked", String(enabled));
  button.value = enabled ? "0" : "1";
  button.querySelector(".switch-word").textContent = enabled ? "On" : "Off";
  card.classList.toggle("rule-off", !enabled);
}

function flip(card) {
  const button = card.querySelector("[data-switch]");
  const enabled = button.value === "1";
  return attempt(async () => {
    const done = await act(button.formAction, { enabled: button.value });
    showSwitch(card, enabled);
    return done;
  });
}

// -- order ----------------------------------------------------------------------------------------------------
function number() {
  const present = cards();
  present.forEach((card, place) => {
    const [up, down] = ["up", "down"].map((way) => card.querySelector(`[data-move="${way}"]`));
    if (!up) return;
    up.value = place - 1;
    down.value = place + 1;
    up.disabled = place === 0;
    down.disabled = place === present.length - 1;
  });
}

function settle(card) {
  const place = cards().indexOf(card);
  number();
  return attempt(async () => {
    await act(card.dataset.moveUrl, { position: place });
    return `${nameOf(card)} is now rule ${place + 1} of ${cards().length}.`;
  });
}

function move(card, button) {
  const other = cards()[Number(button.value)];
  if (!other) return;
  if (button.dataset.move === "up") other.before(card);
  else other.after(card);
  settle(card);
  (button.disabled ? card.querySelector("[data-move]:not(:disabled)") : button)?.focus();
}

// -- shares within each rule ----------------------------------------------------------------------------------
async function fetchShares() {
  const probe = form.elements.probe?.value ?? "";
  let answer;
  try {
    const response = await fetch(`${list.dataset.shares}?${new URLSearchParams({ probe })}`);
    if (!response.ok) return;
    answer = await response.json();
  } catch {
    return; // offline for a moment: the figures stay as they are
  }
  for (const card of cards()) {
    const places = [...card.querySelectorAll("[data-rule-shares] .share")];
    (answer[card.dataset.rule]?.rows ?? []).forEach((row, index) => {
      const place = places[index];
      place.querySelector("output").textContent = row.text;
      place.querySelector(".bar-fill").setAttribute("width", `${(row.share ?? 0) * 100}%`);
      place.classList.toggle("share-none", !row.share);
      place.title = row.note;
    });
  }
}

if (list) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-switch], [data-move]");
    if (!button) return;
    event.preventDefault();
    const card = button.closest("[data-rule]");
    if (button.matches("[data-switch]")) flip(card);
    else move(card, button);
  });
  if (acts) sortable(list, "[data-rule]", settle);
  form.elements.probe?.addEventListener("change", fetchShares);
  fetchShares();
}
