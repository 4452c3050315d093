// The frame: theme switch, navigation drawer on narrow screens, copy buttons, local time on hover.

import { localTimes } from "./times.js";

const root = document.documentElement;
const shell = document.querySelector(".shell");

// -- theme ----------------------------------------------------------------------------------------------------
function currentTheme() {
  return root.dataset.theme ?? "auto";
}

function showTheme() {
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === currentTheme()));
  }
}

for (const button of document.querySelectorAll("[data-theme-choice]")) {
  button.addEventListener("click", () => {
    const chosen = button.dataset.themeChoice;
    if (chosen === "auto") delete root.dataset.theme;
    else root.dataset.theme = chosen;
    try {
      if (chosen === "auto") localStorage.removeItem("signalbox.theme");
      else localStorage.setItem("signalbox.theme", chosen);
    } catch {
      // Storage is blocked: the choice lasts until the next page.
    }
    showTheme();
  });
}
showTheme();

// -- navigation drawer ------------------------------------------------------------------------------------------
const toggle = document.querySelector(".rail-toggle");

function setDrawer(open) {
  shell.classList.toggle("rail-open", open);
  toggle.setAttribute("aria-expanded", String(open));
  if (open) document.querySelector(".rail a")?.focus();
  else toggle.focus();
}

toggle?.addEventListener("click", () => setDrawer(!shell.classList.contains("rail-open")));
document.querySelector(".scrim")?.addEventListener("click", () => setDrawer(false));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && shell?.classList.contains("rail-open")) setDrawer(false);
});

// -- copy ---------------------------------------------------------------------------------------------------------
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard API on plain http beyond loopback: the old way.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await copyText(document.getElementById(button.dataset.copy).textContent);
  const word = button.querySelector("[data-copy-word]");
  const before = word.textContent;
  word.textContent = "Copied";
  button.setAttribute("aria-live", "polite");
  setTimeout(() => {
    word.textContent = before;
  }, 1800);
});

localTimes(document);

// -- forms ----------------------------------------------------------------------------------------------------------
// Selects marked data-submit send their form at once (filters), but for the choice that asks for more (data-stay).
document.addEventListener("change", (event) => {
  const { target } = event;
  if (target.matches("[data-submit]") && target.value !== target.dataset.stay) target.form.requestSubmit();
});

// What takes more than a moment says so on its button (data-busy), until the next page is there.
document.addEventListener("submit", (event) => {
  const word = event.submitter?.dataset.busy;
  if (!word) return;
  event.submitter.lastChild.textContent = word;
  event.submitter.setAttribute("aria-busy", "true");
});
