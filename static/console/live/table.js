// The rows: the latest first, so many and no more, drawn at most once a frame however much comes. A route whose outcome
// is reported later is told a second time and changes its row. Text from outside is only ever set as text.

import { grouped, milliseconds } from "../units.js";

// The history goes by when requests began, and a gap is about when they ended.
const BEFORE_GAP = 60_000; // ms

const time = (moment) => new Date(moment).toISOString().slice(11, 19);

export class Table {
  #page;
  #table;
  #body;
  #empty;
  #most;
  #row = document.getElementById("live-row").content.firstElementChild;
  #gapRow = document.getElementById("live-gap").content.firstElementChild;
  #looks = new Map([...document.querySelectorAll("template[data-look]")].map((look) => [look.dataset.look, look]));
  #rows = new Map(); // id of a route -> its row
  #coming = []; // routes and gap rows that are not drawn yet, oldest first
  #frame = null;

  constructor(root, page) {
    this.#page = page;
    this.#table = root.querySelector(".live-table");
    this.#body = this.#table.tBodies[0];
    this.#empty = root.querySelector("[data-empty]");
    this.#most = root.querySelector("[data-most]");
    // In the reader's own zone too; made when somebody points at it.
    this.#body.addEventListener("pointerover", ({ target }) => {
      const shown = target.closest("time");
      if (shown && !shown.title) {
        shown.title = new Date(shown.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
      }
    });
  }

  // Whether there is something to wait for, where there are no rows.
  set waiting(now) {
    this.#empty.hidden = !now || !this.#table.hidden;
  }

  knows(id) {
    return this.#rows.has(id) || this.#coming.some((item) => item.id === id);
  }

  add(routes) {
    this.#coming.push(...routes);
    // Nothing is drawn while the page is hidden: what would fall off again is not kept for it.
    if (this.#coming.length > 2 * this.#page.mostRows) this.#coming = this.#coming.slice(-this.#page.mostRows);
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  // What happened between two moments, and where the history has it.
  gap(from, to, what) {
    const row = this.#gapRow.cloneNode(true);
    row.querySelector("[data-cell]").textContent = `Between ${time(from)} and ${time(to)} UTC ${what}.`;
    const span = { from: new Date(from - BEFORE_GAP).toISOString(), to: new Date(to + 1000).toISOString() };
    row.querySelector("a").href = `${this.#page.history}?${new URLSearchParams({ ...this.#page.filter, ...span })}`;
    this.add([row]);
  }

  // -- drawing ----------------------------------------------------------------------------------------------------
  #draw() {
    this.#frame = null;
    const fresh = document.createDocumentFragment();
    for (const item of this.#coming.splice(0).slice(-this.#page.mostRows)) {
      if (item instanceof Element) {
        fresh.prepend(item);
        continue;
      }
      const known = this.#rows.get(item.id);
      const row = known ?? this.#row.cloneNode(true);
      this.#fill(row, item);
      if (known) continue;
      this.#rows.set(item.id, row);
      fresh.prepend(row);
    }
    this.#body.prepend(fresh);
    this.#trim();
    this.#table.hidden = false;
    this.#empty.hidden = true;
  }

  #trim() {
    const rows = this.#body.rows;
    while (rows.length > this.#page.mostRows) {
      const last = rows[rows.length - 1];
      if (last.contains(document.activeElement)) break; // nobody's focus falls off
      this.#rows.delete(last.dataset.id);
      last.remove();
      this.#most.hidden = false;
    }
  }

  #fill(row, route) {
    row.dataset.id = route.id;
    row.dataset.tone = this.#looks.get(route.status)?.dataset.tone ?? "quiet";
    const link = row.querySelector("a");
    link.href = `${this.#page.history}${encodeURIComponent(route.id)}/change/`;
    const moment = link.firstElementChild;
    moment.dateTime = route.created_at;
    moment.textContent = `${route.created_at.slice(11, 19)} UTC`;
    const looks = [route.status, route.recovered && "recovered", route.degraded && "degraded"].filter(Boolean);
    row.querySelector(".tags").replaceChildren(...looks.map((name) => this.#look(name)));
    const told = this.#told(route);
    for (const cell of row.querySelectorAll("[data-cell]")) cell.textContent = told[cell.dataset.cell];
    for (const part of row.querySelectorAll("[data-part]")) {
      part.hidden = ![...(part.dataset.cell ? [part] : part.querySelectorAll("[data-cell]"))].some(
        (cell) => cell.textContent !== "",
      );
    }
  }

  #look(name) {
    return this.#looks.get(name)?.content.firstElementChild.cloneNode(true) ?? document.createTextNode(name);
  }

  // As templates/history/parts/rows.html tells it.
  #told(route) {
    const sent = route.model === route.requested_model ? "" : route.model;
    const wrong = this.#wrong(route);
    const counted = route.input_tokens !== null || route.output_tokens !== null;
    return {
      asked: route.requested_model || "no model",
      sent: [route.provider, sent].filter(Boolean).join(" / "),
      wrong,
      message: route.message ? `${wrong ? ": " : ""}${route.message.slice(0, 140)}` : "",
      who: [
        route.profile || "no profile",
        route.access_key,
        route.strategy && route.strategy !== "none" ? `strategy ${route.strategy}` : "",
        route.rule ? `rule ${route.rule}` : this.#page.sources[route.source],
        route.session_key ? `session ${route.session_key.slice(0, 28)}` : "",
      ]
        .filter(Boolean)
        .join(" · "),
      latency: milliseconds(route.latency_ms),
      first: route.ttfb_ms === null ? "" : `first ${milliseconds(route.ttfb_ms)}`,
      attempts: String(route.attempt_count),
      input: counted ? grouped(route.input_tokens ?? 0) : "–",
      output: counted ? `${grouped(route.output_tokens ?? 0)} out` : "",
    };
  }

  #wrong({ status, error_code: code, provider }) {
    if (status === "interrupted") return "The process that served it ended";
    if (!code) return "";
    const { errors, refusals } = this.#page;
    const told = (provider ? (errors[code] ?? refusals[code]) : (refusals[code] ?? errors[code])) ??
      code.replaceAll("_", " ");
    return `${provider || "The request"} ${told}`;
  }
}
