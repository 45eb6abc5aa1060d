// The stream of snapshots, and how fresh it is. A hidden page lets go of it, so that the agent can rest.

const STALE = 2000;
const RETRY = 2000;
const HIDDEN = 10000;

export class Feed {
  /** *show* takes ("history" | "snapshot", document), *changed* the state: connecting, live, stale or lost. */
  constructor(show, changed) {
    this.show = show;
    this.changed = changed;
    this.state = "connecting";
    this.heard = null; // when the last snapshot came, in milliseconds of Date.now()
    this.source = null;
    this.hiding = 0;
  }

  start() {
    this.open();
    setInterval(() => this.judge(), 500);
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.hiding);
      if (document.hidden) this.hiding = setTimeout(() => this.close(), HIDDEN);
      else if (!this.source) this.open();
    });
  }

  open() {
    this.close();
    this.source = new EventSource("/api/v1/stream");
    for (const kind of ["history", "snapshot"]) {
      this.source.addEventListener(kind, (event) => this.take(kind, JSON.parse(event.data)));
    }
    this.source.onerror = () => this.judge(true);
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  take(kind, document_) {
    if (kind === "snapshot") {
      this.heard = Date.now();
      this.become("live");
    }
    this.show(kind, document_);
  }

  judge(failed = false) {
    if (document.hidden) return;
    const quiet = this.heard === null ? 0 : Date.now() - this.heard;
    if (failed || this.state === "lost") {
      this.become(this.heard === null && failed === false ? "connecting" : "lost");
      const isOver = this.source?.readyState === EventSource.CLOSED; // refused: the browser does not try again
      if (isOver && !this.retrying) this.retrying = setTimeout(() => { this.retrying = 0; this.open(); }, RETRY);
    } else if (quiet > STALE) this.become("stale");
    else this.changed(this.state);
  }

  become(state) {
    this.state = state;
    this.changed(state);
  }
}
