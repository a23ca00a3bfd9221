"use strict";
// Keeps the page up to date: the panel every second, the sections when the run has more to show.
(() => {
  const panel = document.getElementById("live");
  const part = (name) => document.getElementById(`live-${name}`);
  let version = panel.dataset.version;
  // What the server sent for each part of the page. Scripts and readers change the document, but not this.
  let sent = new Map();

  function parts(page) {
    const all = new Map();
    for (const found of page.querySelectorAll("body > header, body > nav, main > section[id]")) {
      if (found.id !== "live") all.set(found.id || found.localName, found.outerHTML);
    }
    return all;
  }

  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  // Replaces the children of a part only if they differ, so that a selection and the focus stay.
  function fill(target, children) {
    const made = element(target.localName, "");
    made.append(...children);
    if (made.innerHTML === target.innerHTML) return;
    const open = new Set([...target.querySelectorAll("details[open] > summary")].map((line) => line.dataset.name));
    target.replaceChildren(...made.childNodes);
    for (const line of target.querySelectorAll("summary")) line.parentNode.open = open.has(line.dataset.name);
  }

  function stageLines(stages) {
    return stages.map((stage) => {
      const line = element("div", "");
      line.className = "live-stage";
      const bar = document.createElement("progress");
      bar.max = Math.max(stage.most, 1);
      bar.value = stage.done;
      bar.setAttribute("aria-label", `Calls of ${stage.stage}`);
      const text = element("span", stage.text);
      if (stage.failed_rows) {
        const failed = `${stage.failed_rows.toLocaleString("en")} failed`;
        const [before, ...after] = stage.text.split(failed);
        text.replaceChildren(before, element("strong", `\u26a0 ${failed}`), after.join(failed));
      }
      line.append(text, bar);
      return line;
    });
  }

  function failures(stages) {
    return stages.flatMap((stage) => stage.failures.map((kind) => {
      const fold = document.createElement("details");
      const title = element("summary", `${stage.stage}: ${kind.count} × ${kind.kind}`);
      title.dataset.name = `${stage.stage} ${kind.kind}`;
      const list = document.createElement("ul");
      for (const { count, rows, message } of kind.messages) {
        list.append(element("li", `${count} ×, such as row ${rows.join(", ")}: ${message}`));
      }
      fold.append(title, list);
      return fold;
    }));
  }

  function budget(rows) {
    return rows.flatMap(({ what, text, share }) => {
      const percent = share === null ? "" : ` (${Math.round(share * 100)} % of the budget)`;
      return [element("dt", what), element("dd", text + percent)];
    });
  }

  function sheets(all) {
    if (!all.length) return [];
    const list = document.createElement("ul");
    for (const sheet of all) {
      const item = document.createElement("li");
      const link = element("a", sheet.title);
      link.href = sheet.href;
      item.append(link, ` ${sheet.text}`);
      list.append(item);
    }
    return [element("p", "For people to fill:"), list];
  }

  function sentence(run) {
    if (run.exit === 0) return "The run has ended.";
    if (run.exit !== null) {
      return `The run has ended with exit code ${run.exit}.\n${run.why.slice(0, 1).toUpperCase()}${run.why.slice(1)}`;
    }
    if (run.stopping) return "The run is stopping: it waits up to 30 seconds for calls in flight. Every finished call is kept.";
    return run.stages.length ? "The run goes on." : "The run starts.";
  }

  function show(state) {
    const { run } = state;
    panel.hidden = !run && !state.sheets.length;
    part("title").textContent = run ? "Now" : "Code and correct";
    part("state").hidden = !run;
    part("stop").hidden = !run || run.exit !== null || !run.stages.length;
    if (run) {
      const text = sentence(run);
      if (part("state").textContent !== text) part("state").textContent = text;
      part("state").classList.toggle("live-bad", Boolean(run.exit));
      part("stop").disabled = run.stopping;
      fill(part("stages"), stageLines(run.stages));
      fill(part("waits"), run.waits.map((wait) => element("li", wait)));
      fill(part("budget"), budget(run.budget));
      fill(part("failures"), failures(run.stages));
    }
    fill(part("sheets"), sheets(state.sheets));
  }

  // Replaces the sections that have changed. Folds that were open are open again, and what the reader sees stays in place.
  function renew(page) {
    const now = parts(page);
    const anchor = [...document.querySelectorAll("main > section[id]")].find((one) => one.getBoundingClientRect().bottom > 0);
    const top = anchor?.getBoundingClientRect().top;
    let before = panel;
    for (const [name, html] of now) {
      let place = find(document, name);
      if (!place || sent.get(name) !== html) {
        const fresh = document.importNode(find(page, name), true);
        if (place) {
          keepFolds(place, fresh);
          place.replaceWith(fresh);
        } else {
          before.after(fresh);
        }
        document.dispatchEvent(new CustomEvent("renewed", { detail: fresh }));
        place = fresh;
      }
      if (place.localName === "section") before = place;
    }
    for (const name of sent.keys()) if (!now.has(name)) find(document, name)?.remove();
    sent = now;
    const place = anchor && find(document, anchor.id);
    if (place && scrollY > 0) scrollBy(0, place.getBoundingClientRect().top - top);
  }

  function find(page, name) {
    return page.getElementById(name) ?? page.querySelector(`body > ${CSS.escape(name)}`);
  }

  function keepFolds(old, fresh) {
    const folds = (root) => [...root.querySelectorAll("details")];
    const name = (fold) => `${fold.querySelector("summary")?.textContent}`;
    const open = folds(old).filter((fold) => fold.open).map(name);
    for (const fold of folds(fresh)) if (open.includes(name(fold))) fold.open = true;
  }

  async function loadPage() {
    const reply = await fetch("./?renew");
    if (!reply.ok) throw new Error(await reply.text());
    return new DOMParser().parseFromString(await reply.text(), "text/html");
  }

  const versionOf = (page) => page.getElementById("live")?.dataset.version;

  async function look() {
    try {
      if (!sent.size) {
        const page = await loadPage();
        if (versionOf(page) === version) sent = parts(page);
      }
      const reply = await fetch("state");
      if (!reply.ok) throw new Error(await reply.text());
      const state = await reply.json();
      show(state);
      if (state.page && state.page !== version) {
        const page = await loadPage();
        const next = versionOf(page);
        // A page that can't be made yet leaves the one that is there.
        if (next) {
          renew(page);
          version = next;
        }
      }
    } catch (error) {
      panel.hidden = false;
      part("state").hidden = false;
      part("stop").hidden = true;
      part("state").textContent = error instanceof TypeError
        ? "The server has ended. The page shows what it knew last." : error.message;
    }
    setTimeout(look, document.hidden ? 5000 : 1000);
  }

  part("stop").addEventListener("click", async () => {
    part("stop").disabled = true;
    await fetch("stop", { method: "POST" }).catch(() => {});
  });
  look();
})();
