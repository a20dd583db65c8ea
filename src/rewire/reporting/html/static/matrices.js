"use strict";
// Connected weights of a layer on a canvas: inputs (vectors) from left to right, outputs downwards.

const SMALLEST = 120, TALLEST = 430; // px of a canvas
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

const unpack = (layer) => {
  if (layer.unpacked) return layer.unpacked;
  const packed = bytes(layer.places), values = new Int8Array(bytes(layer.values).buffer);
  const vectors = new Int32Array(values.length), outputs = new Int32Array(values.length);
  const filled = new Uint8Array(layer.vectors), lookup = new Map();
  let place = 0, gap = 0, shift = 1, count = 0;
  for (const byte of packed) {
    gap += (byte & 127) * shift;
    shift *= 128;
    if (byte < 128) {
      place += gap;
      vectors[count] = Math.floor(place / layer.outputs);
      outputs[count] = place % layer.outputs;
      filled[vectors[count]] = 1;
      lookup.set(place, count++);
      gap = 0;
      shift = 1;
    }
  }
  layer.unpacked = { vectors, outputs, values, filled, lookup };
  return layer.unpacked;
};

class MatrixView {
  constructor(net, layer, group) {
    Object.assign(this, { net, layer, group });
    this.canvas = element("canvas", { role: "img", tabindex: "0", "aria-label": `${net.strategy}, ${layer.name}: connected weights` });
    const share = (100 * layer.zero_vectors) / layer.vectors, density = (100 * layer.connected) / (layer.vectors * layer.outputs);
    const head = element("header", {}, element("span", {}, net.strategy), element("small", {}, `${share.toFixed(2)} % zero vectors · ${layer.connected.toLocaleString("en")} connected (${density.toFixed(2)} %)`));
    this.node = element("div", { class: "panel" }, head, this.canvas);
    this.listen();
  }

  // Pixels of the page per weight: whole layers as large as fits, times the common zoom.
  get scale() { return this.fit * this.group.zoom; }

  draw() {
    const { layer, canvas, group } = this;
    const width = canvas.clientWidth || 300;
    this.fit = Math.max(width / layer.vectors, layer.vectors > 2 * layer.outputs ? SMALLEST / layer.outputs : 0);
    const height = Math.round(Math.min(TALLEST, Math.max(60, layer.outputs * this.fit)));
    if (layer.vectors <= 2 * layer.outputs) this.fit = Math.min(this.fit, height / layer.outputs);
    const ratio = devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    Object.assign(this, { width, height });
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const probe = (name) => { this.node.style.color = `var(--${name})`; const found = getComputedStyle(this.node).color; this.node.style.color = ""; return found; };
    const { vectors, outputs, values, filled } = unpack(layer), { scale } = this;
    const left = group.x * layer.vectors, top = group.y * layer.outputs;
    pen.scale(ratio, ratio);
    pen.fillStyle = probe("bg");
    pen.fillRect(0, 0, width, height);
    const right = Math.min(layer.vectors, left + width / scale), bottom = Math.min(layer.outputs, top + height / scale);
    pen.fillStyle = style.colorScheme.includes("dark") && probe("bg") !== "rgb(255, 255, 255)" ? "#3a3730" : "#e4e1da";
    for (let v = Math.max(0, Math.floor(left)); v < right; v++) {
      if (!filled[v]) pen.fillRect((v - left) * scale, 0, Math.max(scale, 0.5), (bottom - top) * scale);
    }
    // At least a pixel each, so that no connection is lost.
    const size = Math.max(1, scale > 4 ? scale - 1 : scale);
    for (const sign of [1, -1]) {
      pen.fillStyle = probe(sign > 0 ? "c0" : "c5");
      for (let i = 0; i < values.length; i++) {
        if (values[i] > 0 !== sign > 0) continue;
        const x = (vectors[i] - left) * scale, y = (outputs[i] - top) * scale;
        if (x < -scale || y < -scale || x > width || y > height) continue;
        if (scale > 4) pen.globalAlpha = 0.35 + (0.65 * Math.abs(values[i])) / 127;
        pen.fillRect(x, y, size, size);
      }
      pen.globalAlpha = 1;
    }
    if (this.mark && this.mark.layer === layer.name) {
      pen.strokeStyle = probe("text");
      pen.lineWidth = 1.5;
      pen.strokeRect((this.mark.vector - left) * scale - 1, (this.mark.output - top) * scale - 1, Math.max(4, scale) + 1, Math.max(4, scale) + 1);
    }
    pen.strokeStyle = probe("line");
    pen.strokeRect(-left * scale, -top * scale, layer.vectors * scale, layer.outputs * scale);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), { layer, group, scale } = this;
    return [group.x * layer.vectors + (event.clientX - box.left) / scale, group.y * layer.outputs + (event.clientY - box.top) / scale];
  }

  read(event) {
    const [x, y] = this.at(event), { layer } = this, { lookup, values } = unpack(layer);
    // A little beside a weight is meant for it where weights are smaller than a finger.
    const reach = Math.ceil(3 / this.scale);
    let best = null;
    for (let v = Math.floor(x) - reach; v <= x + reach; v++) {
      for (let o = Math.floor(y) - reach; o <= y + reach; o++) {
        if (v < 0 || o < 0 || v >= layer.vectors || o >= layer.outputs) continue;
        const index = lookup.get(v * layer.outputs + o), far = (v + 0.5 - x) ** 2 + (o + 0.5 - y) ** 2;
        if (index !== undefined && (!best || far < best.far)) best = { vector: v, output: o, far, index };
      }
    }
    const [vector, output] = best ? [best.vector, best.output] : [Math.floor(x), Math.floor(y)];
    if (vector < 0 || output < 0 || vector >= layer.vectors || output >= layer.outputs) return;
    this.mark = { vector, output, layer: layer.name };
    const weight = best ? `weight about ${((values[best.index] * layer.largest) / 127).toPrecision(2)}` : unpack(layer).filled[vector] ? "not connected" : "not connected: a zero vector";
    this.group.readout.textContent = `${this.net.strategy}, ${layer.name}: input ${vector}, output ${output}: ${weight}`;
    this.draw();
  }

  listen() {
    const { canvas, group } = this;
    const fingers = new Map();
    let moved = false;
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      moved = false;
      if (group.zoom > 1) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) { if (event.pointerType === "mouse") this.read(event); return; }
      const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
      if (Math.hypot(dx, dy) < 3 && !moved) return;
      moved = true;
      if (fingers.size === 2) {
        const [a, b] = [...fingers.values()], old = Math.hypot(a[0] - b[0], a[1] - b[1]);
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
        const [c, d] = [...fingers.values()];
        group.zoomAt(this, event, Math.hypot(c[0] - d[0], c[1] - d[1]) / (old || 1));
        return;
      }
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      group.move(this, -dx, -dy);
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      canvas.addEventListener(end, (event) => {
        if (end === "pointerup" && !moved) this.read(event);
        fingers.delete(event.pointerId);
      });
    }
    canvas.addEventListener("dblclick", (event) => group.zoomAt(this, event, event.shiftKey ? 0.5 : 2));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // plain wheels scroll the page
      event.preventDefault();
      group.zoomAt(this, event, Math.exp(-event.deltaY / 200));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-40, 0], ArrowRight: [40, 0], ArrowUp: [0, -40], ArrowDown: [0, 40] }[event.key];
      if (step) group.move(this, ...step);
      else if (event.key === "+") group.zoomBy(2);
      else if (event.key === "-") group.zoomBy(0.5);
      else if (event.key === "0") group.reset();
      else return;
      event.preventDefault();
    });
  }
}

class MatricesView {
  constructor(root) {
    Object.assign(this, { root, ...data("matrices"), zoom: 1, x: 0, y: 0 });
    this.training = this.figures[0]?.training ?? this.nets[0].training;
    this.layer = this.figures[0]?.layer ?? this.nets[0].layers[0].name;
    this.strategy = "all";
    this.switches = element("div", { class: "switches" });
    this.readout = element("div", { class: "readout", role: "status" });
    this.panels = element("div", { class: "panels small" });
    root.append(this.switches, this.readout, this.panels);
    new ResizeObserver(() => this.draw()).observe(this.panels);
    addEventListener("themechange", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.show();
  }

  show() {
    const trainings = [...new Set(this.nets.map((net) => net.training))];
    const nets = this.nets.filter((net) => net.training === this.training);
    const layers = [...new Set(nets.flatMap((net) => net.layers.map((layer) => layer.name)))];
    if (!layers.includes(this.layer)) this.layer = layers[layers.length - 1];
    const strategies = ["all", ...nets.map((net) => net.strategy)];
    if (!strategies.includes(this.strategy)) this.strategy = "all";
    const change = (key) => (value) => { this[key] = value; this.reset(); this.show(); };
    const named = this.figures.find((figure) => figure.training === this.training && figure.layer === this.layer);
    const zoom = element("span", { class: "segments", role: "group", "aria-label": "zoom" });
    for (const [text, label, act] of [["−", "zoom out", () => this.zoomBy(0.5)], ["+", "zoom in", () => this.zoomBy(2)], ["whole", "whole matrix", () => this.reset()]]) {
      zoom.append(element("button", { type: "button", "aria-label": label, onclick: act }, text));
    }
    const parts = [];
    if (this.figures.length) {
      parts.push(choice("thesis", this.figures.map((figure) => figure.label), named?.label, (label) => {
        const figure = this.figures.find((each) => each.label === label);
        Object.assign(this, { training: figure.training, layer: figure.layer });
        this.reset();
        this.show();
      }));
    }
    if (trainings.length > 1) parts.push(choice("training", trainings, this.training, change("training")));
    parts.push(choice("layer", layers, this.layer, change("layer")), choice("strategy", strategies, this.strategy, change("strategy")), zoom);
    this.switches.replaceChildren(...parts);
    this.readout.textContent = "";
    this.views = nets.filter((net) => this.strategy === "all" || net.strategy === this.strategy)
      .map((net) => [net, net.layers.find((layer) => layer.name === this.layer)])
      .filter(([, layer]) => layer)
      .map(([net, layer]) => new MatrixView(net, layer, this));
    const layer = this.views[0]?.layer;
    const wide = layer && layer.vectors > 2 * layer.outputs;
    this.panels.classList.toggle("single", Boolean(wide) || this.views.length === 1);
    this.panels.replaceChildren(...this.views.map((view) => view.node));
    this.draw();
  }

  draw() {
    this.root.classList.toggle("zoomed", this.zoom > 1 || this.views.some((view) => view.width && view.fit * view.layer.vectors > view.width + 1));
    for (const view of this.views) view.draw();
  }

  // `x` and `y` are shares of the layer: the same place for all strategies.
  settle(view) {
    const width = view.width / view.scale / view.layer.vectors, height = view.height / view.scale / view.layer.outputs;
    this.x = Math.min(Math.max(0, this.x), Math.max(0, 1 - width));
    this.y = Math.min(Math.max(0, this.y), Math.max(0, 1 - height));
    this.draw();
  }

  move(view, dx, dy) {
    this.x += dx / view.scale / view.layer.vectors;
    this.y += dy / view.scale / view.layer.outputs;
    this.settle(view);
  }

  zoomAt(view, event, factor) {
    const [vector, output] = view.at(event), before = this.zoom;
    this.zoom = Math.min(64, Math.max(1, this.zoom * factor));
    const kept = before / this.zoom;
    this.x = vector / view.layer.vectors - (vector / view.layer.vectors - this.x) * kept;
    this.y = output / view.layer.outputs - (output / view.layer.outputs - this.y) * kept;
    this.settle(view);
  }

  zoomBy(factor) {
    const view = this.views[0];
    if (!view) return;
    const box = view.canvas.getBoundingClientRect();
    this.zoomAt(view, { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 }, factor);
  }

  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0 });
    this.draw();
  }
}

for (const root of document.querySelectorAll("[data-matrices]")) new MatricesView(root);
