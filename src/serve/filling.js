"use strict";
// What the pages for coding and for corrections share: elements, warnings, and how changes get into a file.
const part = (name) => document.getElementById(name);

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}

// Shows a warning with buttons; `null` takes it away.
function warn(text, actions = []) {
  const box = part("alert");
  box.hidden = text === null;
  box.replaceChildren(element("p", text ?? ""));
  for (const [name, act] of actions) {
    const button = element("button", name, { type: "button" });
    button.addEventListener("click", act);
    box.append(button);
  }
}

// Saves changes one after the other: each names the content of the file that the one before has left. While one can't be
// saved, the page takes no further ones, so at most one is lost with the page.
class Saver {
  #waiting = [];
  #saving = null;
  // Whether the file has other content than the page has read.
  #isStale = false;
  #page;

  // The page has `request(change)`, `saved(change)`, `refused(change)`, `shown()`, `describe(change)`, `repeat(change)`
  // and `load()`.
  constructor(page) {
    this.#page = page;
    addEventListener("beforeunload", (event) => { this.flush(); if (this.#waiting.length) event.preventDefault(); });
    addEventListener("visibilitychange", () => (document.hidden ? this.flush() : this.refresh()));
  }

  get count() { return this.#waiting.length; }
  get isHeld() { return part("main").inert; }

  // A field that is being filled counts as changed.
  flush() {
    const field = document.activeElement;
    if (field?.matches("textarea, #rows input")) field.dispatchEvent(new Event("change"));
  }

  // Other pages and programs may have changed the file while this page was not seen.
  refresh() {
    if (!this.#waiting.length && !this.isHeld && this.version) this.#page.load(this.version);
  }

  // Begins anew with the content that the page has read. Offers changes that this content lacks.
  begin(version, isThere) {
    const lost = this.#waiting.filter((change) => isThere(change));
    this.version = version;
    this.#waiting = [];
    this.#isStale = false;
    this.#hold(false);
    if (!lost.length) return warn(null);
    warn(`Not in the file: ${lost.map(this.#page.describe).join("; ")}.`, [
      [`Save ${lost.length === 1 ? "it" : "them"}`, () => { warn(null); lost.forEach(this.#page.repeat); }],
      [`Drop ${lost.length === 1 ? "it" : "them"}`, () => warn(null)],
    ]);
  }

  add(change) {
    this.#waiting.push(change);
    if (!this.#isStale) this.#saving ??= this.#save().finally(() => { this.#saving = null; });
  }

  // Ends when all changes are in the file, or can't be.
  settled() { return this.#saving; }

  #hold(isHeld) {
    for (const name of ["main", "rows"]) part(name).inert = isHeld;
  }

  async #save() {
    while (this.#waiting.length && !this.#isStale) {
      const [change] = this.#waiting;
      const { address, ...fields } = this.#page.request(change);
      const body = JSON.stringify({ version: this.version, ...fields });
      // The browser sends a short request also when the page is closed.
      const reply = await fetch(address, { method: "POST", body, keepalive: body.length < 30_000 }).catch(() => null);
      await this.#take(change, reply);
      this.#page.shown();
    }
  }

  async #take(change, reply) {
    if (reply?.ok) {
      this.version = (await reply.json()).version;
      this.#waiting.shift();
      if (this.isHeld) { this.#hold(false); warn(null); }
      this.#page.saved(change);
    } else if (reply?.status === 409) {
      this.#isStale = true;
      this.#hold(true);
      const text = `${await reply.text()}. Nothing was overwritten. Not saved: ${this.#page.describe(change)}.`;
      warn(text, [["Load the file again", () => this.#page.load()]]);
    } else if ([413, 422, 423].includes(reply?.status)) {
      this.#waiting.shift();
      this.#page.refused(change);
      warn(`Not saved: ${await reply.text()}.`);
    } else {
      this.#hold(true);
      const why = reply ? await reply.text() : "The server does not answer. If it has ended, start it again and open its new address";
      warn(`Not saved yet: ${this.#page.describe(change)}. ${why}. The page tries again every two seconds.`);
      await new Promise((go) => setTimeout(go, 2000));
    }
  }
}
