"use strict";
// Shows a row of the sheet, takes codes by key or by mouse, and saves each code at once.
const MOST_LISTED = 300;
let sheet = null;
let at = 0;
// The column that the digits fill, as an index.
let marked = 0;
// Codes that are not saved yet, the first one on its way.
let queue = [];
let isSaving = false;
let isChanged = false;
const done = [];

const labelled = () => sheet.fill.map((_, index) => index).filter((index) => sheet.fill[index].labels.length);
const needed = () => (labelled().length ? labelled() : sheet.fill.map((_, index) => index));
const isCoded = (row) => needed().every((index) => row.codes[index] !== "");
const say = (text) => { part("said").textContent = text; };

async function load() {
  try {
    const reply = await fetch("sheet");
    if (!reply.ok) throw new Error(await reply.text());
    const key = sheet?.rows[at]?.key;
    sheet = await reply.json();
    isChanged = false;
    const found = sheet.rows.findIndex((row) => row.key === key);
    at = found >= 0 ? found : Math.max(sheet.rows.findIndex((row) => !isCoded(row)), 0);
    marked = labelled()[0] ?? 0;
    warn(null);
    start();
  } catch (error) {
    warn(error instanceof TypeError ? "The server can't be reached." : error.message, [["Try again", load]]);
  }
}

function start() {
  document.title = `Coding: ${sheet.path}`;
  part("title").textContent = sheet.blind ? `${sheet.path} (blind)` : sheet.path;
  if (!sheet.editable) {
    warn(`This sheet is an Excel file, and this page fills only CSV files. Fill it in its own program: ${sheet.file}`);
    return;
  }
  part("main").hidden = part("rows").hidden = !sheet.rows.length;
  if (!sheet.rows.length) return warn(`${sheet.path} has no rows.`);
  const lost = queue;
  queue = [];
  offer(lost);
  show();
}

// Codes that the file does not have, because it has changed.
function offer(lost) {
  const known = lost.filter((code) => sheet.rows.some((row) => row.key === code.key));
  if (!known.length) return;
  const texts = known.map((code) => `${code.key}: ${sheet.fill[code.column].name} = ${code.value || "nothing"}`);
  warn(`These codes are not in the file: ${texts.join("; ")}.`, [
    ["Save them", () => { warn(null); for (const code of known) set(rowOf(code.key), code.column, code.value); }],
    ["Drop them", () => warn(null)],
  ]);
}

const rowOf = (key) => sheet.rows.findIndex((row) => row.key === key);

function show() {
  const row = sheet.rows[at];
  part("row").textContent = `Row ${at + 1} of ${sheet.rows.length}: ${row.key}`;
  const cells = sheet.columns.flatMap((name, index) => name === sheet.key ? []
    : [element("dt", name), element("dd", row.cells[index], { tabIndex: -1 })]);
  part("cells").replaceChildren(...cells);
  part("cells").hidden = !cells.length;
  part("codes").replaceChildren(...sheet.fill.map((fill, index) => fill.labels.length ? labels(fill, index) : note(fill, index)));
  part("undo").disabled = !done.length;
  part("back").disabled = at === 0;
  part("next").disabled = at === sheet.rows.length - 1;
  list();
  progress();
}

function progress() {
  const coded = sheet.rows.filter(isCoded).length;
  part("progress").textContent = `${coded} of ${sheet.rows.length} rows coded.`;
  part("bar").max = Math.max(sheet.rows.length, 1);
  part("bar").value = coded;
  const waiting = queue.length;
  part("saved").textContent = waiting ? `${waiting} not saved yet` : "All codes are saved.";
}

function labels(fill, index) {
  const group = element("fieldset", "");
  group.classList.toggle("marked", index === marked && labelled().length > 1);
  group.append(element("legend", fill.name));
  fill.labels.forEach((label, number) => {
    const button = element("button", "", { type: "button" });
    if (number < 9) button.append(element("kbd", String(number + 1)), " ");
    button.append(label);
    const isChosen = sheet.rows[at].codes[index] === label;
    button.setAttribute("aria-pressed", String(isChosen));
    button.addEventListener("click", () => { marked = index; choose(isChosen ? "" : label); });
    group.append(button);
  });
  const code = sheet.rows[at].codes[index];
  if (code && !fill.labels.includes(code)) group.append(element("p", `The file has ${code}, which is not a label.`));
  return group;
}

function note(fill, index) {
  const group = element("fieldset", "");
  const label = element("legend", fill.name);
  label.id = `note-${index}`;
  const area = element("textarea", "", { value: sheet.rows[at].codes[index] });
  area.setAttribute("aria-labelledby", label.id);
  const row = at;
  const keep = () => { if (area.value.trim() !== sheet.rows[row].codes[index]) set(row, index, area.value.trim()); };
  let timer = 0;
  area.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(keep, 600); });
  area.addEventListener("blur", () => { clearTimeout(timer); keep(); });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
      event.preventDefault();
      event.stopPropagation();
      area.blur();
      part("row").focus();
    }
  });
  group.append(label, area);
  return group;
}

function list() {
  const only = part("which").value === "open";
  const places = sheet.rows.map((_, index) => index).filter((index) => !only || !isCoded(sheet.rows[index]));
  const here = places.findIndex((index) => index >= at);
  const from = Math.max(0, Math.min(here - MOST_LISTED / 2, places.length - MOST_LISTED));
  const shown = places.slice(from, from + MOST_LISTED).map((index) => {
    const row = sheet.rows[index];
    const button = element("button", "", { type: "button" });
    const codes = needed().map((column) => row.codes[column]).filter(Boolean).join(", ");
    button.append(element("span", `${index + 1}`), element("span", row.key), element("span", codes, { className: "codes" }));
    if (index === at) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => go(index));
    const item = element("li", "");
    item.append(button);
    return item;
  });
  const box = part("list");
  const hadFocus = box.contains(document.activeElement);
  box.replaceChildren(...shown);
  const current = box.querySelector("[aria-current]");
  // Only the list scrolls, not the page.
  if (current) box.scrollTop = current.offsetTop - box.offsetTop - box.clientHeight / 2;
  if (hadFocus) current?.focus();
}

function go(index) {
  const next = Math.min(Math.max(index, 0), sheet.rows.length - 1);
  if (next === at) return;
  at = next;
  marked = labelled().find((column) => sheet.rows[at].codes[column] === "") ?? labelled()[0] ?? 0;
  show();
  if (!part("list").contains(document.activeElement)) part("row").focus();
}

function nextOpen() {
  const order = sheet.rows.map((_, index) => (at + 1 + index) % sheet.rows.length);
  const found = order.find((index) => !isCoded(sheet.rows[index]));
  if (found === undefined) return say("All rows have codes.");
  if (found === at) return say("Only this row lacks a code.");
  go(found);
}

// Gives the marked column of this row a code, and goes on.
function choose(value) {
  const row = at;
  set(row, marked, value);
  if (!value) return;
  const open = labelled().find((column) => sheet.rows[row].codes[column] === "");
  if (open !== undefined) {
    marked = open;
    show();
  } else if (part("goes-on").checked && at < sheet.rows.length - 1) {
    go(at + 1);
  }
}

function set(row, column, value, isUndo = false) {
  const line = sheet.rows[row];
  const before = line.codes[column];
  if (before === value) return;
  line.codes[column] = value;
  if (!isUndo) done.push({ key: line.key, column, before });
  queue.push({ row, key: line.key, column, value, before });
  say(`Row ${row + 1}: ${sheet.fill[column].name} is ${value || "empty"}.`);
  // A note that is being written keeps its place and its focus.
  if (document.activeElement?.localName === "textarea") progress();
  else show();
  save();
}

function undo() {
  const last = done.pop();
  if (!last) return;
  const row = rowOf(last.key);
  if (row < 0) return;
  at = row;
  marked = last.column;
  set(row, last.column, last.before, true);
  show();
}

async function save() {
  if (isSaving || isChanged) return;
  isSaving = true;
  while (queue.length) {
    const { row, key, column, value, before } = queue[0];
    const body = JSON.stringify({ version: sheet.version, row, key, column: sheet.fill[column].name, value });
    const reply = await fetch("code", { method: "POST", body }).catch(() => null);
    if (reply?.ok) {
      sheet.version = (await reply.json()).version;
      queue.shift();
      if (!part("alert").hidden && part("alert").dataset.retry) warn(null);
      delete part("alert").dataset.retry;
    } else if (reply?.status === 409) {
      isChanged = true;
      warn(`${await reply.text()}. Nothing was overwritten, and your last code is not saved.`, [["Load the file again", load]]);
      break;
    } else if (reply?.status === 422) {
      queue.shift();
      sheet.rows[row].codes[column] = before;
      warn(`Not saved: ${await reply.text()}`);
      show();
    } else {
      const why = reply ? await reply.text() : "the server can't be reached";
      warn(`Not saved: ${why}. The page tries again every two seconds. Keep it open.`);
      part("alert").dataset.retry = "yes";
      progress();
      await new Promise((go) => setTimeout(go, 2000));
    }
    progress();
  }
  isSaving = false;
}

addEventListener("keydown", (event) => {
  if (!sheet?.rows.length || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea, select, input")) return;
  const isButton = event.target.matches("button, summary");
  const fill = sheet.fill[marked];
  const act = {
    ArrowRight: () => go(at + 1), ArrowDown: () => go(at + 1), ArrowLeft: () => go(at - 1), ArrowUp: () => go(at - 1),
    u: undo, 0: () => choose(""),
    n: () => document.querySelector("textarea")?.focus(),
    c: () => { const all = labelled(); marked = all[(all.indexOf(marked) + 1) % all.length] ?? 0; show(); say(`Column ${sheet.fill[marked].name}.`); },
    ...(isButton ? {} : { Enter: nextOpen }),
  }[event.key];
  const label = /^[1-9]$/.test(event.key) ? fill.labels[Number(event.key) - 1] : undefined;
  if (!act && label === undefined) return;
  event.preventDefault();
  if (label === undefined) act();
  else choose(label);
});
addEventListener("beforeunload", (event) => { if (queue.length) event.preventDefault(); });
part("back").addEventListener("click", () => go(at - 1));
part("next").addEventListener("click", () => go(at + 1));
part("open").addEventListener("click", nextOpen);
part("undo").addEventListener("click", undo);
part("which").addEventListener("change", list);
load();
