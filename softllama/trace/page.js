"use strict";
// The chart of a trace. All its texts come from the JSON beside it and are set as text, never as HTML.
// Only what can be seen is drawn: the canvas is as wide as the window, and a box as wide as the chart scrolls behind it.
(() => {
  const root = document.documentElement;
  window.addEventListener("error", (e) => { root.dataset.error = e.message; });
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const steps = data.steps, texts = data.texts, n = steps.length;
  const MODES = ["soft", "hard", "forced"];
  const chart = $("chart"), canvas = $("canvas"), tip = $("tip"), g = canvas.getContext("2d");
  const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';
  const STRIP = 8, ROW = 17, CURVE = 84, AXIS = 20, PAD = 8, RUN = 6;

  const kinds = new Set(steps.flatMap((s) => s.w.map(([t]) => t)));  // every token that some step fed
  const deepest = Math.max(1, ...steps.map((s) => s.w.length));
  const most = Math.max(1, ...steps.map((s) => s.h));
  const thinks = steps.some((s) => s.k);
  if (!thinks) $("think-key").hidden = true;

  const asked = new URLSearchParams(location.hash.slice(1));
  const phone = window.innerWidth <= 640, LABEL = phone ? 10 : 16;  // letters of a row's name
  const view = {
    kind: asked.get("view") === "rank" ? "rank" : "token",
    rows: +asked.get("rows") || (phone ? 20 : 30),
    ranks: Math.min(deepest, 8),
    cell: +asked.get("width") || 0,
    fold: asked.get("fold") !== "0",
    at: null,  // the step that is pointed at
    row: null,
  };

  // ---- columns: a step each. A run of RUN or more steps that fed one token each is one column, unless all steps did: it is
  // the mixtures that one looks for. A run ends where a thinking block does.
  const mixes = (s) => s.m === 0 && (s.n > 1 || s.q === 1);
  const mixed = steps.some(mixes);
  let columns = [], columnOf = [], folds = 0;

  function makeColumns() {
    columns = [];
    folds = 0;
    for (let i = 0; i < n;) {
      let end = i;
      while (mixed && end < n && !mixes(steps[end]) && steps[end].k === steps[i].k) end++;
      const run = end - i >= RUN;
      folds += run ? 1 : 0;
      const next = run ? end : Math.max(end, i + 1);
      if (run && view.fold) columns.push([i, next]);
      else for (let j = i; j < next; j++) columns.push([j, j + 1]);
      i = next;
    }
    columnOf = columns.flatMap(([a, b], c) => Array(b - a).fill(c));
  }
  const isRun = (c) => columns[c][1] - columns[c][0] > 1;

  // ---- rows: the tokens that take most part in mixtures around what can be seen, in the order of the steps where they do;
  // what is left is "others". They are chosen anew when one scrolls out of the columns they were chosen for, so that they
  // seldom change. A token's part in a step is w (1 - w), which is 0 for a step that fed it alone; such tokens come last.
  let rowTokens = [], rowOf = new Map(), others = false, range = [0, -1];

  function chooseRows(a, b) {
    if (a >= range[0] && b <= range[1]) return;
    const more = Math.ceil((b - a) / 2);
    range = [Math.max(0, a - more), Math.min(columns.length, b + more)];
    const weight = new Map(), first = new Map(), alone = new Map();
    for (let c = range[0]; c < range[1]; c++) {
      if (isRun(c)) continue;
      for (const [t, w] of steps[columns[c][0]].w) {
        const part = Math.abs(w * (1 - w));
        weight.set(t, (weight.get(t) || 0) + part + 1e-6 * Math.abs(w));
        if (part > 0.01 && !first.has(t)) first.set(t, c);
        if (!alone.has(t)) alone.set(t, c);
      }
    }
    for (const [t, c] of alone) if (!first.has(t)) first.set(t, c);
    const heaviest = [...weight.keys()].sort((x, y) => weight.get(y) - weight.get(x) || first.get(x) - first.get(y));
    rowTokens = heaviest.slice(0, view.rows).sort((x, y) => first.get(x) - first.get(y));
    rowOf = new Map(rowTokens.map((t, i) => [t, i]));
    chart.setAttribute("aria-description", "rows: " + rowTokens.map((t) => texts[t]).join(", "));
  }

  // ---- colours
  let css, ramp;
  function colours() {
    const style = getComputedStyle(root), known = new Map();
    css = (name) => {
      if (!known.has(name)) known.set(name, style.getPropertyValue("--" + name).trim());
      return known.get(name);
    };
    const stops = css("ramp").split(" ").map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
    ramp = Array.from({ length: 65 }, (_, i) => {
      const x = (i / 64) * (stops.length - 1), a = Math.min(stops.length - 2, Math.floor(x));
      return "rgb(" + stops[a].map((v, c) => Math.round(v + (x - a) * (stops[a + 1][c] - v))).join(",") + ")";
    });
    $("ramp").style.background = "linear-gradient(90deg," + css("ramp").split(" ").join(",") + ")";
  }
  // the square root lets small weights be seen; one-hot steps have their mode's colour
  const shade = (w) => (w < 0 ? css("negative") : ramp[Math.round(64 * Math.sqrt(Math.min(1, w)))]);

  // ---- sizes
  let gutter = 80, heads = 0, width = 0, height = 0;
  const nRows = () => (view.kind === "rank" ? view.ranks : Math.min(view.rows, kinds.size)) + (others ? 1 : 0);
  const rowHeight = () => (view.kind === "rank" ? 20 : ROW);
  const top = () => PAD + heads + STRIP + 4;
  const bottom = () => top() + nRows() * rowHeight();

  function short(text, most) {
    const letters = [...text];
    return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : text;
  }

  function layout() {
    width = chart.clientWidth;
    range = [0, -1];
    const hidden = view.kind === "rank" ? deepest > view.ranks : kinds.size > view.rows;
    others = hidden || steps.some((s) => s.r > 1e-6);
    g.font = "12px " + FONT;
    const names = ["others"];
    if (view.kind === "token") for (const t of [...kinds].slice(0, 500)) names.push(short(texts[t], LABEL));
    gutter = Math.ceil(Math.max(44, ...names.map((t) => g.measureText(t).width))) + 14;
    if (!view.cell) {
      const fit = n ? (width - gutter - PAD) / columns.length : 20;
      // all steps at once, if they can be told apart; else wide enough for their texts
      view.cell = view.kind === "rank" ? 66 : fit >= 5 ? Math.min(64, Math.floor(fit)) : 12;
    }
    heads = view.cell >= 11 || view.kind === "rank" ? (view.cell >= 50 ? 18 : 66) : 0;
    height = bottom() + 14 + CURVE + AXIS;
    $("wide").style.width = Math.max(width, gutter + columns.length * view.cell + PAD) + "px";
    const ratio = window.devicePixelRatio || 1;
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    $("by-token").setAttribute("aria-pressed", view.kind === "token");
    $("by-rank").setAttribute("aria-pressed", view.kind === "rank");
    $("fold").setAttribute("aria-pressed", view.fold);
    $("fold").parentElement.hidden = !folds;
    draw();
  }

  // ---- drawing
  function draw() {
    const c = view.cell, from = chart.scrollLeft, x0 = gutter - from;
    const a = Math.max(0, Math.floor(from / c)), b = Math.min(columns.length, Math.ceil((from + width - gutter) / c));
    const thinking = (i) => i < b && steps[columns[i][0]].k;
    chooseRows(a, b);
    const y0 = top(), h = rowHeight(), end = bottom(), curve = end + 14;
    g.clearRect(0, 0, width, height);
    g.save();
    g.beginPath();
    g.rect(gutter, 0, width - gutter, height);
    g.clip();
    g.fillStyle = css("think");
    for (let i = a; i < b; i++) {  // each run of thinking steps as one box, as boxes that overlap would show
      const start = i;
      while (thinking(i)) i++;
      if (i > start) g.fillRect(x0 + start * c, 0, (i - start) * c, curve + CURVE);
    }
    g.strokeStyle = css("grid");
    g.lineWidth = 1;
    for (let r = 0; r <= nRows(); r++) line(gutter, y0 + r * h, width, y0 + r * h);
    const gap = c >= 8 ? 1 : 0;
    for (let i = a; i < b; i++) {
      const s = steps[columns[i][0]], x = x0 + i * c;
      if (isRun(i)) { run(columns[i], x, y0, end); continue; }
      g.fillStyle = css(MODES[s.m]);
      g.fillRect(x, y0 - STRIP - 2, c + (gap ? -1 : 0.5), STRIP - 2);
      let rest = s.r;
      s.w.forEach(([t, w], rank) => {
        const row = view.kind === "rank" ? (rank < view.ranks ? rank : undefined) : rowOf.get(t);
        if (row === undefined) { rest += w; return; }
        g.fillStyle = s.m ? css(MODES[s.m]) : shade(w);
        g.fillRect(x, y0 + row * h + gap, c - gap + (gap ? 0 : 0.5), h - gap);
        if (c < 40) return;
        if (view.kind === "rank") inCell(texts[t], w, s.m, x, y0 + row * h, c, h);
        else if (s.m === 0 && Math.abs(w) >= 0.005) inCell(w.toFixed(2), w, 0, x, y0 + row * h, c, h);
      });
      if (rest > 1e-4 && others) {
        g.fillStyle = s.m ? css(MODES[s.m]) : shade(rest);
        g.fillRect(x, y0 + (nRows() - 1) * h + gap, c - gap + (gap ? 0 : 0.5), h - gap);
      }
      if (heads) head(texts[s.t], s, x, y0 - STRIP - 5);
    }
    drawCurve(a, b, x0, curve);
    if (view.at !== null) {
      const x = x0 + columnOf[view.at] * c;
      g.strokeStyle = css("fg");
      g.lineWidth = 1.5;
      g.strokeRect(x - 0.5, y0 - STRIP - 3, c + 0.5, curve + CURVE - y0 + STRIP + 3);
    }
    g.restore();
    labels(y0, h, curve);
  }

  function run([from, to], x, y0, end) {  // a column for steps that fed one token each
    const c = view.cell;
    g.fillStyle = css("hard");
    g.fillRect(x, y0 - STRIP - 2, c - 1, STRIP - 2);
    g.globalAlpha = 0.18;
    g.fillRect(x, y0, c - 1, end - y0);
    g.globalAlpha = 1;
    if (heads) label(to - from + "×", "dim", "", x, y0 - STRIP - 5);
  }

  function line(x1, y1, x2, y2) {
    g.beginPath();
    g.moveTo(x1, Math.round(y1) + 0.5);
    g.lineTo(x2, Math.round(y2) + 0.5);
    g.stroke();
  }

  const head = (text, s, x, y) => label(text, s.m === 2 ? "forced" : s.m ? "dim" : "fg", s.m ? "" : "600 ", x, y);

  function label(text, colour, bold, x, y) {
    g.save();
    g.font = bold + "11px " + FONT;
    g.fillStyle = css(colour);
    if (view.cell >= 50) {
      g.fillText(short(text, Math.floor(view.cell / 7)), x + 3, y);
    } else {
      g.translate(x + view.cell / 2 + 4, y);
      g.rotate(-Math.PI / 2);
      g.fillText(short(text, 9), 0, 0);
    }
    g.restore();
  }

  function inCell(text, w, mode, x, y, c, h) {
    g.font = "11px " + FONT;
    g.fillStyle = css(mode !== 0 || Math.sqrt(Math.abs(w)) > 0.6 ? "bg" : "fg");
    g.fillText(short(text, Math.floor((c - 6) / 6.7)), x + 4, y + h - 5.5);
  }

  function drawCurve(a, b, x0, y) {
    const c = view.cell, at = (h) => y + CURVE * (1 - Math.max(0, h) / most);
    g.strokeStyle = css("grid");
    g.lineWidth = 1;
    for (const v of ticks()) line(gutter, at(v), width, at(v));
    g.strokeStyle = css("line");
    line(gutter, y + CURVE, width, y + CURVE);
    const lo = Math.max(0, a - 1), hi = Math.min(columns.length, b + 1);
    if (hi > lo) {
      g.beginPath();
      for (let i = lo; i < hi; i++) g.lineTo(x0 + (i + 0.5) * c, at(entropy(i)));
      g.strokeStyle = css("soft");
      g.lineWidth = 1.5;
      g.stroke();
      g.lineTo(x0 + (hi - 0.5) * c, y + CURVE);
      g.lineTo(x0 + (lo + 0.5) * c, y + CURVE);
      g.globalAlpha = 0.15;
      g.fillStyle = css("soft");
      g.fill();
      g.globalAlpha = 1;
    }
    g.fillStyle = css("dim");
    g.font = "11px " + FONT;
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((k) => k * c >= 46) || 2000;
    for (let i = Math.ceil(a / every) * every; i < b; i += every) g.fillText(columns[i][0], x0 + i * c + 1, y + CURVE + 14);
  }

  function entropy(c) {  // of a run: the mean
    const [from, to] = columns[c];
    let sum = 0;
    for (let i = from; i < to; i++) sum += steps[i].h;
    return sum / (to - from);
  }

  function ticks() {
    const size = [0.5, 1, 2, 5].find((k) => most / k <= 4.5) || 10;
    return Array.from({ length: Math.floor(most / size) + 1 }, (_, i) => i * size);
  }

  function labels(y0, h, curve) {
    g.font = "12px " + FONT;
    g.textAlign = "right";
    const here = view.at === null ? new Map() : new Map(steps[view.at].w);
    for (let r = 0; r < nRows(); r++) {
      if (view.kind === "token" && r >= rowTokens.length && !(others && r === nRows() - 1)) continue;
      const last = others && r === nRows() - 1;
      const text = last ? "others" : view.kind === "rank" ? "#" + (r + 1) : short(texts[rowTokens[r]], LABEL);
      const lit = !last && view.kind === "token" && here.has(rowTokens[r]);
      g.fillStyle = css(lit ? "fg" : last ? "dim" : view.at === null ? "fg" : "dim");
      g.font = (lit ? "700 " : "") + "12px " + FONT;
      g.fillText(text, gutter - 8, y0 + (r + 1) * h - (h - 9) / 2);
    }
    g.font = "11px " + FONT;
    g.fillStyle = css("dim");
    for (const v of ticks()) g.fillText(v, gutter - 8, curve + CURVE * (1 - v / most) + 4);
    g.fillText("step", gutter - 8, curve + CURVE + 14);
    g.save();
    g.translate(11, curve + CURVE / 2);
    g.rotate(-Math.PI / 2);
    g.textAlign = "center";
    g.fillText("entropy", 0, 0);
    g.restore();
    g.textAlign = "left";
  }

  // ---- one step in words
  const spans = new Map([...document.querySelectorAll("[data-step]")].map((e) => [+e.dataset.step, e]));
  function el(tag, text, name) {
    const e = document.createElement(tag);
    if (text !== undefined) e.textContent = text;
    if (name) e.className = name;
    return e;
  }
  const number = (w) => (w !== 0 && Math.abs(w) < 0.0005 ? w.toExponential(0) : w.toFixed(3));

  function table(pairs, readout) {
    const t = el("table"), body = el("tbody");
    for (const [id, w] of pairs) {
      const tr = el("tr"), bar = el("b"), cell = el("td");
      bar.style.width = Math.min(100, 100 * Math.abs(w)) + "%";
      cell.append(bar);
      tr.append(el("td", texts[id], "token"), el("td", number(w)), cell);
      if (id === readout) tr.className = "read";
      body.append(tr);
    }
    t.append(body);
    return t;
  }

  function describe(i) {
    const s = steps[i], parts = [];
    const headline = el("div", undefined, "head");
    headline.append(el("span", "step " + i + ", " + MODES[s.m] + (s.k ? ", thinking" : "")), el("span", s.h.toFixed(3) + " nats"));
    parts.push(headline);
    const reads = el("div", "reads ");
    reads.append(el("span", texts[s.t], "token"));
    parts.push(reads);
    if (s.y) parts.push(el("div", s.y, "why"));
    const extra = [];
    if (s.q) extra.push("fed: the last hidden state; below is its hard reading");
    if (s.z) extra.push("noise on the embedding, σ = " + s.z);
    if (s.l) extra.push("left out: " + s.l.toExponential(1));
    if (extra.length) parts.push(el("div", extra.join("; "), "more"));
    if (s.m === 0 && !s.q) {
      parts.push(table(s.w.slice(0, 12), s.t));
      if (s.n > Math.min(12, s.w.length)) {
        const shown = s.w.slice(0, 12), sum = shown.reduce((a, [, w]) => a + w, 0);
        const all = s.w.reduce((a, [, w]) => a + w, 0) + s.r;
        parts.push(el("div", "and " + (s.n - shown.length) + " more, " + number(all - sum), "more"));
      }
    } else {
      parts.push(el("div", "the model's likeliest tokens were", "more"), table(s.p, s.t));
    }
    return parts;
  }

  function describeRun([from, to]) {
    const headline = el("div", undefined, "head"), part = steps.slice(from, to);
    headline.append(el("span", "steps " + from + " to " + (to - 1) + (part[0].k ? ", thinking" : "")));
    const text = part.slice(0, 60).map((s) => texts[s.t]).join("") + (part.length > 60 ? "…" : "");
    return [headline, el("div", "one token each", "more"), el("div", text, "reads token")];
  }

  // i: a step, or null. all: its whole column is meant, which may be a run
  function point(i, where, all) {
    if (view.at !== null && spans.has(view.at)) spans.get(view.at).classList.remove("at");
    view.at = i;
    if (i === null) {
      tip.hidden = true;
      delete root.dataset.step;
    } else {
      root.dataset.step = i;
      if (spans.has(i)) spans.get(i).classList.add("at");
      const column = columns[columnOf[i]];
      tip.replaceChildren(...(all && column[1] - column[0] > 1 ? describeRun(column) : describe(i)));
      tip.hidden = false;
      const box = chart.getBoundingClientRect(), size = tip.getBoundingClientRect();
      const x = where ? where.x : box.left + gutter - chart.scrollLeft + (columnOf[i] + 0.5) * view.cell;
      const y = where ? where.y : box.top + 40;
      const right = x + 18 + size.width < window.innerWidth;
      tip.style.left = Math.max(8, right ? x + 18 : x - 18 - size.width) + "px";
      tip.style.top = Math.max(8, Math.min(y - 20, window.innerHeight - size.height - 8)) + "px";
    }
    draw();
  }

  function show(i, all) {  // point at a step from elsewhere, and bring it into the window
    const x = columnOf[i] * view.cell;
    if (x < chart.scrollLeft || x + view.cell > chart.scrollLeft + width - gutter) {
      chart.scrollLeft = x - (width - gutter) / 2;
    }
    point(i, undefined, all);
  }

  function under(e) {
    const box = canvas.getBoundingClientRect(), x = e.clientX - box.left;
    const c = Math.floor((x - gutter + chart.scrollLeft) / view.cell);
    return x >= gutter && c >= 0 && c < columns.length ? columns[c][0] : null;
  }
  canvas.addEventListener("pointermove", (e) => { if (e.pointerType !== "touch") point(under(e), { x: e.clientX, y: e.clientY }, true); });
  canvas.addEventListener("pointerleave", (e) => { if (e.pointerType !== "touch") point(null); });
  canvas.addEventListener("click", (e) => point(under(e), { x: e.clientX, y: e.clientY }, true));
  document.addEventListener("click", (e) => { if (!chart.contains(e.target)) point(null); });
  chart.addEventListener("scroll", draw, { passive: true });
  chart.addEventListener("keydown", (e) => {
    const to = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -n, End: n }[e.key];
    if (e.key === "Escape") point(null);
    if (to === undefined || !n) return;
    e.preventDefault();
    const last = columns.length - 1, at = view.at === null ? (to > 0 ? -1 : last + 1) : columnOf[view.at];
    show(columns[Math.max(0, Math.min(last, at + to))][0], true);
  });
  for (const [i, span] of spans) {
    span.addEventListener("pointerenter", (e) => { if (e.pointerType !== "touch") show(i); });
    span.addEventListener("pointerleave", () => point(null));
  }
  const zoom = (factor) => {
    const middle = (chart.scrollLeft + (width - gutter) / 2) / view.cell;
    view.cell = Math.max(2, Math.min(140, Math.round(view.cell * factor) || 2));
    layout();
    chart.scrollLeft = middle * view.cell - (width - gutter) / 2;
  };
  const rows = (step) => {
    if (view.kind === "rank") view.ranks = Math.max(1, Math.min(deepest, view.ranks + Math.sign(step) * 2));
    else view.rows = Math.max(1, Math.min(kinds.size, view.rows + step));
    layout();
  };
  const turn = (kind) => () => {
    if (view.kind === kind) return;
    const middle = (chart.scrollLeft + (width - gutter) / 2) / (view.cell || 1);
    view.kind = kind;
    view.cell = 0;
    layout();
    chart.scrollLeft = middle * view.cell - (width - gutter) / 2;
  };
  $("fold").onclick = () => {
    view.fold = !view.fold;
    view.cell = 0;
    makeColumns();
    layout();
    if (view.at !== null) show(view.at, true);
  };
  $("wider").onclick = () => zoom(1.4);
  $("narrower").onclick = () => zoom(1 / 1.4);
  $("more").onclick = () => rows(10);
  $("fewer").onclick = () => rows(-10);
  $("by-token").onclick = turn("token");
  $("by-rank").onclick = turn("rank");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours(); draw(); });
  new ResizeObserver(() => { if (chart.clientWidth !== width) layout(); }).observe(chart);

  colours();
  makeColumns();
  layout();
  if (asked.has("step") && steps[+asked.get("step")]) show(+asked.get("step"));
  root.dataset.ready = "steps=" + n + " columns=" + columns.length + " rows=" + nRows() + " view=" + view.kind;
})();
