"use strict";
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  const theme = document.getElementById("theme");
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.setAttribute("aria-label", "Switch between light and dark");
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  theme.hidden = false;

  const collator = new Intl.Collator("en", { numeric: true });
  const value = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.sort !== undefined ? Number(cell.dataset.sort) : cell.textContent.trim();
  };
  const compare = (a, b) => {
    const numbers = [typeof a === "number", typeof b === "number"];
    if (numbers[0] && numbers[1]) return a - b;
    return collator.compare(a, b);
  };

  function sort(table, i) {
    const head = table.tHead.rows[0].cells, now = head[i].getAttribute("aria-sort");
    const numeric = head[i].classList.contains("number");
    const up = now ? now === "descending" : !numeric;
    for (const cell of head) cell.removeAttribute("aria-sort");
    head[i].setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, i), row]);
    const none = (entry) => entry[0] === "–" || entry[0] === "" || (numeric && typeof entry[0] !== "number");
    rows.sort((a, b) => (none(a) - none(b)) || (none(a) ? 0 : up ? compare(a[0], b[0]) : compare(b[0], a[0])));
    body.append(...rows.map((entry) => entry[1]));
  }

  for (const table of document.querySelectorAll("table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      button.addEventListener("click", () => sort(table, i));
      cell.append(button);
    });
  }

  for (const box of document.querySelectorAll("[data-searchable]")) {
    const rows = [...box.querySelectorAll("tbody tr")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const bar = document.createElement("div"), input = document.createElement("input"), count = document.createElement("output");
    bar.className = "search";
    input.type = "search";
    input.placeholder = "Search";
    input.setAttribute("aria-label", "Search: " + box.querySelector("caption").textContent);
    count.setAttribute("role", "status");
    const say = (n) => { count.textContent = `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`; };
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        shown += !row.hidden;
      });
      say(shown);
    });
    say(rows.length);
    bar.append(input, count);
    box.prepend(bar);
  }

  const specs = JSON.parse(document.getElementById("specs").textContent);
  const config = {
    background: "transparent",
    font: getComputedStyle(document.body).fontFamily,
    padding: 8,
    view: { stroke: null },
    axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", tickCount: 6, gridOpacity: 1 },
    range: { category: [...Array(12).keys()].map((i) => `var(--series-${i + 1})`) },
    mark: { color: "var(--series-1)" },
  };
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: { theme: "page", disableDefaultStyle: true } };
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `12px ${config.font}`;
  const widest = (names, most) => Math.ceil(Math.max(0, ...names.map((name) => Math.min(most, pen.measureText(name).width))));
  const fitting = (place, spec) => {  // Vega sets the names of series in one line, however wide, where nothing says how many columns there are
    const encodings = [spec, ...(spec.layer || [])].map((layer) => layer.encoding || {});
    const names = encodings.map((each) => each.color?.scale?.domain).find(Boolean) || [];
    const rows = encodings.map((each) => each.y).find((y) => y?.type === "nominal");
    const most = innerWidth < 740 ? 120 : 340;
    const left = rows ? widest(spec.data.values.map((value) => String(value[rows.field])), most) : 70;
    const room = Math.max(100, place.clientWidth - left - 45);
    const columns = Math.max(1, Math.floor((room + 30) / (widest(names, room) + 30)));
    return { axisY: { labelLimit: most }, legend: { labelFontSize: 12, labelLimit: room, symbolLimit: 0, columns } };
  };
  const drawn = new Map();
  const draw = (place) => {
    const own = specs[place.dataset.chart], fit = fitting(place, own), before = drawn.get(place);
    if (before?.fit === JSON.stringify(fit)) return Promise.resolve();
    before?.view.finalize();
    const spec = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", autosize: { type: "fit-x", contains: "padding" }, ...own };
    return window.fullpassEmbed(place, spec, { ...options, config: { ...config, ...fit } }).then((view) => {
      drawn.set(place, { view, fit: JSON.stringify(fit) });
      place.dataset.drawn = "yes";
    }, (error) => {
      place.textContent = "This chart cannot be drawn; its values are below.";
      console.error(error);
    });
  };
  const charts = [...document.querySelectorAll(".chart")];
  let resized;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => charts.forEach(draw), 200); });
  Promise.all(charts.map(draw)).then(() => { root.dataset.ready = "yes"; });
})();
