// One WebSocket to /ws/live that comes back by itself, and what it hears, told to `heard`:
//
//   connecting() live() paused(missed) lost(seconds, reason) signedOut() refused(reason)
//   routes(events) gap(from, to, cause, missed)
//
// Whoever was away for a short while is caught up with what came meanwhile; who was away longer is told of a gap
// instead, and finds it in the history. Knows nothing of the page.

const SOCKET = "/ws/live";
const FIRST_RETRY = 1; // s, doubled each time
const LAST_RETRY = 15;
const CATCH_UP = 60; // s away, and everything since is asked for
const BEAT = 10; // s between questions whether the server is still there
const PAUSED_BEAT = 2; // while paused the answer also says how much has come
const PATIENCE = 10; // s for an answer
const SIGNED_OUT = 4401;
const FORBIDDEN = 4403;
const SHUTTING_DOWN = 1001;

export class Connection {
  #socket = null;
  #filter;
  #clock;
  #heard;
  #retry = FIRST_RETRY;
  #timers = new Map();
  #after = null; // the number of the last event
  #contact = null; // when we last knew that nothing is missing
  #pause = null; // {from, missed, lost}: the one that is, or was until its gap comes; lost = without us for a while
  pausing = false;

  constructor(filter, clock, heard) {
    this.#filter = filter;
    this.#clock = clock;
    this.#heard = heard;
    addEventListener("online", () => this.#timers.has("retry") && this.open());
  }

  open() {
    this.#stop();
    this.#heard.connecting();
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + SOCKET);
    this.#socket = socket;
    this.#later("answer", PATIENCE, () => this.#lose(""));
    socket.onopen = () => this.#subscribe();
    socket.onmessage = ({ data }) => socket === this.#socket && this.#take(JSON.parse(data));
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#closed(code, reason);
  }

  pause(wanted) {
    this.pausing = wanted;
    if (wanted) this.#pause = { from: this.#clock(), missed: 0, lost: false };
    this.#say(wanted ? "pause" : "resume");
  }

  // -- what we say ------------------------------------------------------------------------------------------------
  #say(type, payload) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ type, payload }));
    this.#later("answer", PATIENCE, () => this.#lose("no answer"));
  }

  #subscribe() {
    const away = this.#contact === null ? 0 : (this.#clock() - this.#contact) / 1000;
    if (away > CATCH_UP && !this.pausing) this.#heard.gap(this.#contact, this.#clock(), "lost");
    const after = this.#after !== null && away <= CATCH_UP && !this.pausing ? this.#after : undefined;
    this.#say("subscribe", { filter: this.#filter, after });
    if (this.pausing) {
      this.#pause.lost = true;
      this.#say("pause");
    }
  }

  #beat() {
    this.#later("beat", this.pausing ? PAUSED_BEAT : BEAT, () => this.#say("ping"));
  }

  // -- what we hear -----------------------------------------------------------------------------------------------
  #take({ type, payload }) {
    this.#forget("answer");
    this.#retry = FIRST_RETRY;
    switch (type) {
      case "routes":
        this.#after = payload.seq;
        this.#heard.routes(payload.events);
        break;
      case "gap":
        this.#after = payload.to;
        this.#gap();
        break;
      case "resume_response":
        this.#pause.missed = payload.missed;
        // What was missed comes as a gap; what was missed while nobody counted does not.
        if (!payload.missed && this.#pause.lost) this.#gap();
        else if (!payload.missed) this.#pause = null;
        this.#heard.live();
        break;
      case "pause_response":
        this.#heard.paused(null);
        break;
      case "subscribe_response":
        if (!this.pausing) this.#heard.live();
        break;
      case "error":
        this.#end();
        this.#heard.refused(payload.message);
        return;
      default:
        if (this.pausing) this.#heard.paused(payload.missed ?? null);
    }
    if (!this.pausing) this.#contact = this.#clock();
    this.#beat();
  }

  #gap() {
    const pause = this.pausing ? null : this.#pause;
    this.#pause = this.pausing ? this.#pause : null;
    const cause = pause ? (pause.lost ? "lost" : "paused") : "missed";
    this.#heard.gap(pause?.from ?? this.#contact ?? this.#clock(), this.#clock(), cause, pause?.missed);
  }

  #closed(code, reason) {
    if (code === SIGNED_OUT) {
      this.#end();
      this.#heard.signedOut();
    } else if (code === FORBIDDEN) {
      this.#end();
      this.#heard.refused(reason);
    } else {
      if (code === SHUTTING_DOWN) this.#retry = FIRST_RETRY;
      this.#lose(reason);
    }
  }

  // -- when it is lost --------------------------------------------------------------------------------------------
  #lose(reason) {
    this.#end();
    // Not all at once: a server that comes back has every reader at its door.
    const wait = this.#retry * (0.75 + Math.random() / 2);
    this.#retry = Math.min(2 * this.#retry, LAST_RETRY);
    const until = performance.now() + 1000 * wait;
    const count = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      if (left <= 0) return this.open();
      this.#heard.lost(left, reason);
      this.#later("retry", Math.min(1, (until - performance.now()) / 1000), count);
    };
    count();
  }

  #end() {
    this.#stop();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #stop() {
    for (const name of [...this.#timers.keys()]) this.#forget(name);
  }

  #later(name, seconds, act) {
    this.#forget(name);
    this.#timers.set(
      name,
      setTimeout(() => {
        this.#timers.delete(name);
        act();
      }, 1000 * seconds),
    );
  }

  #forget(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}
