"use strict";
// Line charts with bands, published marks and hover values, drawn as SVG.

const TOP = 10, BOTTOM = 40, LEFT = 46, RIGHT = 10;
const CHARACTER = 7; // px, of a label
const COLOURS = ["c0", "c1", "c2", "c3", "c5", "c4", "c6", "c7"];
const svg = (name, attributes = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
const shown = (value) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size >= 10000 ? Math.round(value).toLocaleString("en") : size >= 100 ? String(Number(value.toFixed(1))) : size >= 1 || size === 0 ? String(Number(value.toFixed(2))) : String(Number(value.toPrecision(3)));
};
const ticks = (low, high, count) => {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
};
// Ours at a published place that was not measured: linear between its neighbours, and marked so.
const between = (series, x) => {
  const after = series.x.findIndex((each) => each > x);
  if (after < 1) return "–";
  const [a, b] = [series.x[after - 1], series.x[after]], share = (x - a) / (b - a);
  return `≈ ${shown(series.y[after - 1] + share * (series.y[after] - series.y[after - 1]))}`;
};
const colourOf = (index, label) => `var(--${label === "clean" ? "c8" : COLOURS[index % COLOURS.length]})`;

class ChartView {
  constructor(holder, chart, hidden) {
    Object.assign(this, { holder, chart, hidden });
    let seen = 0;
    this.colours = chart.series.map((series) => colourOf(series.label === "clean" ? 0 : seen++, series.label));
    this.tip = element("div", { class: "tip", hidden: "" });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(holder);
  }

  remove() { this.observer.disconnect(); }

  draw() {
    const { chart, holder } = this;
    const width = Math.max(240, holder.clientWidth);
    if (width === this.width && this.drawn === [...this.hidden].join()) return;
    this.width = width;
    const HEIGHT = this.height = Math.round(Math.min(430, Math.max(250, 0.42 * width)));
    this.drawn = [...this.hidden].join();
    const series = chart.series.map((each, index) => ({ ...each, colour: this.colours[index] })).filter((each) => !this.hidden.has(each.label));
    const xs = [...new Set(chart.series.flatMap((each) => [...each.x, ...each.marks.map((mark) => mark.x)]))].sort((a, b) => a - b);
    const ys = series.flatMap((each) => [...each.y, ...each.low, ...each.high, ...each.marks.map((mark) => mark.y)]).filter((y) => y !== null);
    let [low, high] = chart.y_range || [Math.min(...ys), Math.max(...ys)];
    if (!ys.length && !chart.y_range) [low, high] = [0, 1];
    if (!chart.y_range) {
      const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
      low = low >= 0 && low < 0.35 * high ? 0 : low - room;
      high += room;
    }
    const begins = chart.start ?? -Infinity, apart = xs.length > 0 && xs[0] < begins - 1e-6;
    const first = apart ? begins : xs[0] ?? 0, last = xs[xs.length - 1] ?? 1;
    const inner = width - LEFT - RIGHT;
    const share = (x) => (xs.length < 2 ? 0.5 : apart ? (x < begins - 1e-6 ? 0 : 0.06 + (0.94 * (x - first)) / (last - first)) : chart.even ? xs.indexOf(x) / (xs.length - 1) : (x - first) / (last - first));
    const X = (x) => LEFT + 8 + share(x) * (inner - 16);
    const Y = (y) => TOP + (1 - (y - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": chart.title });
    for (const tick of ticks(low, high, 5)) {
      root.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: Y(tick), y2: Y(tick) }));
      root.append(svg("text", { x: LEFT - 6, y: Y(tick) + 4, "text-anchor": "end" }, shown(tick)));
    }
    if (apart) root.append(svg("line", { class: "cursor", x1: LEFT + 8 + 0.03 * (inner - 16), x2: LEFT + 8 + 0.03 * (inner - 16), y1: TOP, y2: HEIGHT - BOTTOM }));
    const places = !apart && (chart.even || xs.length <= 7) ? xs : ticks(first, last, Math.max(3, Math.floor(inner / 70)));
    if (apart) places.unshift(xs[0]);
    let written = -Infinity; // as far as labels go; one that would touch the one before it is left out
    for (const tick of places) {
      const half = shown(tick).length * CHARACTER / 2;
      if (X(tick) - half < written + CHARACTER) continue;
      root.append(svg("text", { x: X(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, shown(tick)));
      written = X(tick) + half;
    }
    root.append(svg("text", { x: LEFT + inner / 2, y: HEIGHT - 6, "text-anchor": "middle" }, chart.x_label));
    for (const each of series) this.drawSeries(root, each, X, Y);
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    root.append(this.cursor);
    root.addEventListener("pointermove", (event) => this.hover(event, root, xs, X, series));
    root.addEventListener("pointerdown", (event) => this.hover(event, root, xs, X, series));
    root.addEventListener("pointerleave", () => { this.tip.hidden = true; this.cursor.setAttribute("visibility", "hidden"); });
    holder.replaceChildren(root, this.tip);
  }

  drawSeries(root, each, X, Y) {
    const points = each.x.map((x, i) => [x, each.y[i]]).filter(([, y]) => y !== null);
    const begins = this.chart.start ?? -Infinity, joined = points.filter(([x]) => x >= begins - 1e-6);
    if (each.low.length && each.low.some((value, i) => value !== each.high[i])) {
      const kept = each.x.map((x, i) => i).filter((i) => each.x[i] >= begins - 1e-6);
      const upper = kept.map((i) => `${X(each.x[i])},${Y(each.high[i])}`), lower = kept.map((i) => `${X(each.x[i])},${Y(each.low[i])}`).reverse();
      root.append(svg("polygon", { class: "band", points: [...upper, ...lower].join(" "), fill: each.colour }));
    }
    root.append(svg("polyline", { class: "line", points: joined.map(([x, y]) => `${X(x)},${Y(y)}`).join(" "), stroke: each.colour }));
    for (const [x, y] of points.length <= 20 ? points : points.filter(([x]) => x < begins - 1e-6)) root.append(svg("circle", { cx: X(x), cy: Y(y), r: 3, fill: each.colour }));
    for (const mark of each.marks) {
      const [x, y] = [X(mark.x), Y(mark.y)];
      if (mark.error) root.append(svg("line", { x1: x, x2: x, y1: Y(mark.y - mark.error), y2: Y(mark.y + mark.error), stroke: each.colour }));
      root.append(mark.repeat ? svg("path", { class: "mark", d: `M${x - 3.5} ${y - 3.5}l7 7m-7 0l7 -7`, stroke: each.colour }) : svg("circle", { class: "mark", cx: x, cy: y, r: 3.6, stroke: each.colour }));
    }
  }

  hover(event, root, xs, X, series) {
    if (!xs.length) return;
    const box = root.getBoundingClientRect(), scale = this.width / box.width;
    const at = (event.clientX - box.left) * scale;
    const x = xs.reduce((best, each) => (Math.abs(X(each) - at) < Math.abs(X(best) - at) ? each : best));
    const near = (list) => list.find((mark) => Math.abs(mark.x - x) < 1e-6);
    const published = series.some((each) => near(each.marks));
    const rows = series.map((each) => {
      const i = each.x.indexOf(x), mark = near(each.marks.filter((m) => !m.repeat));
      const cells = [element("td", {}, element("i", { style: `background:${each.colour}` }), each.label), element("td", {}, i < 0 ? between(each, x) : shown(each.y[i]))];
      if (published) cells.push(element("td", {}, mark ? shown(mark.y) : "–"));
      return element("tr", {}, ...cells);
    });
    const heads = [element("th", {}, `${shown(x)}`), element("th", {}, "ours"), ...(published ? [element("th", {}, "published")] : [])];
    this.tip.replaceChildren(element("table", {}, element("tbody", {}, element("tr", {}, ...heads), ...rows)));
    this.tip.hidden = false;
    this.cursor.setAttribute("visibility", "visible");
    this.cursor.setAttribute("x1", X(x));
    this.cursor.setAttribute("x2", X(x));
    const left = X(x) / scale, room = this.tip.offsetWidth + 14;
    this.tip.style.left = `${Math.max(0, left + room > box.width ? left - room : left + 14)}px`;
    this.tip.style.top = "8px";
  }
}

class GalleryView {
  constructor(root) {
    this.root = root;
    this.content = data(root.dataset.gallery);
    if (!this.content.groups.length) { root.append(element("p", {}, "Nothing was run.")); return; }
    this.chosen = [...this.content.groups[0].key];
    this.hidden = new Set();
    this.views = [];
    this.choices = {};
    const switches = element("div", { class: "switches" });
    this.content.switches.forEach((label, level) => {
      const names = [...new Set(this.content.groups.map((group) => group.key[level]))];
      if (names.length > 1) switches.append(choice(label, names, this.chosen[level], (name) => { this.chosen[level] = name; this.show(); }));
      else switches.append(element("span", {}, `${label} ${names[0]}`));
    });
    this.body = element("div");
    root.append(switches, this.body);
    this.show();
  }

  show() {
    this.views.forEach((view) => view.remove());
    this.views = [];
    const group = this.content.groups.find((each) => each.key.every((part, level) => part === this.chosen[level]));
    if (!group) { this.body.replaceChildren(element("p", { class: "key" }, `Not run: ${this.chosen.join(", ")}.`)); return; }
    const panels = element("div", { class: `panels${group.panels.length === 1 ? " single" : group.panels.length === 4 ? " pairs" : ""}` });
    group.panels.forEach((panel, index) => {
      const title = element("span"), holder = element("div", { class: "chart" });
      const head = element("header", {}, title), names = panel.charts.map(([name]) => name);
      const draw = (name) => {
        const chart = panel.charts.find(([each]) => each === name)[1];
        this.choices[index] = name;
        title.textContent = chart.title;
        head.view?.remove();
        this.views = this.views.filter((view) => view !== head.view);
        head.view = new ChartView(holder, chart, this.hidden);
        this.views.push(head.view);
        head.view.draw();
      };
      const start = names.includes(this.choices[index]) ? this.choices[index] : names[0];
      if (names.length > 1) {
        const list = element("select", { "aria-label": panel.choice, onchange: () => draw(list.value) });
        for (const name of names) list.append(element("option", name === start ? { selected: "" } : {}, name));
        head.append(list);
      }
      panels.append(element("div", { class: "panel" }, head, holder));
      head.start = () => draw(start);
    });
    const parts = [this.legend(group), panels];
    if (group.note) parts.push(element("p", { class: "key" }, group.note));
    this.body.replaceChildren(...parts);
    for (const head of panels.querySelectorAll("header")) head.start();
  }

  legend(group) {
    const holder = element("div", { class: "legend" });
    const chart = group.panels[0]?.charts[0]?.[1];
    if (!chart) return holder;
    const colours = new ChartView(element("div"), chart, this.hidden).colours;
    chart.series.forEach(({ label }, index) => {
      const button = element("button", { type: "button", "aria-pressed": String(!this.hidden.has(label)), title: "show or hide", onclick: () => {
        if (!this.hidden.delete(label)) this.hidden.add(label);
        button.setAttribute("aria-pressed", String(!this.hidden.has(label)));
        this.views.forEach((view) => view.draw());
      } }, element("i", { style: `background:${colours[index]}` }), label);
      holder.append(button);
    });
    return holder;
  }
}

for (const root of document.querySelectorAll("[data-gallery]")) new GalleryView(root);
