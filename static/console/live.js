// The Live page: what its parts tell each other. `live/connection.js` follows the feed and comes back by itself,
// `live/table.js` shows routes and gaps, `live/figures.js` counts. The address holds the filter; the page is loaded
// anew for another one.

import { Connection } from "./live/connection.js";
import { Figures } from "./live/figures.js";
import { Table } from "./live/table.js";
import { grouped } from "./units.js";

const root = document.querySelector("[data-live]");
const page = JSON.parse(root.dataset.live);
// Times of gaps are the server's, whatever the reader's clock says.
const skew = new Date(page.now) - Date.now();
const clock = () => Date.now() + skew;

const part = (name) => root.querySelector(name);
const button = part("[data-pause]");
const states = part(".live-states");
const aside = part(".live-aside");
const table = new Table(root, page);
const figures = new Figures(root);

const number = (count) => `${grouped(count)} ${count === 1 ? "route" : "routes"}`;

function show(state) {
  if (states.dataset.state !== state) {
    states.dataset.state = state;
    states.replaceChildren(document.querySelector(`template[data-state="${state}"]`).content.cloneNode(true));
  }
  button.disabled = state !== "live" && state !== "paused";
  figures.running = state === "live";
  table.waiting = state === "live";
}

// What changes every second stands beside the state and not in it: screen readers hear of the state alone.
function note(text, link) {
  if (!link) {
    if (aside.textContent !== text) aside.textContent = text;
    return;
  }
  const anchor = document.createElement("a");
  anchor.href = link;
  anchor.textContent = text;
  aside.replaceChildren(anchor);
}

const connection = new Connection(page.filter, clock, {
  connecting() {
    show("connecting");
    note("");
  },
  live() {
    show("live");
    note("");
  },
  paused(missed) {
    show("paused");
    note(missed === null ? "" : `${number(missed)} came meanwhile`);
  },
  lost(seconds, reason) {
    show("lost");
    note(`in ${seconds} s${reason ? ` (${reason})` : ""}`);
  },
  signedOut() {
    show("signed-out");
    note("Sign in to go on", page.signIn);
  },
  refused(reason) {
    show("refused");
    note(reason);
  },
  routes(routes) {
    for (const route of routes) figures.add(page.failures.includes(route.status), table.knows(route.id));
    table.add(routes);
  },
  gap(from, to, cause, missed) {
    const what = {
      paused: `${number(missed)} came while this page was paused`,
      lost: "the connection was lost, and what came is not shown here",
      missed: "routes were missed",
    }[cause];
    table.gap(from, to, what);
  },
});

function pause(wanted) {
  button.querySelector('[data-when="running"]').hidden = wanted;
  button.querySelector('[data-when="paused"]').hidden = !wanted;
  connection.pause(wanted);
}

button.addEventListener("click", () => pause(!connection.pausing));
root.hidden = false;
connection.open();
