// A line chart on a canvas: some series over time, with the values of the moment under the pointer.

import { h, fill } from "./dom.js";

const COLOURS = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5"];
const LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 20;

export class Chart {
  /** `series`: [name in the answer, label, perhaps a format of its own]; `format`: a value as text. */
  constructor(title, series, format) {
    this.series = series;
    this.format = format;
    this.points = {};
    this.canvas = h("canvas", { role: "img", "aria-label": title });
    this.legend = h("div", { class: "legend" });
    this.element = h("section", { class: "card" }, h("h2", {}, title), h("div", { class: "chart" }, this.canvas), this.legend);
    this.pointer = null;
    this.canvas.addEventListener("pointermove", (event) => { this.pointer = event.offsetX; this.draw(); });
    this.canvas.addEventListener("pointerleave", () => { this.pointer = null; this.draw(); });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas);
  }

  set(points) {
    this.points = points;
    this.draw();
  }

  dispose() {
    this.observer.disconnect();
  }

  draw() {
    const { canvas } = this;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (width === 0 || height === 0) return;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    const to = canvas.getContext("2d");
    to.setTransform(scale, 0, 0, scale, 0, 0);
    to.clearRect(0, 0, width, height);
    to.font = "11px system-ui, sans-serif";
    const lists = this.series.map(([name]) => this.points[name] || []);
    const all = lists.flat();
    if (all.length === 0) {
      to.fillStyle = colour("--soft");
      to.fillText("no samples yet", LEFT, height / 2);
      this.describe(null);
      return;
    }
    let from = Infinity, until = -Infinity, most = 0;
    for (const [at, value] of all) {
      from = Math.min(from, at);
      until = Math.max(until, at);
      most = Math.max(most, value);
    }
    if (until === from) until = from + 1;
    const top = nice(most);
    const x = (at) => LEFT + (at - from) / (until - from) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - Math.max(0, value) / top * (height - TOP - BOTTOM);
    to.lineWidth = 1;
    to.strokeStyle = colour("--line");
    to.fillStyle = colour("--soft");
    to.textAlign = "right";
    for (let step = 0; step <= 4; step += 1) {
      const value = top * step / 4;
      to.beginPath();
      to.moveTo(LEFT, Math.round(y(value)) + .5);
      to.lineTo(width - RIGHT, Math.round(y(value)) + .5);
      to.stroke();
      to.fillText(this.format(value).replace("/s", ""), LEFT - 6, y(value) + 4);
    }
    const long = until - from > 3 * 3600 * 1000;
    const clock = (at) => new Date(at).toLocaleTimeString([], long ? { hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    to.textAlign = "left";
    to.fillText(clock(from), LEFT, height - 5);
    to.textAlign = "right";
    to.fillText(clock(until), width - RIGHT, height - 5);
    lists.forEach((list, index) => {
      to.strokeStyle = colour(COLOURS[index % COLOURS.length]);
      to.lineWidth = 1.8;
      to.lineJoin = "round";
      to.beginPath();
      list.forEach(([at, value], i) => (i === 0 ? to.moveTo(x(at), y(value)) : to.lineTo(x(at), y(value))));
      to.stroke();
    });
    let moment = null;
    if (this.pointer !== null) {
      moment = from + (this.pointer - LEFT) / (width - LEFT - RIGHT) * (until - from);
      to.strokeStyle = colour("--soft");
      to.lineWidth = 1;
      to.beginPath();
      to.moveTo(this.pointer, TOP);
      to.lineTo(this.pointer, height - BOTTOM);
      to.stroke();
    }
    this.describe(moment);
  }

  describe(moment) {
    const style = getComputedStyle(this.canvas);
    const parts = this.series.map(([name, label, format = this.format], index) => {
      const list = this.points[name] || [];
      let shown = list.at(-1);
      if (moment !== null && list.length > 0) {
        shown = list.reduce((best, point) => (Math.abs(point[0] - moment) < Math.abs(best[0] - moment) ? point : best));
      }
      const mark = h("i", {});
      mark.style.background = style.getPropertyValue(COLOURS[index % COLOURS.length]);
      return h("span", { "data-series": name, "data-value": shown ? shown[1] : "" }, mark, `${label} `, h("b", {}, shown ? format(shown[1]) : "–"));
    });
    fill(this.legend, parts);
  }
}

/** The next round number. */
function nice(value) {
  if (value <= 0) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const factor of [1, 2, 4, 5, 10]) if (value <= factor * power) return Math.max(factor * power, 4);
  return 10 * power;
}
