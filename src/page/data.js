// Rows of an output: search, choose values, and open a cell to see the calls that made it. Texts only become text nodes.
{
  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const textOf = (cell) => (cell === null || cell === undefined ? "" : String(cell));
  const PAGE = 100;
  const CHOICES = 12;
  const LONG = 60;

  const showData = (box) => {
    const data = JSON.parse(box.querySelector("script").textContent);
    const body = box.querySelector("tbody");
    box.querySelector(".without-script")?.remove();
    let shown = PAGE;
    const known = new Map();
    const add = (table) => {
      for (const row of table.rows) if (!known.has(row.number)) known.set(row.number, { ...row, table });
      rows = [...known.values()].sort((a, b) => a.number - b.number);
    };
    let rows = [];
    add(data);

    const controls = element("div", undefined, { class: "controls" });
    const labelled = (text, input) => {
      const label = element("label", text + " ");
      label.append(input);
      controls.append(label);
      return input;
    };
    const search = labelled("Search", element("input", undefined, { type: "search" }));
    const filters = data.columns.map((column, place) => {
      const values = new Set(data.rows.map((row) => textOf(row.cells[place])));
      // A column with another value in nearly every row has nothing to choose.
      if (values.size < 2 || values.size > Math.min(CHOICES, data.rows.length / 2 + 1) || [...values].some((value) => value.length > 40)) return null;
      const select = labelled(column.name, element("select"));
      select.append(element("option", "all", { value: "all" }));
      [...values].sort().forEach((value) => select.append(element("option", value || "(empty)", { value: "=" + value })));
      return select;
    });
    // Columns that hold the answers of several models to the same question.
    const groups = new Map();
    data.columns.forEach((column, place) => {
      if (!column.model || !column.from) return;
      const key = column.stage + " " + column.from;
      groups.set(key, [...(groups.get(key) || []), place]);
    });
    const compared = [...groups.values()].filter((places) => places.length > 1);
    const differ = compared.length > 0 && labelled("Only where models differ", element("input", undefined, { type: "checkbox" }));
    const status = element("p", undefined, { role: "status" });
    const more = element("button", "Show more rows", { type: "button" });
    box.prepend(controls, status);
    box.append(more);
    // A page that a server sends can ask it for the rows that are not here.
    const server = document.documentElement.dataset.rows;
    let next = data.next;
    const load = element("button", "Search the rows that are not here", { type: "button" });
    const fetchRows = async () => {
      const query = new URLSearchParams({ output: data.output, from: next, text: search.value });
      const table = await (await fetch(`${server}?${query}`)).json();
      next = table.next;
      add(table);
      draw();
    };
    if (server && data.next !== null) {
      box.append(load);
      load.addEventListener("click", fetchRows);
    }

    const isDifferent = (row, places) => new Set(places.map((place) => textOf(row.cells[place]))).size > 1;
    const matches = (row) => {
      const wanted = search.value.toLowerCase();
      return (
        (!wanted || row.cells.some((cell) => textOf(cell).toLowerCase().includes(wanted))) &&
        filters.every((select, place) => !select || select.value === "all" || select.value.slice(1) === textOf(row.cells[place])) &&
        (!differ || !differ.checked || compared.some((places) => isDifferent(row, places)))
      );
    };
    const line = (row) => {
      const tr = element("tr");
      tr.append(element("th", row.number, { scope: "row" }));
      row.cells.forEach((cell, place) => {
        const isNumber = typeof cell === "number";
        const td = element("td", isNumber && !Number.isInteger(cell) ? Number(cell.toPrecision(6)) : textOf(cell), { tabindex: "-1" });
        if (isNumber) td.className = "n";
        if (textOf(cell).length > LONG) td.classList.add("long");
        if (compared.some((places) => places.includes(place) && isDifferent(row, places))) td.classList.add("differs");
        td.dataset.place = place;
        tr.append(td);
      });
      tr.row = row;
      return tr;
    };
    const draw = () => {
      const found = rows.filter(matches);
      body.replaceChildren(...found.slice(0, shown).map(line));
      const first = body.querySelector("td");
      if (first) first.tabIndex = 0;
      const showing = Math.min(shown, found.length);
      status.textContent = `${showing.toLocaleString("en")} of ${found.length.toLocaleString("en")} rows that match. ` +
        "Open a cell with a click or Enter; move with the arrow keys.";
      more.hidden = found.length <= shown;
      load.hidden = next === null;
    };
    const redraw = () => { shown = PAGE; next = data.next; draw(); };
    controls.addEventListener("input", redraw);
    more.addEventListener("click", () => { shown += PAGE; draw(); });

    const move = (cell, key) => {
      const tr = cell.parentElement;
      const column = [...tr.children].indexOf(cell);
      const target = {
        ArrowLeft: () => cell.previousElementSibling,
        ArrowRight: () => cell.nextElementSibling,
        ArrowUp: () => tr.previousElementSibling?.children[column],
        ArrowDown: () => tr.nextElementSibling?.children[column],
      }[key]?.();
      if (!target || target.tagName !== "TD") return false;
      cell.tabIndex = -1;
      target.tabIndex = 0;
      target.focus();
      return true;
    };
    body.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td");
      if (!cell) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        open(cell);
      } else if (move(cell, event.key)) event.preventDefault();
    });
    body.addEventListener("click", (event) => {
      const cell = event.target.closest("td");
      // A click that selects text does not open the cell.
      if (cell && getSelection().isCollapsed) open(cell);
    });
    const open = (cell) => openCell(rows, compared, cell.parentElement.row, Number(cell.dataset.place), cell);
    draw();
  };

  const shared = (data, [base, start, end, between]) => {
    const text = data.texts[base];
    return text.slice(0, start) + between + text.slice(text.length - end);
  };

  const openCell = (rows, compared, row, place, cell) => {
    const data = row.table;
    const column = data.columns[place];
    const dialog = element("dialog", undefined, { "aria-label": `${column.name} of row ${row.number}` });
    const close = element("button", "Close", { type: "button" });
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); cell.focus(); });
    const heading = element("h3", `${column.name} of row ${row.number}`);
    dialog.append(close, heading, element("pre", textOf(row.cells[place]) || "(empty)", { tabindex: "0" }));

    const block = (parent, title, text) => {
      parent.append(element("h5", title), element("pre", text, { tabindex: "0" }));
    };
    const group = compared.find((places) => places.includes(place));
    if (group) {
      const table = element("table");
      table.append(element("caption", "The models side by side"));
      for (const other of group) {
        const tr = element("tr");
        tr.append(element("th", data.columns[other].model, { scope: "row" }), element("td", textOf(row.cells[other])));
        if (textOf(row.cells[other]) !== textOf(row.cells[place])) tr.classList.add("differs");
        table.append(tr);
      }
      dialog.append(table);
    }
    // In a long table the answers of the other models are in the rows of the same source row.
    const others = rows.filter((other) => other.source === row.source);
    if (!group && column.stage !== undefined && others.length > 1) {
      const names = ["model", "replicate"].map((name) => data.columns.findIndex((other) => other.name === name));
      const table = element("table");
      table.append(element("caption", "All rows of the same source row"));
      for (const other of others) {
        const tr = element("tr");
        const name = names.filter((at) => at >= 0).map((at) => textOf(other.cells[at])).join(", ") || `row ${other.number}`;
        tr.append(element("th", name, { scope: "row" }), element("td", textOf(other.cells[place])));
        if (textOf(other.cells[place]) !== textOf(row.cells[place])) tr.classList.add("differs");
        table.append(tr);
      }
      dialog.append(table);
    }
    const isOfCell = (correction) => correction.column === column.name;
    for (const correction of (row.corrections || []).filter(isOfCell)) dialog.append(element("p", correction.text));
    const isOwn = (quote) => column.name === quote.column || column.name.startsWith(quote.column + "_quote");
    for (const quote of (row.quotes || []).filter(isOwn)) {
      dialog.append(element("h4", "Quote"));
      const text = element("p");
      if (quote.text) {
        const [before, inside, after] = quote.text;
        text.append("… " + before, element("mark", inside), after + " …");
      } else {
        text.append(element("q", quote.words), quote.found === "no" ? " is not in the text." : "");
      }
      dialog.append(text);
    }
    const calls = (column.stage === undefined ? [] : row.calls?.[column.stage] || [])
      .map(([at, item]) => [data.calls[at], item])
      .filter(([call]) => !column.model || call.model === column.model);
    for (const [call, item] of calls) {
      const part = element("section");
      part.append(element("h4", `${data.stages[column.stage]}: ${data.texts[call.build]}`));
      part.append(element("p", `${call.cost}${call.at ? `, ended ${call.at}` : ""}, key ${call.key}…`));
      if (call.error) part.append(element("p", `Failed: ${call.error}`, { class: "error" }));
      if (call.system !== undefined) block(part, "System text", data.texts[call.system]);
      block(part, "Prompt", shared(data, call.prompt));
      (call.tries || []).forEach(([error, reply], at) => block(part, `Attempt ${at + 1}: ${error}`, reply || "(no reply)"));
      block(part, "Reply", call.reply ?? "(no reply)");
      if (item !== null) block(part, "The part about this row", item);
      if (call.notes) block(part, "Notes", call.notes);
      dialog.append(part);
    }
    if (calls.length === 0) {
      const why = column.stage === undefined ? "No model wrote this cell." :
        row.calls ? "No call was made for this cell." : "This page does not hold the calls of this row; fanfold explain shows them.";
      dialog.append(element("p", why));
    }
    document.body.append(dialog);
    dialog.showModal();
  };

  const showAll = (root) => { for (const box of root.querySelectorAll(".data")) showData(box); };
  showAll(document);
  document.addEventListener("renewed", ({ detail }) => showAll(detail));
}
