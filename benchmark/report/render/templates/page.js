"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const table = document.getElementById("cells");
  const body = table.tBodies[0];
  const rows = [...body.querySelectorAll("tr[data-id]")];
  const search = document.getElementById("search");
  const filters = [...document.querySelectorAll("[data-filter]")];

  // Texts go in as text nodes alone: a name from a run is never markup.
  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
    return made;
  };
  const shape = (tag, attributes, text) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const fixed = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));
  const grid = (heads, lines) => {
    const made = element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", {}, h)))));
    made.append(element("tbody", {}, ...lines.map((line) => element("tr", {}, ...line.map((c) => element("td", {}, c))))));
    return element("div", { class: "tablewrap" }, made);
  };

  function reliability(bins, title) {
    const drawn = shape("svg", { class: "reliability", viewBox: "0 0 240 266", role: "img", "aria-label": title });
    const x = (v) => 34 + 196 * v, y = (v) => 186 - 176 * v, most = Math.max(1, ...bins.map((b) => b[2]));
    for (const [low, high, count, confidence, accuracy, from, to] of bins) {
      if (!count || confidence === null || accuracy === null) continue;
      const box = { x: x(low) + 0.5, width: x(high) - x(low) - 1 };
      const bar = shape("rect", { class: "bar", ...box, y: y(accuracy), height: 176 * accuracy });
      const tip = `confidence ${confidence.toFixed(3)}, accuracy ${accuracy.toFixed(3)}, ${count} samples`;
      bar.append(shape("title", {}, tip));
      drawn.append(bar);
      drawn.append(shape("rect", { class: confidence > accuracy ? "over" : "under", ...box,
        y: y(Math.max(confidence, accuracy)), height: 176 * Math.abs(confidence - accuracy) }));
      const centre = (x(low) + x(high)) / 2;
      if (from !== null && to !== null)
        drawn.append(shape("line", { class: "line", x1: centre, x2: centre, y1: y(from), y2: y(to) }));
      drawn.append(shape("rect", { class: "share", ...box, y: 240 - 40 * count / most, height: 40 * count / most }));
    }
    drawn.append(shape("path", { class: "line", d: `M${x(0)} ${y(1)}V${y(0)}H${x(1)}` }));
    drawn.append(shape("path", { class: "line", "stroke-dasharray": "4 3", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }));
    for (const v of [0, 0.5, 1]) {
      drawn.append(shape("text", { x: 30, y: y(v) + 3, "text-anchor": "end" }, v));
      drawn.append(shape("text", { x: x(v), y: 251, "text-anchor": "middle" }, v));
    }
    drawn.append(shape("text", { x: 132, y: 263, "text-anchor": "middle" }, "confidence"));
    drawn.append(shape("text", { x: 10, y: 98, "text-anchor": "middle", transform: "rotate(-90 10 98)" }, "accuracy"));
    drawn.append(shape("text", { x: 10, y: 222, "text-anchor": "middle", transform: "rotate(-90 10 222)" }, "samples"));
    return drawn;
  }

  function diagramPanel(item) {
    const panel = element("div", {}, element("h3", {}, "Reliability"));
    if (!item.diagrams.length) return panel.append(element("p", { class: "soft" }, "no diagram stored")), panel;
    const place = element("div");
    const show = (d) => place.replaceChildren(reliability(d.bins, `Reliability diagram of ${item.entry}, seed ${d.seed}`));
    if (item.diagrams.length > 1) {
      const choose = element("select", { "aria-label": "seed" });
      item.diagrams.forEach((d, i) => choose.append(element("option", { value: i }, `seed ${d.seed}`)));
      choose.addEventListener("change", () => show(item.diagrams[choose.value]));
      panel.append(choose);
    }
    show(item.diagrams[0]);
    panel.append(place, element("p", { class: "soft key" }, element("i", { class: "over" }), "over-confident",
      element("i", { class: "under" }), "under-confident"));
    return panel;
  }

  function detail(item) {
    const record = data.entries[item.entry] || { methods: [] };
    const words = element("div", {}, element("h3", {}, item.entry));
    for (const method of record.methods) {
      words.append(element("h3", {}, `${method.label} (${method.kind})`));
      if (method.doc) words.append(element("pre", {}, method.doc));
      const options = Object.entries(method.options || {});
      if (options.length)
        words.append(element("p", { class: "soft" }, options.map(([k, v]) => `${k} = ${JSON.stringify(v)}`).join(", ")));
      const paper = data.papers[method.paper];
      if (method.paper) words.append(element("p", { class: "soft" }, "Paper: ", paper || method.paper));
    }
    const known = item.metrics.filter((m) => m.value !== null);
    const value = (m) => fixed(m.value, m.decimals) +
      (m.low === null || m.high === null ? "" : ` [${fixed(m.low, m.decimals)}, ${fixed(m.high, m.decimals)}]`);
    words.append(element("h3", {}, "Metrics"), grid(["metric", "value"],
      known.map((m) => [m.unit ? `${m.label} (${m.unit})` : m.label, value(m)])));
    words.append(element("h3", {}, "Training runs"), grid(["seed", "status", "seconds", "parameters", "key"],
      item.cells.map((c) => [c.seed, [c.status, c.reason].filter(Boolean).join(": "), c.seconds ?? "–",
        [c.parameters ?? "–", c.extra ? `(+${c.extra} %)` : ""].join(" "), c.key ?? "–"])));
    return element("div", { class: "panels" }, diagramPanel(item), words);
  }

  function toggle(row) {
    const button = row.querySelector("button.open");
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) return row.nextElementSibling.remove();
    const cell = element("td", { colspan: row.cells.length }, detail(data.rows[Number(row.dataset.id)]));
    row.after(element("tr", { class: "detail" }, cell));
  }

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.dataset.text.toLowerCase();
      const keeps = filters.every((f) => !f.value || (f.dataset.filter === "family"
        ? row.dataset.family.split(" ").includes(f.value) : row.dataset[f.dataset.filter] === f.value));
      row.hidden = !(keeps && words.every((word) => text.includes(word)));
      if (row.nextElementSibling?.classList.contains("detail")) row.nextElementSibling.hidden = row.hidden;
      shown += !row.hidden;
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
  }

  function sort(button) {
    const head = button.closest("th"), within = button.closest("table").tBodies[0];
    const next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of head.parentElement.cells)
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1, column = Number(button.dataset.column);
    const value = (row) => row.cells[column].dataset.v || row.cells[column].textContent.trim();
    const lines = [...within.rows].filter((row) => !row.classList.contains("detail"));
    const details = new Map(lines.map((row) => [row, row.nextElementSibling]));
    const order = (a, b) => {
      const p = value(a), q = value(b);
      const emptyP = p === "" || p === "–", emptyQ = q === "" || q === "–";
      if (emptyP || emptyQ) return emptyP - emptyQ;  // what is missing stays last, both ways
      const numeric = !isNaN(p) && !isNaN(q);
      return sign * (numeric ? p - q : p.localeCompare(q, undefined, { numeric: true }));
    };
    for (const row of lines.sort(order)) {
      within.append(row);
      const after = details.get(row);
      if (after?.classList.contains("detail")) row.after(after);
    }
  }

  const sorter = document.getElementById("sort");
  table.querySelectorAll("th button").forEach((button, i) => sorter.append(element("option", { value: i }, button.textContent)));
  sorter.addEventListener("change", () => {
    if (sorter.value) sort(table.querySelectorAll("th button")[sorter.value]);
  });
  document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => sort(button)));
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (button) toggle(button.closest("tr"));
  });
  search.addEventListener("input", apply);
  filters.forEach((filter) => filter.addEventListener("change", apply));
  document.getElementById("reset").addEventListener("click", () => {
    search.value = "";
    filters.forEach((filter) => { filter.selectedIndex = 0; });
    apply();
  });
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    }
  });
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  apply();
})();
