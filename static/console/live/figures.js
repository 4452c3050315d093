// How much goes on: routes a second, and routes and failures of the last minute, as far as the filter lets them
// through. Counted by the second in which they are heard of; shown once a second, and not while nothing is heard.

const SPAN = 60; // s
const RATE_SPAN = 10;

export class Figures {
  #seconds = new Map(); // second -> {routes, failures}
  #shown;
  #since = null; // the second from which on nothing is missing
  #running = false;

  constructor(root) {
    this.#shown = (name) => root.querySelectorAll(`[data-figure="${name}"]`);
    setInterval(() => this.#show(), 1000);
  }

  set running(now) {
    if (now && !this.#running) {
      this.#since = this.#now();
      this.#seconds.clear();
    }
    this.#running = now;
    if (!now) for (const name of ["rate", "routes", "failures"]) this.#write(name, "–");
  }

  // `again`: the outcome of one that was counted when it was decided.
  add(failed, again) {
    const second = this.#now();
    const counts = this.#seconds.get(second) ?? { routes: 0, failures: 0 };
    counts.routes += again ? 0 : 1;
    counts.failures += failed ? 1 : 0;
    this.#seconds.set(second, counts);
  }

  #now() {
    return Math.floor(performance.now() / 1000);
  }

  #sum(name, span) {
    const last = this.#now();
    let sum = 0;
    for (let second = last - span; second < last; second += 1) sum += this.#seconds.get(second)?.[name] ?? 0;
    return sum;
  }

  #show() {
    if (!this.#running) return;
    const now = this.#now();
    for (const second of this.#seconds.keys()) if (second < now - SPAN) this.#seconds.delete(second);
    const known = Math.min(SPAN, now - this.#since);
    if (known < 1) return;
    const span = Math.min(RATE_SPAN, known);
    const rate = this.#sum("routes", span) / span;
    this.#write("rate", rate >= 10 || rate === 0 ? rate.toFixed(0) : rate.toFixed(1));
    this.#write("routes", String(this.#sum("routes", SPAN)));
    this.#write("failures", String(this.#sum("failures", SPAN)));
    this.#write("span", `in the last ${known}\u00a0s`);
    this.#write("rate-span", `over the last ${span}\u00a0s`);
  }

  #write(name, text) {
    for (const element of this.#shown(name)) if (element.textContent !== text) element.textContent = text;
  }
}
