"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const table = document.getElementById("cells");
  const body = table.tBodies[0];
  const rows = [...body.querySelectorAll("tr[data-id]")];
  const search = document.getElementById("search");
  const filters = [...document.querySelectorAll("[data-filter]")];

  // Texts go in as text nodes only: a name from a run is never markup.
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
      const paper = data.papers[method.paper] || method.paper, address = data.links[method.paper];
      const cited = address ? element("a", { href: address, rel: "noopener" }, paper) : paper;
      if (method.paper) words.append(element("p", { class: "soft" }, "Paper: ", cited));
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
    row.classList.toggle("opened", !open);
    if (open) return row.nextElementSibling.remove();
    const cell = element("td", { colspan: row.cells.length }, detail(data.rows[Number(row.dataset.id)]));
    row.after(element("tr", { class: "detail" }, cell));
  }

  const phone = matchMedia("(max-width: 700px)"), FEW = 15;
  let every = false, everySplit = false;

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, hidden = 0;
    for (const row of [...body.querySelectorAll("tr[data-id]")]) {
      const text = row.dataset.text.toLowerCase();
      const keeps = filters.every((f) => !f.value || (f.dataset.filter === "family"
        ? row.dataset.family.split(" ").includes(f.value) : row.dataset[f.dataset.filter] === f.value));
      row.hidden = !(keeps && words.every((word) => text.includes(word)));
      shown += !row.hidden;
      const folded = !row.hidden && phone.matches && !every && shown > FEW;
      row.classList.toggle("folded", folded);
      hidden += folded;
      if (row.nextElementSibling?.classList.contains("detail")) row.nextElementSibling.hidden = row.hidden || folded;
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
    const more = document.getElementById("more");
    more.hidden = !hidden;
    more.textContent = `Show all ${shown} rows`;
    splits();
    remember();
    scatter();
  }

  // Shifted and out-of-distribution splits: one choice of data, severity and measure at a time.
  const chosen = Object.fromEntries(["data", "severity", "measure"].map((name) => [name, document.getElementById(`split-${name}`)]));
  function choices(select, values, all) {
    const before = select.value;
    select.replaceChildren(...(all && values.length > 1 ? [element("option", { value: "" }, all)] : []),
      ...values.map((value) => element("option", { value }, value)));
    if ([...select.options].some((option) => option.value === before)) select.value = before;
    document.getElementById(`${select.id}-label`).hidden = !values.length;
  }
  function splits() {
    if (!chosen.data) return;
    const parts = data.splits.parts.filter((part) => `${part.group}: ${part.data}` === chosen.data.value);
    choices(chosen.severity, [...new Set(parts.map((part) => part.severity).filter((s) => s !== null))].map(String), "all");
    choices(chosen.measure, [...new Set(parts.flatMap((part) => part.columns.map((c) => c[3])).filter(Boolean))]);
    const graded = parts.some((part) => part.severity !== null);
    const seen = parts.filter((part) => !chosen.severity.value || String(part.severity) === chosen.severity.value);
    const columns = parts[0].columns.map((c, i) => [c, i]).filter(([c]) => !c[3] || c[3] === chosen.measure.value);
    const where = Object.fromEntries(filters.map((f) => [f.dataset.filter, f.value]));
    const heads = ["entry", "dataset", "backbone", ...(graded ? ["severity"] : []), ...columns.map(([c]) => c[1] ? `${c[0]} (${c[1]})` : c[0])];
    const made = element("table", { class: "sortable" }, element("thead", {}, element("tr", {}, ...heads.map((name, i) =>
      element("th", { scope: "col", "aria-sort": "none", class: ["name", "text of-dataset", "text of-backbone"][i] ?? "" },
        element("button", { type: "button", "data-column": i }, name))))), element("tbody"));
    for (const part of seen) for (const [entry, dataset, backbone, ...values] of part.rows) {
      if ((where.dataset && where.dataset !== dataset) || (where.backbone && where.backbone !== backbone)) continue;
      const line = element("tr", { class: entry === data.baseline ? "baseline" : "entry" },
        element("td", { class: "name", "data-v": entry }, data.entries[entry]?.label ?? entry),
        element("td", { class: "text of-dataset", "data-v": dataset }, dataset),
        element("td", { class: "text of-backbone", "data-v": backbone }, backbone));
      line.classList.toggle("folded", phone.matches && !everySplit && made.tBodies[0].rows.length >= FEW);
      if (graded) line.append(element("td", { class: "p0", "data-label": "severity", "data-v": part.severity }, part.severity));
      for (const [column, i] of columns) {
        const [value, low, high, reason] = values[i];
        const cell = element("td", { class: "p0", "data-label": column[0], "data-v": value ?? "" }, fixed(value, column[2]));
        if (low !== null && high !== null) cell.append(element("span", { class: "interval" }, ` [${fixed(low, column[2])}, ${fixed(high, column[2])}]`));
        if (reason) cell.append(element("br", {}), element("span", { class: "reason" }, reason));
        line.append(cell);
      }
      made.tBodies[0].append(line);
    }
    made.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => sort(button)));
    document.getElementById("split-table").replaceChildren(made);
    const more = document.getElementById("more-splits");
    more.hidden = !made.querySelector(".folded");
    more.textContent = `Show all ${made.tBodies[0].rows.length} rows`;
  }

  // The state of the page is in its address, so that a view can be linked to.
  function remember() {
    const state = new URLSearchParams();
    if (search.value) state.set("q", search.value);
    filters.forEach((f) => { if (f.selectedIndex > 0) state.set(f.dataset.filter, f.value); });
    for (const [name, select] of Object.entries(chosen)) if (select?.selectedIndex > 0) state.set(`shift-${name}`, select.value);
    const sorted = table.querySelector("th[aria-sort=ascending] button, th[aria-sort=descending] button");
    if (sorted) state.set("sort", (sorted.closest("th").getAttribute("aria-sort") === "descending" ? "-" : "") + sorted.dataset.column);
    if (compared) { state.set("first", compared[0]); state.set("second", compared[1]); }
    const hash = state.toString();
    if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }
  function recall() {
    if (!location.hash.includes("=")) return;
    const state = new URLSearchParams(location.hash.slice(1));
    search.value = state.get("q") || "";
    for (const f of filters) {
      const at = [...f.options].findIndex((option) => option.value === state.get(f.dataset.filter));
      f.selectedIndex = Math.max(at, 0);
    }
    for (const [name, select] of Object.entries(chosen)) {  // one choice decides what the next selectors offer
      if (!select) continue;
      const at = [...select.options].findIndex((option) => option.value === state.get(`shift-${name}`));
      select.selectedIndex = Math.max(at, 0);
      splits();
    }
    const column = Number((state.get("sort") || "").replace("-", ""));
    const button = state.get("sort") && [...table.querySelectorAll("th button")].find((b) => Number(b.dataset.column) === column);
    if (button) { sort(button); if (state.get("sort").startsWith("-")) sort(button); }
    if (state.get("first") in data.entries && state.get("second") in data.entries) {
      first.value = state.get("first");
      second.value = state.get("second");
      compare();
    }
  }

  // ECE against accuracy: means over all cells, or the rows of a chosen dataset or backbone.
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#707070"];
  function points() {
    const chosen = filters.some((f) => f.selectedIndex > 0) || search.value;
    if (!chosen && data.overall.length) return [data.overall.map((p) => ({ ...p, where: "mean over all cells" })), "Mean over all cells."];
    const seen = rows.filter((row) => !row.hidden).map((row) => {
      const item = data.rows[Number(row.dataset.id)];
      const metric = (name) => item.metrics.find((m) => m.name === name)?.value ?? null;
      return { entry: item.entry, accuracy: metric("accuracy"), ece: metric("ece"), where: `${item.dataset} / ${item.backbone}`, row };
    });
    return [seen.filter((p) => p.accuracy !== null && p.ece !== null), "The rows that the filters below show."];
  }
  const nice = (span) => {
    const raw = span / 4, base = 10 ** Math.floor(Math.log10(raw)), part = raw / base;
    return base * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
  };
  function scatter() {
    const place = document.getElementById("scatter");
    if (!place) return;
    const [shown, note] = points();
    document.getElementById("scatter-note").textContent = shown.length ? `${note} Lower right is better; a point names its entry.` : "No row has both.";
    place.replaceChildren();
    if (!shown.length) return;
    const W = 420, H = 300, L = 44, R = 12, T = 10, B = 38;
    const xs = shown.map((p) => p.accuracy), ys = shown.map((p) => p.ece);
    let [low, high] = [Math.min(...xs), Math.max(...xs)];
    const pad = Math.max((high - low) * 0.08, 0.2), top = Math.max(...ys) * 1.08 || 1;
    low -= pad; high += pad;
    const x = (v) => L + (W - L - R) * (v - low) / (high - low), y = (v) => H - B - (H - B - T) * v / top;
    const svg = shape("svg", { class: "scatter", viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": "ECE against accuracy" });
    const stepX = nice(high - low), stepY = nice(top);
    for (let v = Math.ceil(low / stepX) * stepX; v <= high; v += stepX) {
      svg.append(shape("line", { class: "grid", x1: x(v), x2: x(v), y1: T, y2: H - B }));
      svg.append(shape("text", { x: x(v), y: H - B + 14, "text-anchor": "middle" }, Number(v.toPrecision(6))));
    }
    for (let v = 0; v <= top; v += stepY) {
      svg.append(shape("line", { class: "grid", x1: L, x2: W - R, y1: y(v), y2: y(v) }));
      svg.append(shape("text", { x: L - 5, y: y(v) + 4, "text-anchor": "end" }, Number(v.toPrecision(6))));
    }
    svg.append(shape("text", { x: (L + W - R) / 2, y: H - 6, "text-anchor": "middle" }, "accuracy (%)"));
    svg.append(shape("text", { x: 12, y: (T + H - B) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(T + H - B) / 2})` }, "ECE (%)"));
    const names = Object.keys(data.entries);
    const label = shape("text", { class: "named", x: 0, y: 0 }, "");
    for (const p of shown) {
      const name = data.entries[p.entry]?.label ?? p.entry;
      const text = `${name}, ${p.where}: accuracy ${p.accuracy.toFixed(2)} %, ECE ${p.ece.toFixed(2)} %`;
      const dot = shape("circle", { cx: x(p.accuracy), cy: y(p.ece), r: p.entry === data.baseline ? 6 : 4.5, tabindex: 0,
        fill: COLOURS[Math.max(names.indexOf(p.entry), 0) % COLOURS.length], class: p.entry === data.baseline ? "dot base" : "dot",
        role: "img", "aria-label": text });
      dot.append(shape("title", {}, text));
      const tell = () => {
        label.textContent = name;
        const right = x(p.accuracy) > W / 2;
        label.setAttribute("text-anchor", right ? "end" : "start");
        label.setAttribute("x", x(p.accuracy) + (right ? -9 : 9));
        label.setAttribute("y", y(p.ece) - 7);
      };
      dot.addEventListener("mouseenter", tell);
      dot.addEventListener("focus", tell);
      dot.addEventListener("click", () => { search.value = p.entry; apply(); document.getElementById("cells-title").scrollIntoView(); });
      svg.append(dot);
    }
    svg.append(label);
    place.append(svg);
  }

  // Two entries side by side: every metric on every dataset and backbone, and their reliability.
  const first = document.getElementById("first"), second = document.getElementById("second");
  let compared = null;
  function compare() {
    compared = [first.value, second.value];
    const place = document.getElementById("comparison");
    const main = filters.filter((f) => ["checkpoint", "split"].includes(f.dataset.filter));
    const of = (entry) => rows.filter((row) => data.rows[Number(row.dataset.id)].entry === entry
      && main.every((f) => row.dataset[f.dataset.filter] === f.value)).map((row) => data.rows[Number(row.dataset.id)]);
    const [a, b] = compared.map(of);
    place.replaceChildren();
    const names = compared.map((entry) => data.entries[entry].label);
    for (const one of a) {
      const other = b.find((item) => item.dataset === one.dataset && item.backbone === one.backbone);
      if (!other) continue;
      const lines = one.metrics.map((m) => {
        const n = other.metrics.find((o) => o.name === m.name);
        if (m.value === null || !n || n.value === null) return null;
        const change = n.value - m.value;
        return [m.unit ? `${m.label} (${m.unit})` : m.label, fixed(m.value, m.decimals), fixed(n.value, m.decimals),
          (change > 0 ? "+" : "") + fixed(change, m.decimals)];
      }).filter(Boolean);
      const drawn = [one, other].map((item, i) => item.diagrams.length
        ? element("figure", {}, reliability(item.diagrams[0].bins, `Reliability diagram of ${names[i]}`), element("figcaption", {}, names[i])) : "");
      place.append(element("h3", {}, `${one.dataset} / ${one.backbone}`),
        element("div", { class: "panels three" }, grid(["metric", ...names, "difference"], lines), ...drawn));
    }
    if (!place.childElementCount) place.append(element("p", { class: "soft" }, "The two have no dataset and backbone in common."));
    remember();
  }

  // Downloads are made of what the page holds; nothing is fetched.
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const safe = (text) => (/^[=+\-@\t\r']/.test(text) && isNaN(text) ? `'${text}` : text);
  function csv(which) {
    const heads = [...which.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    const lines = [...which.tBodies[0].rows].filter((row) => !row.hidden && !row.classList.contains("detail"));
    const value = (cell, i) => (i < 3 || cell.dataset.v === undefined || cell.dataset.v === "" ? cell.dataset.v || cell.innerText.trim() : cell.dataset.v);
    const texts = lines.map((row) => [...row.cells].map((cell, i) => quoted(safe(value(cell, i)))));
    return [heads.map((h) => quoted(safe(h))), ...texts].map((line) => line.join(",")).join("\n") + "\n";
  }
  function download(name) {
    const overall = document.getElementById("overall");
    const text = name === "overall.tex" ? data.latex : csv(name === "rows.csv" || !overall ? table : overall);
    const link = element("a", { download: `${data.suite}-${name}`, href: URL.createObjectURL(new Blob([text], { type: "text/plain" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
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
    if (within === body) apply();
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
  Object.values(chosen).forEach((select) => select?.addEventListener("change", () => { splits(); remember(); }));
  document.getElementById("reset").addEventListener("click", () => {
    search.value = "";
    filters.forEach((filter) => { filter.selectedIndex = 0; });
    every = false;
    apply();
  });
  document.getElementById("more").addEventListener("click", () => { every = true; apply(); });
  document.getElementById("more-splits")?.addEventListener("click", () => { everySplit = true; splits(); });
  if (phone.matches) document.querySelectorAll("details.extra").forEach((one) => { one.open = false; });
  document.getElementById("compare").addEventListener("click", compare);
  document.querySelectorAll("[data-download]").forEach((button) => button.addEventListener("click", () => download(button.dataset.download)));
  document.getElementById("wide").addEventListener("change", (event) => document.body.classList.toggle("wide", event.target.checked));
  phone.addEventListener("change", apply);
  window.addEventListener("hashchange", () => { recall(); apply(); });
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
  recall();
  apply();
})();
