"use strict";
// The heat map of a trace: the weights of the mixtures over the steps, the entropy below. All its texts are set as text.
// Only what can be seen is drawn: the canvas is as wide as the window, and a box as wide as the chart scrolls behind it.
// It grows while steps come (`add`), and draws itself as a whole on any other surface (`paint`).
//
// A step is {m: mode (0 soft, 1 hard, 2 forced), k: thinking, t: readout, h: entropy, n: tokens fed, w: [[token, weight]],
// r: weight of the rest, p: [[token, probability]], y: why, l: left out, z: noise, q: fed the hidden state}.
// A token is a key of `texts`.
const heatmap = (() => {
  const { el, number, short } = dom;
  const MODES = ["soft", "hard", "forced"];
  const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';
  const STRIP = 8, ROW = 17, CURVE = 84, AXIS = 20, PAD = 8, RUN = 6;
  const mixes = (s) => s.m === 0 && (s.n > 1 || s.q === 1);

  // ---- one step in words
  function table(pairs, readout, texts) {
    const body = el("tbody");
    for (const [id, w] of pairs) {
      const bar = el("b");
      bar.style.width = Math.min(100, 100 * Math.abs(w)) + "%";
      body.append(el("tr", { className: id === readout ? "read" : "" },
        el("td", { className: "token" }, texts[id]), el("td", {}, number(w)), el("td", {}, bar)));
    }
    return el("table", {}, body);
  }

  function describe(i, s, texts) {
    const parts = [el("div", { className: "head" },
      el("span", {}, "step " + i + ", " + MODES[s.m] + (s.k ? ", thinking" : "")), el("span", {}, s.h.toFixed(3) + " nats"))];
    parts.push(el("div", {}, "reads ", el("span", { className: "token" }, texts[s.t])));
    if (s.y) parts.push(el("div", { className: "why" }, s.y));
    const extra = [];
    if (s.q) extra.push("fed: the last hidden state; below is its hard reading");
    if (s.z) extra.push("noise on the embedding, σ = " + s.z);
    if (s.l) extra.push("left out: " + s.l.toExponential(1));
    if (extra.length) parts.push(el("div", { className: "more" }, extra.join("; ")));
    if (s.m === 0 && !s.q) {
      const shown = s.w.slice(0, 12), sum = (pairs) => pairs.reduce((a, [, w]) => a + w, 0);
      parts.push(table(shown, s.t, texts));
      if (s.n > shown.length) {
        const rest = number(sum(s.w) + s.r - sum(shown));
        parts.push(el("div", { className: "more" }, "and " + (s.n - shown.length) + " more, " + rest));
      }
    } else if (s.p.length) {
      parts.push(el("div", { className: "more" }, "the model's likeliest tokens were"), table(s.p, s.t, texts));
    }
    return parts;
  }

  function describeRun([from, to], steps, texts) {
    const part = steps.slice(from, to);
    const text = part.slice(0, 60).map((s) => texts[s.t]).join("") + (part.length > 60 ? "…" : "");
    return [
      el("div", { className: "head" }, el("span", {}, "steps " + from + " to " + (to - 1) + (part[0].k ? ", thinking" : ""))),
      el("div", { className: "more" }, "one token each"), el("div", { className: "reads token" }, text),
    ];
  }

  // ---- the parts of it in the document
  function parts(label) {
    const buttons = {};
    const button = (name, text, title, pressed) =>
      (buttons[name] = el("button", { type: "button", name, title, "aria-pressed": pressed }, text));
    const group = (name, ...inside) => el("span", { className: "group", role: "group", "aria-label": name }, ...inside);
    const key = (name, text) => el("span", {}, el("i", { className: name }), text);
    const ramp = el("i", { className: "ramp" }), think = key("think", "thinking block");
    const bar = el("div", { className: "bar" },
      group("rows", button("by-token", "by token", "A row for each of the tokens with the most weight around here", true),
        button("by-rank", "by rank", "Each step's own tokens, heaviest on top", false)),
      group("number of rows", button("fewer", "− rows", "Fewer rows"), button("more", "+ rows", "More rows")),
      group("width of a step", button("narrower", "− width", "Narrower steps"), button("wider", "+ width", "Wider steps")),
      group("runs of single tokens",
        button("fold", "fold single tokens", "Show steps that fed one token each, in a row, as one column", true)),
      el("span", { className: "legend" }, el("span", {}, "weight 0", ramp, "1"),
        key("soft", "soft"), key("hard", "hard"), key("forced", "forced"), think));
    const canvas = el("canvas"), wide = el("div", { className: "wide" }, canvas);
    // arrow keys go from step to step, so it is an application to a screen reader; the tip says what the step is
    const chart = el("div", { className: "chart", tabIndex: 0, role: "application", "aria-roledescription": "heat map", "aria-label": label }, wide);
    const tip = el("div", { className: "tip", hidden: true, role: "status", "aria-live": "polite" });
    return { buttons, ramp, think, bar, canvas, wide, chart, tip };
  }

  // box: the element to fill. data: {steps, texts}, which `add` makes longer. options: label; view, rows, width and fold as
  // they are at first; onpoint(step or null) where a step is pointed at, onpick(step) where one is clicked or entered.
  function make(box, data, options = {}) {
    const { steps, texts } = data;
    const { buttons, ramp, think, bar, canvas, wide, chart, tip } = parts(options.label || "weights of the mixtures and entropy over the steps");
    box.classList.add("heatmap");
    box.replaceChildren(bar, chart, tip);
    const g = canvas.getContext("2d");
    const phone = window.innerWidth <= 640, LABEL = phone ? 10 : 16;  // letters of a row's name
    const view = {
      kind: options.view === "rank" ? "rank" : "token",
      rows: options.rows || (phone ? 20 : 30),
      ranks: 8,
      cell: options.width || 0,
      fitted: !options.width,  // the width follows the number of steps until it is chosen
      fold: options.fold !== false,
      at: null,  // the step that is pointed at
    };
    const kinds = new Set();  // every token that some step fed
    let deepest = 1, most = 1, mixed = false;

    function count(from) {
      for (const s of steps.slice(from)) {
        for (const [t] of s.w) kinds.add(t);
        deepest = Math.max(deepest, s.w.length);
        most = Math.max(most, s.h);
        mixed ||= mixes(s);
        if (s.k) think.hidden = false;
      }
    }

    // ---- columns: a step each. A run of RUN or more steps that fed one token each is one column, unless all steps did: it is
    // the mixtures that one looks for. A run ends where a thinking block does.
    let columns = [], columnOf = [], folds = 0;

    function makeColumns() {
      columns = [];
      folds = 0;
      for (let i = 0; i < steps.length;) {
        let end = i;
        while (mixed && end < steps.length && !mixes(steps[end]) && steps[end].k === steps[i].k) end++;
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
    let css, shades;
    function colours() {
      const style = getComputedStyle(document.documentElement), known = new Map();
      css = (name) => {
        if (!known.has(name)) known.set(name, style.getPropertyValue("--" + name).trim());
        return known.get(name);
      };
      const stops = css("ramp").split(" ").map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
      shades = Array.from({ length: 65 }, (_, i) => {
        const x = (i / 64) * (stops.length - 1), a = Math.min(stops.length - 2, Math.floor(x));
        return "rgb(" + stops[a].map((v, c) => Math.round(v + (x - a) * (stops[a + 1][c] - v))).join(",") + ")";
      });
      ramp.style.background = "linear-gradient(90deg," + css("ramp").split(" ").join(",") + ")";
    }
    // the square root lets small weights be seen; one-hot steps have their mode's colour
    const shade = (w) => (w < 0 ? css("negative") : shades[Math.round(64 * Math.sqrt(Math.min(1, w)))]);

    // ---- sizes
    let gutter = 80, heads = 0, width = 0, height = 0;
    const ranks = () => Math.min(view.ranks, deepest);
    const nRows = () => (view.kind === "rank" ? ranks() : Math.min(view.rows, kinds.size)) + (others ? 1 : 0);
    const rowHeight = () => (view.kind === "rank" ? 20 : ROW);
    const top = () => PAD + heads + STRIP + 4;
    const bottom = () => top() + nRows() * rowHeight();
    const total = () => gutter + columns.length * view.cell + PAD;

    function layout() {
      width = chart.clientWidth;
      range = [0, -1];
      const hidden = view.kind === "rank" ? deepest > ranks() : kinds.size > view.rows;
      others = hidden || steps.some((s) => s.r > 1e-6);
      g.font = "12px " + FONT;
      const names = ["others"];
      if (view.kind === "token") for (const t of [...kinds].slice(0, 500)) names.push(short(texts[t], LABEL));
      gutter = Math.ceil(Math.max(44, ...names.map((t) => g.measureText(t).width))) + 14;
      if (view.fitted) {
        const fit = columns.length ? (width - gutter - PAD) / columns.length : 20;
        // all steps at once, if they can be told apart; else wide enough for their texts
        view.cell = view.kind === "rank" ? 66 : fit >= 5 ? Math.min(64, Math.floor(fit)) : 12;
      }
      heads = view.cell >= 11 || view.kind === "rank" ? (view.cell >= 50 ? 18 : 66) : 0;
      height = bottom() + 14 + CURVE + AXIS;
      wide.style.width = Math.max(width, total()) + "px";
      const ratio = window.devicePixelRatio || 1;
      canvas.style.width = width + "px";
      canvas.style.height = height + "px";
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      buttons["by-token"].setAttribute("aria-pressed", view.kind === "token");
      buttons["by-rank"].setAttribute("aria-pressed", view.kind === "rank");
      buttons.fold.setAttribute("aria-pressed", view.fold);
      buttons.fold.parentElement.hidden = !folds;
      draw();
    }

    // ---- drawing
    const draw = () => {
      g.clearRect(0, 0, width, height);
      paint(g, width, chart.scrollLeft);
    };

    // g: any surface with the calls of a canvas. width: pixels from the left. from: how far the chart is scrolled
    function paint(g, width, from = 0) {
      const c = view.cell, x0 = gutter - from;
      const a = Math.max(0, Math.floor(from / c)), b = Math.min(columns.length, Math.ceil((from + width - gutter) / c));
      const thinking = (i) => i < b && steps[columns[i][0]].k;
      chooseRows(a, b);
      const y0 = top(), h = rowHeight(), end = bottom(), curve = end + 14;
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
      for (let r = 0; r <= nRows(); r++) line(g, gutter, y0 + r * h, width, y0 + r * h);
      const gap = c >= 8 ? 1 : 0;
      for (let i = a; i < b; i++) {
        const s = steps[columns[i][0]], x = x0 + i * c;
        if (isRun(i)) { run(g, columns[i], x, y0, end); continue; }
        g.fillStyle = css(MODES[s.m]);
        g.fillRect(x, y0 - STRIP - 2, c + (gap ? -1 : 0.5), STRIP - 2);
        let rest = s.r;
        s.w.forEach(([t, w], rank) => {
          const row = view.kind === "rank" ? (rank < ranks() ? rank : undefined) : rowOf.get(t);
          if (row === undefined) { rest += w; return; }
          g.fillStyle = s.m ? css(MODES[s.m]) : shade(w);
          g.fillRect(x, y0 + row * h + gap, c - gap + (gap ? 0 : 0.5), h - gap);
          if (c < 40) return;
          if (view.kind === "rank") inCell(g, texts[t], w, s.m, x, y0 + row * h, c, h);
          else if (s.m === 0 && Math.abs(w) >= 0.005) inCell(g, w.toFixed(2), w, 0, x, y0 + row * h, c, h);
        });
        if (rest > 1e-4 && others) {
          g.fillStyle = s.m ? css(MODES[s.m]) : shade(rest);
          g.fillRect(x, y0 + (nRows() - 1) * h + gap, c - gap + (gap ? 0 : 0.5), h - gap);
        }
        if (heads) head(g, texts[s.t], s, x, y0 - STRIP - 5);
      }
      drawCurve(g, a, b, x0, curve, width);
      if (view.at !== null) {
        g.strokeStyle = css("fg");
        g.lineWidth = 1.5;
        g.strokeRect(x0 + columnOf[view.at] * c - 0.5, y0 - STRIP - 3, c + 0.5, curve + CURVE - y0 + STRIP + 3);
      }
      g.restore();
      labels(g, y0, h, curve);
    }

    function run(g, [from, to], x, y0, end) {  // a column for steps that fed one token each
      const c = view.cell;
      g.fillStyle = css("hard");
      g.fillRect(x, y0 - STRIP - 2, c - 1, STRIP - 2);
      g.globalAlpha = 0.18;
      g.fillRect(x, y0, c - 1, end - y0);
      g.globalAlpha = 1;
      if (heads) label(g, to - from + "×", "dim", "", x, y0 - STRIP - 5);
    }

    function line(g, x1, y1, x2, y2) {
      g.beginPath();
      g.moveTo(x1, Math.round(y1) + 0.5);
      g.lineTo(x2, Math.round(y2) + 0.5);
      g.stroke();
    }

    const head = (g, text, s, x, y) => label(g, text, s.m === 2 ? "forced" : s.m ? "dim" : "fg", s.m ? "" : "600 ", x, y);

    function label(g, text, colour, bold, x, y) {
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

    function inCell(g, text, w, mode, x, y, c, h) {
      g.font = "11px " + FONT;
      g.fillStyle = css(mode !== 0 || Math.sqrt(Math.abs(w)) > 0.6 ? "bg" : "fg");
      g.fillText(short(text, Math.floor((c - 6) / 6.7)), x + 4, y + h - 5.5);
    }

    function drawCurve(g, a, b, x0, y, width) {
      const c = view.cell, at = (h) => y + CURVE * (1 - Math.max(0, h) / most);
      g.strokeStyle = css("grid");
      g.lineWidth = 1;
      for (const v of ticks()) line(g, gutter, at(v), width, at(v));
      g.strokeStyle = css("line");
      line(g, gutter, y + CURVE, width, y + CURVE);
      const lo = Math.max(0, a - 1), hi = Math.min(columns.length, b + 1);
      if (hi > lo) {
        const path = () => {
          g.beginPath();
          for (let i = lo; i < hi; i++) g.lineTo(x0 + (i + 0.5) * c, at(entropy(i)));
        };
        path();
        g.strokeStyle = css("soft");
        g.lineWidth = 1.5;
        g.stroke();
        path();
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

    function labels(g, y0, h, curve) {
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

    // ---- pointing
    // i: a step, or null. all: its whole column is meant, which may be a run
    function point(i, where, all) {
      if (i === null && view.at === null) return;
      view.at = i;
      tip.hidden = i === null;
      if (i !== null) {
        const column = columns[columnOf[i]], whole = all && column[1] - column[0] > 1;
        tip.replaceChildren(...(whole ? describeRun(column, steps, texts) : describe(i, steps[i], texts)));
        const place = chart.getBoundingClientRect(), size = tip.getBoundingClientRect();
        const x = where ? where.x : place.left + gutter - chart.scrollLeft + (columnOf[i] + 0.5) * view.cell;
        const y = where ? where.y : place.top + 40;
        const right = x + 18 + size.width < window.innerWidth;
        tip.style.left = Math.max(8, right ? x + 18 : x - 18 - size.width) + "px";
        tip.style.top = Math.max(8, Math.min(y - 20, window.innerHeight - size.height - 8)) + "px";
      }
      if (options.onpoint) options.onpoint(i);
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
      const x = e.clientX - canvas.getBoundingClientRect().left;
      const c = Math.floor((x - gutter + chart.scrollLeft) / view.cell);
      return x >= gutter && c >= 0 && c < columns.length ? columns[c][0] : null;
    }
    const pick = (i) => {
      if (i === null || !options.onpick) return;
      tip.hidden = true;  // what it says is shown elsewhere now
      options.onpick(i);
    };
    canvas.addEventListener("pointermove", (e) => { if (e.pointerType !== "touch") point(under(e), { x: e.clientX, y: e.clientY }, true); });
    canvas.addEventListener("pointerleave", (e) => { if (e.pointerType !== "touch") point(null); });
    canvas.addEventListener("click", (e) => {
      point(under(e), { x: e.clientX, y: e.clientY }, true);
      pick(under(e));
    });
    document.addEventListener("click", (e) => { if (!chart.contains(e.target)) point(null); });
    chart.addEventListener("scroll", draw, { passive: true });
    chart.addEventListener("keydown", (e) => {
      const to = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -steps.length, End: steps.length }[e.key];
      if (e.key === "Escape") point(null);
      if ((e.key === "Enter" || e.key === " ") && view.at !== null) {
        e.preventDefault();
        pick(view.at);
      }
      if (to === undefined || !steps.length) return;
      e.preventDefault();
      const last = columns.length - 1, at = view.at === null ? (to > 0 ? -1 : last + 1) : columnOf[view.at];
      show(columns[Math.max(0, Math.min(last, at + to))][0], true);
    });

    // ---- buttons
    const middle = () => (chart.scrollLeft + (width - gutter) / 2) / (view.cell || 1);
    const centre = (column) => { chart.scrollLeft = column * view.cell - (width - gutter) / 2; };
    const zoom = (factor) => {
      const column = middle();
      view.fitted = false;
      view.cell = Math.max(2, Math.min(140, Math.round(view.cell * factor) || 2));
      layout();
      centre(column);
    };
    const rows = (step) => {
      if (view.kind === "rank") view.ranks = Math.max(1, Math.min(deepest, ranks() + Math.sign(step) * 2));
      else view.rows = Math.max(1, Math.min(kinds.size, view.rows + step));
      layout();
    };
    const turn = (kind) => () => {
      if (view.kind === kind) return;
      const column = middle();
      view.kind = kind;
      view.fitted = true;
      layout();
      centre(column);
    };
    buttons.fold.onclick = () => {
      view.fold = !view.fold;
      view.fitted = true;
      makeColumns();
      layout();
      if (view.at !== null) show(view.at, true);
    };
    buttons.wider.onclick = () => zoom(1.4);
    buttons.narrower.onclick = () => zoom(1 / 1.4);
    buttons.more.onclick = () => rows(10);
    buttons.fewer.onclick = () => rows(-10);
    buttons["by-token"].onclick = turn("token");
    buttons["by-rank"].onclick = turn("rank");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours(); draw(); });
    // in the next frame, as what is laid out here changes the size again
    new ResizeObserver(() => requestAnimationFrame(() => { if (chart.clientWidth !== width) layout(); })).observe(chart);

    function update(from) {
      count(from);
      makeColumns();
      layout();
    }

    // ---- growing: many steps may come before the next frame is drawn, which is when they are looked at
    let known = 0, waiting = false;
    function add(more) {
      steps.push(...more);
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        const atEnd = chart.scrollLeft + chart.clientWidth >= chart.scrollWidth - 4;  // then it stays there
        update(known);
        known = steps.length;
        if (atEnd) chart.scrollLeft = chart.scrollWidth;
      });
    }

    think.hidden = true;
    colours();
    update(0);
    known = steps.length;
    return {
      add, point, show, describe: (i) => describe(i, steps[i], texts),
      paint: (surface) => paint(surface, total()),
      size: () => ({ width: total(), height }),
      state: () => "steps=" + steps.length + " columns=" + columns.length + " rows=" + nRows() + " view=" + view.kind,
    };
  }

  return { make, describe };
})();
