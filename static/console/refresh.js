// Parts of a page that keep themselves fresh: every few seconds the address in data-refresh is read, and what it has
// of the elements marked data-part (by their id) is shown.
//
// What is on the page is changed and not replaced: the focus, what is unfolded and what is typed stay. Lists
// (data-list) know their entries by id and put them in their new order, but not while something in them that is
// being filled in (an open data-still) would move away under somebody's hand; that itself is left alone.

import { localTimes } from "./times.js";

const EVERY = 3000; // ms between two readings
const PATIENCE = 10000; // ms for one

const bar = document.querySelector("[data-refresh]");
const button = bar?.querySelector("button");
const said = bar?.querySelector("[role=status]");
const STILL = "[data-still][open]";

// -- bringing the page up to date -------------------------------------------------------------------------------
function sync(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.matches(STILL) || old.isEqualNode(fresh)) return;
  const news = old.dataset.news !== fresh.dataset.news;
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // Folded or unfolded as people left it, until there is something new to see.
  if (news && fresh.open) old.open = true;
  (old.hasAttribute("data-list") ? syncList : syncChildren)(old, fresh);
}

function syncChildren(old, fresh) {
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    if (place && place.nodeName === wanted.nodeName && (place.id ?? "") === (wanted.id ?? "")) {
      sync(place, wanted);
      place = place.nextSibling;
    } else {
      old.insertBefore(wanted, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function syncList(old, fresh) {
  const wanted = [...fresh.children];
  const ids = new Set(wanted.map((entry) => entry.id));
  const still = old.querySelector(STILL) !== null;
  for (const entry of [...old.children]) {
    if (!ids.has(entry.id) && !entry.querySelector(STILL)) entry.remove();
  }
  const present = new Map([...old.children].map((entry) => [entry.id, entry]));
  let place = old.firstElementChild;
  for (const entry of wanted) {
    const known = present.get(entry.id);
    if (known) sync(known, entry);
    if (still) {
      if (!known) old.append(entry);
    } else if (known === place) {
      place = place.nextElementSibling;
    } else {
      old.insertBefore(known ?? entry, place);
    }
  }
}

function show(fresh) {
  const focused = document.activeElement;
  const home = focused.closest("[data-list] > [id]")?.id;
  localTimes(fresh);
  for (const part of document.querySelectorAll("[data-part]")) {
    const news = fresh.getElementById(part.id);
    if (news) sync(part, news);
  }
  if (document.activeElement === focused) return;
  // It was moved, or what it belonged to looks different now.
  if (!focused.isConnected) document.getElementById(home)?.querySelector("a, button, summary")?.focus();
  else focused.focus({ preventScroll: true });
}

// -- reading ------------------------------------------------------------------------------------------------------
let paused = false;
let timer;

function say(text) {
  if (said.textContent !== text) said.textContent = text;
}

async function read() {
  let response;
  try {
    response = await fetch(bar.dataset.refresh, { signal: AbortSignal.timeout(PATIENCE) });
    // Logged out, or the role was taken away: the page itself says so.
    if (response.redirected || response.status === 403) return location.reload();
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!paused) show(page);
    say(paused ? "Paused" : "");
  } catch {
    say("The console cannot be reached; trying again");
  }
}

async function keepFresh() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  await read();
  clearTimeout(timer);
  timer = setTimeout(keepFresh, EVERY);
}

function pause(wanted) {
  paused = wanted;
  button.setAttribute("aria-pressed", String(paused));
  say(paused ? "Paused" : "");
  keepFresh();
}

if (bar) {
  bar.hidden = false;
  button.addEventListener("click", () => pause(!paused));
  document.addEventListener("visibilitychange", keepFresh);
  timer = setTimeout(keepFresh, EVERY);
}
