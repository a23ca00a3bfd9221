"use strict";
// Shows the answers of a stage by rows. A person types the right value; it is saved when the field is left.
const stage = new URLSearchParams(location.search).get("stage");
let shown = null;
let from = 0;

async function load() {
  const query = new URLSearchParams({ stage, from, text: part("text").value });
  try {
    const reply = await fetch(`corrections?${query}`);
    if (!reply.ok) throw new Error(await reply.text());
    shown = await reply.json();
    warn(shown.unreadable && `The corrections can't be edited here: ${shown.unreadable}`);
    show();
  } catch (error) {
    warn(error instanceof TypeError ? "The server can't be reached." : error.message, [["Try again", load]]);
  }
}

function show() {
  document.title = `Corrections: ${stage}`;
  part("title").textContent = `Corrections of ${stage}`;
  part("count").textContent = `${shown.count} in ${shown.path}.`;
  part("rows").replaceChildren(...shown.rows.map(card));
  if (!shown.rows.length) part("rows").append(element("p", "No row has this text."));
  part("first").disabled = from === 0;
  part("more").disabled = shown.next === null;
}

const same = (row, name) => (known) => known.row === row.row && known.column === name
  && (known.model ?? null) === (row.model ?? null) && (known.replicate ?? null) === (row.replicate ?? null);

function card(row) {
  const box = element("section", "");
  const of = [row.model, row.replicate && `replicate ${row.replicate}`].filter(Boolean).join(", ");
  const title = element("h2", of ? `${row.row} (${of})` : row.row);
  const cells = element("dl", "", { className: "cells" });
  shown.columns.forEach((name, index) => {
    if (row.cells[index] !== row.row) cells.append(element("dt", name), element("dd", row.cells[index]));
  });
  box.append(title, ...(cells.children.length ? [cells] : []), ...shown.answers.map((answer, index) => field(row, answer, index)));
  return box;
}

function field(row, answer, index) {
  const known = shown.corrections.find(same(row, answer.name));
  const group = element("fieldset", "");
  group.append(element("legend", answer.name));
  const before = row.answers[index] === "" ? "no value" : row.answers[index];
  group.append(element("p", `In the table: ${before}`));
  const id = `${row.row}/${row.model ?? ""}/${row.replicate ?? ""}/${answer.name}`;
  const input = answer.labels.length ? element("select", "") : element("input", "");
  for (const label of answer.labels.length ? ["", ...answer.labels] : []) {
    input.append(element("option", label || "no value", { value: label }));
  }
  input.id = id;
  input.value = known ? known.value ?? "" : row.answers[index];
  const reason = element("input", "", { value: known?.reason ?? "", size: 30 });
  const labels = [element("label", "Right is "), element("label", " because ")];
  labels[0].append(input);
  labels[1].append(reason);
  const remove = element("button", "Remove the correction", { type: "button", hidden: !known });
  const state = element("span", known ? ` corrected${known.by ? ` by ${known.by}` : ""}` : "", { className: "fine" });
  if (answer.words && !answer.labels.length) labels[0].append(element("span", ` ${answer.words}`, { className: "fine" }));
  const keep = () => {
    const old = shown.corrections.find(same(row, answer.name));
    const isSame = input.value === (old ? old.value ?? "" : row.answers[index]) && reason.value === (old?.reason ?? "");
    if (!isSame) save(row, answer.name, { value: input.value || null, reason: reason.value || null }, [remove, state]);
  };
  input.addEventListener("change", keep);
  reason.addEventListener("change", keep);
  remove.addEventListener("click", async () => {
    await save(row, answer.name, { value: null, remove: true }, [remove, state]);
    const left = shown.corrections.find(same(row, answer.name));
    if (!left) { input.value = row.answers[index]; reason.value = ""; }
  });
  for (const one of [input, reason, remove]) one.disabled = Boolean(shown.unreadable);
  group.append(...labels, " ", remove, state);
  return group;
}

// One request after the other, since each names the content that the one before has left.
let last = Promise.resolve();
function save(row, column, change, [remove, state]) {
  last = last.then(async () => {
    const by = part("by").value.trim() || null;
    const correction = { row: row.row, column, model: row.model, replicate: row.replicate, by, ...change };
    const query = new URLSearchParams({ stage });
    const body = JSON.stringify({ version: shown.version, ...correction });
    const reply = await fetch(`correction?${query}`, { method: "POST", body }).catch(() => null);
    if (reply?.ok) {
      shown.version = (await reply.json()).version;
      const isNew = !shown.corrections.some(same(row, column));
      shown.corrections = shown.corrections.filter((known) => !same(row, column)(known));
      if (!change.remove) shown.corrections.push(correction);
      shown.count += change.remove ? -1 : Number(isNew);
      part("count").textContent = `${shown.count} in ${shown.path}.`;
      part("saved").textContent = change.remove ? `Removed the correction of ${row.row}.` : `Saved ${column} of ${row.row}.`;
      remove.hidden = Boolean(change.remove);
      state.textContent = change.remove ? "" : ` corrected${by ? ` by ${by}` : ""}`;
      warn(null);
    } else if (reply?.status === 409) {
      warn(`${await reply.text()}. Nothing was overwritten, and the last correction is not saved.`, [["Load the file again", load]]);
    } else {
      warn(`Not saved: ${reply ? await reply.text() : "the server can't be reached"}`);
    }
  });
  return last;
}

part("search").addEventListener("submit", (event) => { event.preventDefault(); from = 0; load(); });
part("first").addEventListener("click", () => { from = 0; load(); });
part("more").addEventListener("click", () => { from = shown.next; load(); scrollTo(0, 0); });
load();
