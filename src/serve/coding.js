"use strict";
// Shows a row of the sheet, takes codes by key or by mouse, and saves each code at once.
const MOST_LISTED = 300;
let sheet = null;
let at = 0;
// The column that the keys fill, as an index.
let marked = 0;
// The letters of a label that were typed so far.
let typed = "";
const done = [];

const columns = () => sheet.fill.map((_, index) => index);
const labelled = () => columns().filter((index) => sheet.fill[index].labels.length);
const needed = () => (labelled().length ? labelled() : columns());
const isCoded = (row) => needed().every((index) => row.codes[index] !== "");
const rowOf = (key) => sheet.rows.findIndex((row) => row.key === key);
const say = (text) => { part("said").textContent = text; };

const saver = new Saver({
  load,
  request: ({ row, key, column, value }) => ({ address: "code", row, key, column: sheet.fill[column].name, value }),
  describe: ({ key, column, value }) => `${key}: ${sheet.fill[column].name} = ${value || "nothing"}`,
  repeat: ({ key, column, value }) => set(rowOf(key), column, value),
  saved: () => {},
  refused: ({ row, column, before }) => { sheet.rows[row].codes[column] = before; show(); },
  shown: () => { progress(); pressEarly(); },
});

// Reads the sheet, and shows it if it is another one than `known`.
async function load(known) {
  await saver.settled();
  try {
    const reply = await fetch("sheet");
    if (!reply.ok) throw new Error(await reply.text());
    const read = await reply.json();
    if (known && read.version === known) return;
    const key = sheet?.rows[at]?.key;
    sheet = read;
    const found = rowOf(key);
    at = found >= 0 ? found : Math.max(sheet.rows.findIndex((row) => !isCoded(row)), 0);
    start();
  } catch (error) {
    warn(error instanceof TypeError ? "The server does not answer." : error.message, [["Try again", () => load()]]);
  }
}

function start() {
  document.title = `Coding: ${sheet.path}`;
  part("title").textContent = sheet.blind ? `${sheet.path} (blind)` : sheet.path;
  part("main").hidden = part("rows").hidden = !sheet.rows.length;
  saver.begin(sheet.version, (code) => rowOf(code.key) >= 0);
  if (!sheet.rows.length) return warn(`${sheet.path} has no rows.`);
  mark(firstOpen());
}

// The first column without a code that the row needs.
function firstOpen() {
  return needed().find((column) => sheet.rows[at].codes[column] === "") ?? needed()[0];
}

function show() {
  const row = sheet.rows[at];
  part("row").textContent = `Row ${at + 1} of ${sheet.rows.length}: ${row.key}`;
  const cells = sheet.columns.flatMap((name, index) => name === sheet.key ? []
    : [element("dt", name), element("dd", row.cells[index])]);
  part("cells").replaceChildren(...cells);
  part("cells").hidden = !cells.length;
  // A long text is scrolled by keyboard too.
  for (const cell of part("cells").querySelectorAll("dd")) if (cell.scrollHeight > cell.clientHeight) cell.tabIndex = 0;
  const box = part("codes");
  const focused = box.contains(document.activeElement) ? document.activeElement.id : "";
  box.replaceChildren(...sheet.fill.map((fill, index) => fill.labels.length ? labels(fill, index) : text(fill, index)));
  if (focused) part(focused)?.focus();
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
  part("saved").textContent = saver.count ? `${saver.count} not saved yet` : "All codes are saved.";
  part("undo").disabled = !done.length;
}

function labels(fill, index) {
  const group = element("fieldset", "");
  const isMarked = index === marked;
  group.classList.toggle("marked", isMarked && sheet.fill.length > 1);
  group.append(element("legend", fill.name));
  const found = isMarked && typed ? matches(fill.labels, typed) : fill.labels;
  const code = sheet.rows[at].codes[index];
  fill.labels.forEach((label, number) => {
    const button = element("button", "", { type: "button", id: `label-${index}-${number}` });
    if (number < 9 && !isScale(fill.labels)) button.append(element("kbd", String(number + 1)), " ");
    button.append(label);
    button.setAttribute("aria-pressed", String(code === label));
    button.classList.toggle("other", !found.includes(label));
    button.classList.toggle("first", found !== fill.labels && found[0] === label);
    button.addEventListener("click", () => { marked = index; choose(code === label ? "" : label); });
    group.append(button);
  });
  if (code && !fill.labels.includes(code)) group.append(element("p", `The file has ${code}, which is not a label.`));
  if (isMarked && typed) group.append(element("p", `${typed}: Enter chooses ${found[0]}.`, { className: "fine" }));
  return group;
}

function text(fill, index) {
  const group = element("fieldset", "");
  group.classList.toggle("marked", index === marked && sheet.fill.length > 1);
  const label = element("legend", fill.name, { id: `name-${index}` });
  const area = element("textarea", "", { id: `text-${index}`, value: sheet.rows[at].codes[index] });
  area.setAttribute("aria-labelledby", label.id);
  const row = at;
  const keep = () => set(row, index, area.value.trim());
  let timer = 0;
  area.addEventListener("focus", () => { marked = index; typed = ""; });
  area.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(keep, 600); });
  area.addEventListener("change", () => { clearTimeout(timer); keep(); });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" && (event.key !== "Enter" || event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    area.dispatchEvent(new Event("change"));
    if (event.key === "Enter" && needed().includes(index) && area.value.trim()) goOn();
    else if (labelled().length) mark(firstOpen());
    else part("row").focus();
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

// Goes to a row. The focus stays in the list of rows if it is there.
function go(index) {
  const next = Math.min(Math.max(index, 0), sheet.rows.length - 1);
  if (next === at) return;
  at = next;
  if (part("list").contains(document.activeElement)) {
    [marked, typed] = [firstOpen(), ""];
    show();
  } else {
    mark(firstOpen());
  }
}

function nextOpen() {
  const order = sheet.rows.map((_, index) => (at + 1 + index) % sheet.rows.length);
  const found = order.find((index) => !isCoded(sheet.rows[index]));
  if (found === undefined) return say("All rows have codes.");
  if (found === at) return say("Only this row lacks a code.");
  go(found);
}

// The keys fill this column from now on.
function mark(column) {
  part("row").focus();
  [marked, typed] = [column, ""];
  show();
  part(`text-${column}`)?.focus();
}

function markNext(step) {
  const count = sheet.fill.length;
  mark((marked + step + count) % count);
  say(`Column ${sheet.fill[marked].name}.`);
}

// Puts a code into the marked column of this row, and goes on.
function choose(value) {
  typed = "";
  set(at, marked, value);
  if (value) goOn();
  else show();
}

function goOn() {
  if (!isCoded(sheet.rows[at])) mark(firstOpen());
  else if (part("goes-on").checked && at < sheet.rows.length - 1) go(at + 1);
  else show();
}

function set(row, column, value, isUndo = false) {
  const line = sheet.rows[row];
  const before = line.codes[column];
  if (before === value) return;
  line.codes[column] = value;
  const isText = !sheet.fill[column].labels.length;
  const last = done.at(-1);
  // A text that is saved while it is written is one step back.
  const isSame = isText && last?.key === line.key && last.column === column;
  if (!isUndo && !isSame) done.push({ key: line.key, column, before });
  say(`Row ${row + 1}: ${sheet.fill[column].name} is ${value || "empty"}.`);
  saver.add({ row, key: line.key, column, value, before });
  // A text that is being written keeps its place and its focus.
  if (isText && !isUndo) progress();
  else show();
}

function undo() {
  const last = done.pop();
  if (!last || rowOf(last.key) < 0) return;
  at = rowOf(last.key);
  [marked, typed] = [last.column, ""];
  set(at, last.column, last.before, true);
  part("row").focus();
}

// A scale has labels that begin with a number. Its keys are these numbers, not the places of the labels.
const number = (label) => /^[+-]?\d+([.,]\d+)?/.exec(label)?.[0];
const isScale = (labels) => labels.every(number);
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

// The labels that the letters may mean, the best one first.
function matches(labels, letters) {
  const wanted = plain(letters);
  const rank = (label) => {
    const text = plain(label);
    if (text === wanted || (isScale(labels) && number(label) === letters)) return 0;
    if (text.startsWith(wanted)) return 1;
    if (isScale(labels)) return 4;
    if (text.split(/[^\p{L}\p{N}]+/u).some((word) => word.startsWith(wanted))) return 2;
    return text.includes(wanted) ? 3 : 4;
  };
  return labels.filter((label) => rank(label) < 4).sort((one, other) => rank(one) - rank(other));
}

function type(letter) {
  const { name, labels } = sheet.fill[marked];
  if (!labels.length || (letter === " " && !typed)) return false;
  const place = labels[Number(letter) - 1];
  if (/^[1-9]$/.test(letter) && !typed && !isScale(labels) && place !== undefined) return choose(place);
  const found = matches(labels, typed + letter);
  if (!found.length) return say(`No label of ${name} has ${typed + letter}.`);
  // A number that no other label begins with needs no Enter.
  if (isScale(labels) && found.length === 1) return choose(found[0]);
  typed += letter;
  say(`${typed}: ${found.slice(0, 3).join(", ")}.`);
  show();
}

function shorten() {
  if (!typed) return undo();
  typed = typed.slice(0, -1);
  show();
}

const hasColumns = () => sheet.fill.length > 1;
const ACTIONS = {
  ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1), Backspace: shorten, Delete: () => choose(""),
  ArrowDown: () => hasColumns() && markNext(1), ArrowUp: () => hasColumns() && markNext(-1),
  Escape: () => { typed = ""; show(); },
  Enter: () => (typed ? choose(matches(sheet.fill[marked].labels, typed)[0]) : nextOpen()),
};

// Keys that were pressed while a code is on its way. So at most one code is not in the file.
const early = [];

function pressEarly() {
  if (saver.isHeld) early.length = 0;
  while (early.length && !saver.count) {
    const key = early.shift();
    const area = document.activeElement;
    if (area.localName !== "textarea") {
      press(key);
    } else if (key.length === 1) {
      area.value += key;
      area.dispatchEvent(new Event("input"));
    } else {
      area.dispatchEvent(new KeyboardEvent("keydown", { key }));
    }
  }
}

// Whether the key has a meaning here.
function press(key) {
  const act = ACTIONS[key] ?? (() => (key.length === 1 ? type(key) : false));
  return act() !== false;
}

addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (!sheet?.rows.length || saver.isHeld || event.altKey || target.matches("textarea, select")) return;
  const isUndo = (event.ctrlKey || event.metaKey) && key === "z";
  if (isUndo) undo();
  else if (event.ctrlKey || event.metaKey || !part("has-keys").checked) return;
  // Buttons and boxes have these keys for themselves.
  else if (["Enter", " "].includes(key) && !typed && target.matches("button, summary, input")) return;
  else if (saver.count && (key.length === 1 || key in ACTIONS)) early.push(key);
  else if (!press(key)) return;
  event.preventDefault();
});
part("back").addEventListener("click", () => go(at - 1));
part("next").addEventListener("click", () => go(at + 1));
part("open").addEventListener("click", nextOpen);
part("undo").addEventListener("click", undo);
part("which").addEventListener("change", list);
load();
