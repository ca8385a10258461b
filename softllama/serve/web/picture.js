"use strict";
// Pictures: what paints on a canvas also paints an SVG file or a PNG file. Knows surfaces, not what is painted.
const picture = (() => {
  const { el } = dom;
  const MOST = 16000;  // pixels of a PNG's longer side, which browsers can draw
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const escape = (text) => String(text).replace(/[&<>"]/g, (c) => "&#" + c.charCodeAt(0) + ";");
  const round = (v) => Math.round(v * 100) / 100;

  // the calls of a canvas that paint functions use, which write the elements of an SVG file
  class Surface {
    constructor() {
      this.elements = [];
      this.clips = [];
      this.stack = [];
      this.path = [];
      this.now = { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, font: "12px sans-serif", globalAlpha: 1, textAlign: "left", move: "", clipped: "", dash: "" };
      for (const name of Object.keys(this.now)) {
        Object.defineProperty(this, name, { get: () => this.now[name], set: (v) => { this.now[name] = v; } });
      }
    }
    put(tag, attributes, text) {
      const all = { ...attributes, transform: this.move, opacity: this.globalAlpha === 1 ? "" : this.globalAlpha };
      const written = Object.entries(all).filter(([, v]) => v !== "").map(([k, v]) => ` ${k}="${escape(v)}"`).join("");
      const whole = text === undefined ? `<${tag}${written}/>` : `<${tag}${written}>${escape(text)}</${tag}>`;
      this.elements.push(this.clipped ? `<g clip-path="${this.clipped}">${whole}</g>` : whole);
    }
    box(x, y, w, h) { return { x: round(x), y: round(y), width: Math.max(0, round(w)), height: Math.max(0, round(h)) }; }
    line() { return { d: this.path.join(""), stroke: this.strokeStyle, "stroke-width": this.lineWidth, "stroke-dasharray": this.dash, fill: "none" }; }
    save() { this.stack.push({ ...this.now }); }
    restore() { this.now = this.stack.pop(); }
    beginPath() { this.path = []; }
    moveTo(x, y) { this.path.push("M" + round(x) + " " + round(y)); }
    lineTo(x, y) { this.path.push((this.path.length ? "L" : "M") + round(x) + " " + round(y)); }
    rect(x, y, w, h) { this.path.push(`M${round(x)} ${round(y)}h${round(w)}v${round(h)}h${round(-w)}z`); }
    clip() {
      this.clips.push(`<clipPath id="c${this.clips.length}"><path d="${this.path.join("")}"/></clipPath>`);
      this.clipped = `url(#c${this.clips.length - 1})`;
    }
    setLineDash(dash) { this.dash = dash.join(" "); }
    fillRect(x, y, w, h) { this.put("rect", { ...this.box(x, y, w, h), fill: this.fillStyle }); }
    strokeRect(x, y, w, h) { this.put("rect", { ...this.line(), d: "", ...this.box(x, y, w, h) }); }
    stroke() { this.put("path", this.line()); }
    fill() { this.put("path", { d: this.path.join(""), fill: this.fillStyle }); }
    translate(x, y) { this.move += `translate(${round(x)} ${round(y)})`; }
    rotate(angle) { this.move += `rotate(${round((angle * 180) / Math.PI)})`; }
    fillText(text, x, y) {
      const anchor = { left: "", right: "end", center: "middle" }[this.textAlign];
      this.put("text", { x: round(x), y: round(y), fill: this.fillStyle, "text-anchor": anchor, style: "white-space:pre;font:" + this.font }, text);
    }
    measureText(text) {
      measure.font = this.font;
      return measure.measureText(text);
    }
  }
  const measure = document.createElement("canvas").getContext("2d");

  function svg(paint, { width, height }) {
    const g = new Surface();
    g.fillStyle = colour("bg");
    g.fillRect(0, 0, width, height);
    paint(g, width);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`
      + `<defs>${g.clips.join("")}</defs>${g.elements.join("\n")}</svg>\n`;
  }

  function png(paint, { width, height }) {
    const scale = Math.min(2, MOST / Math.max(width, height));
    const canvas = el("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) }), g = canvas.getContext("2d");
    g.scale(scale, scale);
    g.fillStyle = colour("bg");
    g.fillRect(0, 0, width, height);
    paint(g, width);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  // ---- files
  function save(content, name, type) {
    const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
  const fileName = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40) || "softllama";

  // buttons that save a picture. make: () => [paint(surface, width), {width, height}, name]
  function buttons(make) {
    const button = (text, act) => el("button", { type: "button", onclick: act }, text);
    return [
      button("Save picture (SVG)", () => { const [paint, size, name] = make(); save(svg(paint, size), name + ".svg", "image/svg+xml"); }),
      button("Save picture (PNG)", async () => { const [paint, size, name] = make(); save(await png(paint, size), name + ".png"); }),
    ];
  }

  // ---- a canvas that repaints itself when its width or the colours change. paint(surface, width) returns the height it needs
  function canvas(paint) {
    const c = el("canvas"), box = el("div", { className: "canvas" }, c), g = c.getContext("2d");
    function draw() {
      const width = box.clientWidth, ratio = window.devicePixelRatio || 1;
      if (!width) return;
      const height = paint(null, width);
      c.width = Math.round(width * ratio);
      c.height = Math.round(height * ratio);
      c.style.width = width + "px";
      c.style.height = height + "px";
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      paint(g, width);
    }
    new ResizeObserver(() => requestAnimationFrame(draw)).observe(box);  // which changes its height
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    return { box, draw };
  }

  return { buttons, canvas, save, fileName, colour, svg };
})();
