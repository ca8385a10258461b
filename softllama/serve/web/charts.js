"use strict";
// Bars of probabilities, and the curves of a sweep: in the document, and painted on a surface for a picture.
const charts = (() => {
  const { el, number, short, visible } = dom;
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
  const COLOURS = ["soft", "c1", "c2", "c3", "c4", "c5"];
  const MOST = 6;  // curves

  // a cell with a number and its bar; the header says whose it is, so that no colour is needed
  // full: the probability of a bar that fills the cell
  function cell(p, kind, full) {
    const bar = el("b", { className: "bar-of " + kind });
    bar.style.width = Math.min(100, (100 * Math.max(0, p)) / full) + "%";
    return el("td", {}, el("div", { className: "cell" }, el("span", { className: "p" }, number(p)), el("div", { className: "track" }, bar)));
  }

  // ---- painting. Without a surface, they only say how high they are.
  const text = (g, s, x, y, colour, font = "12px " + FONT, align = "left") => {
    g.font = font;
    g.fillStyle = picture.colour(colour);
    g.textAlign = align;
    g.fillText(s, x, y);
    g.textAlign = "left";
  };

  function paintBars(g, width, { title, series, tokens }) {
    const LEFT = 130, HEAD = 74, ROW = 22, wide = (width - LEFT - 16) / series.length;
    const full = Math.max(...series.flatMap((s) => s.p));
    if (!g) return HEAD + ROW * tokens.length + 16;
    text(g, short(title, 100), 16, 26, "fg", "600 15px " + FONT);
    series.forEach((s, i) => {
      const x = LEFT + i * wide;
      text(g, short(s.name, Math.floor(wide / 7)), x, 52, "fg", "600 12px " + FONT);
      text(g, "entropy " + s.entropy.toFixed(2) + (s.js === undefined || !i ? "" : ", JS " + s.js.toFixed(3)), x, 66, "dim", "11px " + FONT);
      s.p.forEach((p, j) => {
        const y = HEAD + j * ROW;
        g.fillStyle = picture.colour(s.kind === "mixture" ? "soft" : s.kind === "average" ? "edge" : COLOURS[1 + (+s.kind.slice(-1) % 5)]);
        g.fillRect(x + 40, y + 5, Math.max(1, (wide - 56) * Math.max(0, p) / full), 11);
        text(g, number(p), x, y + 15, "fg", "11px " + FONT);
      });
    });
    tokens.forEach((t, j) => text(g, short(t, 16), LEFT - 12, HEAD + j * ROW + 15, "fg", "12px monospace", "right"));
    return HEAD + ROW * tokens.length + 16;
  }

  function marker(g, i, x, y) {
    const r = 3.5;
    g.beginPath();
    const shapes = [
      [[-r, -r], [r, -r], [r, r], [-r, r]], [[0, -r - 1], [r + 1, r], [-r - 1, r]], [[0, -r - 1], [r + 1, 0], [0, r + 1], [-r - 1, 0]],
      [[0, r + 1], [r + 1, -r], [-r - 1, -r]], [[-r, -1], [r, -1], [r, 1], [-r, 1]], [[-1, -r - 1], [1, -r - 1], [1, r + 1], [-1, r + 1]],
    ];
    shapes[i % shapes.length].forEach(([dx, dy]) => g.lineTo(x + dx, y + dy));
    g.fill();
  }

  // each curve has a colour, a marker and its name at its end; the average of the outputs is dashed
  function paintCurve(g, width, { sweep, from, to, at }) {
    const LEFT = 44, RIGHT = Math.min(130, width * 0.28), TOP = 16, HEIGHT = 230, BOTTOM = 58;
    const height = TOP + HEIGHT + BOTTOM;
    if (!g) return height;
    const right = width - RIGHT, curves = sweep.tokens.slice(0, MOST), alphas = sweep.alphas, n = alphas.length;
    const most = Math.max(0.02, ...sweep.p.slice(0, MOST).flat(), ...(sweep.average || []).slice(0, MOST).flat());
    const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5].find((s) => most / s <= 5) || 0.5, high = Math.ceil(most / step - 1e-9) * step;
    const x = (a) => LEFT + a * (right - LEFT), y = (p) => TOP + HEIGHT * (1 - p / high);
    const line = (points) => { g.beginPath(); points.forEach(([a, b]) => g.lineTo(a, b)); g.stroke(); };
    g.lineWidth = 1;
    for (let v = 0; v <= high + 1e-9; v += step) {
      g.strokeStyle = picture.colour(v ? "grid" : "line");
      line([[LEFT, Math.round(y(v)) + 0.5], [right, Math.round(y(v)) + 0.5]]);
      text(g, String(+v.toFixed(3)), LEFT - 6, y(v) + 4, "dim", "11px " + FONT, "right");
    }
    for (const a of [0, 0.25, 0.5, 0.75, 1]) text(g, String(a), x(a), TOP + HEIGHT + 16, "dim", "11px " + FONT, "center");
    text(g, "α = 0: " + short(from, 14), LEFT, TOP + HEIGHT + 33, "fg");
    text(g, "α = 1: " + short(to, 14), right, TOP + HEIGHT + 33, "fg", "12px " + FONT, "right");
    text(g, "solid: the mixture; dashed: average of the words", LEFT, TOP + HEIGHT + 50, "dim", "11px " + FONT);
    if (at !== null) {
      g.strokeStyle = picture.colour("edge");
      line([[x(at), TOP], [x(at), TOP + HEIGHT]]);
    }
    const ends = curves.map((t, i) => {
      const points = sweep.p[i].map((p, k) => [x(alphas[k]), y(p)]);
      g.fillStyle = g.strokeStyle = picture.colour(COLOURS[i]);
      if (sweep.average) {
        g.lineWidth = 1.2;
        g.setLineDash([4, 4]);
        line(sweep.average[i].map((p, k) => [x(alphas[k]), y(p)]));
        g.setLineDash([]);
      }
      g.lineWidth = 2;
      line(points);
      points.forEach(([a, b], k) => { if (k % 5 === 0) marker(g, i, a, b); });
      return { i, y: points[n - 1][1], name: visible(t.token) };
    });
    ends.sort((a, b) => a.y - b.y);
    ends.forEach((e, k) => { e.at = Math.max(e.y, k ? ends[k - 1].at + 15 : TOP + 4); });
    let floor = TOP + HEIGHT + 4;  // names that were pushed below the plot push those above them up
    for (const e of [...ends].reverse()) {
      e.at = Math.min(e.at, floor);
      floor = e.at - 15;
    }
    for (const e of ends) {
      g.fillStyle = picture.colour(COLOURS[e.i]);
      marker(g, e.i, right + 14, e.at);
      text(g, short(e.name, Math.floor((RIGHT - 26) / 7)), right + 23, e.at + 4, "fg", "12px monospace");
    }
    return height;
  }

  function curve() {
    let data = null;
    const surface = picture.canvas((g, width) => (data ? paintCurve(g, width, data) : 0));
    const caption = el("figcaption", {});
    const box = el("figure", { className: "curve", hidden: true }, surface.box, caption);
    surface.box.setAttribute("role", "img");
    function show(next) {
      data = next;
      box.hidden = false;
      const { sweep, from, to } = data, of = (v) => (v === null || v === undefined ? "none" : v.toFixed(2));
      const ends = sweep.tokens.slice(0, 3).map((t, i) => visible(t.token) + " from " + number(sweep.p[i][0]) + " to " + number(sweep.p[i].at(-1)));
      surface.box.setAttribute("aria-label", "From " + from + " to " + to + ", the probability of " + ends.join(", of ") + ".");
      caption.textContent = "From " + from + " to " + to + ": the output is halfway at α = " + of(sweep.midpoint)
        + (sweep.sharpness === null || sweep.sharpness === undefined ? "." : ", sharpness " + of(sweep.sharpness) + " (1 is a straight line).");
      surface.draw();
    }
    return { box, show, clear: () => { data = null; box.hidden = true; } };
  }

  return { cell, paintBars, paintCurve, curve };
})();
