"use strict";
// Shows the answers of a stage by rows. A person types the right value; it is saved when the field is left.
const stage = new URLSearchParams(location.search).get("stage");
let shown = null;
let from = 0;

const saver = new Saver({
  load,
  request: ({ correction }) => ({ address: `correction?${new URLSearchParams({ stage })}`, ...correction }),
  describe: ({ correction: { row, column, value, remove } }) => `${row}: ${column} = ${remove ? "no correction" : value ?? "nothing"}`,
  repeat: (change) => saver.add(change),
  saved,
  refused: () => {},
  shown: () => {},
});

// Reads the rows, and shows them if the file of corrections is another one than `known`.
async function load(known) {
  await saver.settled();
  const query = new URLSearchParams({ stage, from, text: part("text").value });
  try {
    const reply = await fetch(`corrections?${query}`);
    if (!reply.ok) throw new Error(await reply.text());
    const read = await reply.json();
    if (known && read.version === known) return;
    shown = read;
    saver.begin(shown.version, () => true);
    if (shown.unreadable) warn(`The corrections can't be edited here: ${shown.unreadable}`);
    show();
  } catch (error) {
    warn(error instanceof TypeError ? "The server does not answer." : error.message, [["Try again", () => load()]]);
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

const same = (one, column) => (known) => known.row === one.row && known.column === column
  && (known.model ?? null) === (one.model ?? null) && (known.replicate ?? null) === (one.replicate ?? null);

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
  const input = element(answer.labels.length ? "select" : "input", "");
  for (const label of answer.labels.length ? ["", ...answer.labels] : []) {
    input.append(element("option", label || "no value", { value: label }));
  }
  input.value = known ? known.value ?? "" : row.answers[index];
  const reason = element("input", "", { value: known?.reason ?? "", size: 30 });
  const labels = [element("label", "Right is "), element("label", " because ")];
  labels[0].append(input);
  labels[1].append(reason);
  if (answer.words && !answer.labels.length) labels[0].append(element("span", ` ${answer.words}`, { className: "fine" }));
  const remove = element("button", "Remove the correction", { type: "button", hidden: !known });
  const state = element("span", known ? ` corrected${known.by ? ` by ${known.by}` : ""}` : "", { className: "fine" });
  const keep = (change) => {
    const by = part("by").value.trim() || null;
    const correction = { row: row.row, column: answer.name, model: row.model, replicate: row.replicate, by, ...change };
    saver.add({ correction, remove, state });
  };
  const changed = () => {
    const old = shown.corrections.find(same(row, answer.name));
    const isSame = input.value === (old ? old.value ?? "" : row.answers[index]) && reason.value === (old?.reason ?? "");
    if (!isSame) keep({ value: input.value || null, reason: reason.value || null });
  };
  input.addEventListener("change", changed);
  reason.addEventListener("change", changed);
  remove.addEventListener("click", () => {
    [input.value, reason.value] = [row.answers[index], ""];
    keep({ value: null, remove: true });
    input.focus();
  });
  for (const one of [input, reason, remove]) one.disabled = Boolean(shown.unreadable);
  group.append(...labels, " ", remove, state);
  return group;
}

function saved({ correction, remove, state }) {
  const { row, column, by } = correction;
  const others = shown.corrections.filter((known) => !same(correction, column)(known));
  shown.count += (correction.remove ? 0 : 1) - (shown.corrections.length - others.length);
  shown.corrections = correction.remove ? others : [...others, correction];
  part("count").textContent = `${shown.count} in ${shown.path}.`;
  part("saved").textContent = correction.remove ? `Removed the correction of ${row}.` : `Saved ${column} of ${row}.`;
  // The field may be another one since the file was loaded again.
  if (!remove.isConnected) return show();
  remove.hidden = Boolean(correction.remove);
  state.textContent = correction.remove ? "" : ` corrected${by ? ` by ${by}` : ""}`;
}

part("search").addEventListener("submit", (event) => { event.preventDefault(); from = 0; load(); });
part("first").addEventListener("click", () => { from = 0; load(); });
part("more").addEventListener("click", () => { from = shown.next; load(); scrollTo(0, 0); });
load();
