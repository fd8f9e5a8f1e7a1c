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
    axisY: { labelLimit: innerWidth < 740 ? 120 : 340 },
    legend: { labelFontSize: 12, ...(innerWidth < 740 ? { columns: 2, labelLimit: 130 } : { labelLimit: 240 }) },
    range: { category: [1, 2, 3, 4, 5, 6].map((i) => `var(--series-${i})`) },
    mark: { color: "var(--series-1)" },
  };
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: { theme: "page", disableDefaultStyle: true }, config };
  const draw = (place) => {
    const spec = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", autosize: { type: "fit-x", contains: "padding" }, ...specs[place.dataset.chart] };
    return window.fullpassEmbed(place, spec, options).then(() => { place.dataset.drawn = "yes"; }, (error) => {
      place.textContent = "This chart cannot be drawn; its values are below.";
      console.error(error);
    });
  };
  Promise.all([...document.querySelectorAll(".chart")].map(draw)).then(() => { root.dataset.ready = "yes"; });
})();
