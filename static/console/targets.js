// The targets of a profile or a rule: order by buttons, keyboard or dragging; add and remove; shares that follow every edit.
// The server computes the shares with the engine itself from the unsaved form; nothing is saved by it.

import { sortable } from "./sortable.js";

const list = document.getElementById("targets");
const form = list.closest("form");
const blank = document.getElementById("target-blank");
const total = form.querySelector(`[name="${list.dataset.prefix}-TOTAL_FORMS"]`);

function rows() {
  return [...list.querySelectorAll(".target:not(.target-head)")];
}

function present() {
  return rows().filter((row) => !row.hasAttribute("data-removed"));
}

function number() {
  const kept = present();
  kept.forEach((row, place) => {
    const order = row.querySelector("[data-order]");
    if (!order) return;
    order.value = place + 1;
    row.querySelector('[data-move="up"]').disabled = place === 0;
    row.querySelector('[data-move="down"]').disabled = place === kept.length - 1;
  });
  const empty = document.getElementById("no-targets");
  if (empty) empty.hidden = kept.length > 0;
}

// -- model names the chosen provider is known to serve ------------------------------------------------------------
function offerModels(row) {
  const provider = row.querySelector('[data-field="provider"]').value;
  row.querySelector('[data-field="model"]').setAttribute("list", `models-${provider}`);
}

// -- shares -------------------------------------------------------------------------------------------------------
let waiting;
let asked = 0;

function scheduleShares() {
  if ("readOnly" in form.dataset) {
    // Fields that cannot be edited are not sent either: ask for the page itself.
    location.search = new URLSearchParams({ probe: form.elements.probe.value });
    return;
  }
  clearTimeout(waiting);
  waiting = setTimeout(fetchShares, 250);
}

async function fetchShares() {
  const mine = ++asked;
  list.classList.add("shares-stale");
  try {
    const answer = await fetch(form.dataset.shares, {
      method: "POST",
      body: new FormData(form),
      headers: { Accept: "application/json" },
    });
    if (mine !== asked) return;
    if (answer.ok) showShares(await answer.json());
  } catch {
    // Offline for a moment: the figures stay marked as old until the next edit.
    return;
  }
  if (mine === asked) list.classList.remove("shares-stale");
}

function showShares(shares) {
  for (const row of rows()) {
    const share = shares.rows[row.dataset.row];
    const place = row.querySelector("[data-share]");
    const note = row.querySelector("[data-note]");
    place.querySelector("output").textContent = share?.text ?? "–";
    place.querySelector(".bar-fill").setAttribute("width", `${(share?.share ?? 0) * 100}%`);
    place.classList.toggle("share-none", !share?.share);
    note.textContent = share?.note ?? "";
    note.hidden = !share?.note;
  }
  document.getElementById("shares-note").textContent = shares.note;
}

// -- moving, adding, removing ---------------------------------------------------------------------------------------
function move(row, step) {
  const kept = present();
  const other = kept[kept.indexOf(row) + step];
  if (!other) return;
  if (step < 0) other.before(row);
  else other.after(row);
  number();
  scheduleShares();
}

list.addEventListener("click", (event) => {
  const row = event.target.closest(".target");
  const mover = event.target.closest("[data-move]");
  if (mover) {
    move(row, mover.dataset.move === "up" ? -1 : 1);
    // Moving re-inserts the row, which drops the focus; an end of the list offers only the other direction.
    (mover.disabled ? row.querySelector("[data-move]:not(:disabled)") : mover)?.focus();
  }
  if (event.target.closest("[data-remove]")) {
    const kept = present();
    const next = kept[kept.indexOf(row) + 1] ?? kept[kept.indexOf(row) - 1];
    row.querySelector("[data-delete]").checked = true;
    row.setAttribute("data-removed", "");
    number();
    scheduleShares();
    (next?.querySelector("[data-remove]") ?? document.getElementById("add-target"))?.focus();
  }
});

document.getElementById("add-target")?.addEventListener("click", () => {
  const holder = document.createElement("template");
  holder.innerHTML = blank.innerHTML.replaceAll("__prefix__", total.value);
  const row = holder.content.querySelector(".target");
  list.append(row);
  total.value = Number(total.value) + 1;
  number();
  offerModels(row);
  row.querySelector("select").focus();
});

sortable(list, ".target:not(.target-head)", () => {
  number();
  scheduleShares();
});

// -- what else the shares depend on -----------------------------------------------------------------------------------
form.addEventListener("input", (event) => {
  const field = event.target;
  if (field.dataset.field === "provider") offerModels(field.closest(".target"));
  const counts = ["strategy", "mode", "probe", "fallback_to_profile"].includes(field.name);
  if (counts || field.closest("#targets") || field.closest("[data-choice]")) scheduleShares();
});

number();
rows().forEach(offerModels);
