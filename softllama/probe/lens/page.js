"use strict";
// The grid of a lens. All its texts come from the JSON beside it and are set as text, never as HTML.
(() => {
  window.addEventListener("error", (e) => { document.documentElement.dataset.error = e.message; });
  const $ = (id) => document.getElementById(id);
  const { layers, positions, runs, texts } = JSON.parse($("data").textContent);
  const grid = $("grid"), detail = $("detail");
  const view = { run: 0, by: "p", layer: layers.length - 1, position: positions.length - 1 };
  const cells = [];  // [layer][position], as the lists of the data

  function make(parent, name, text) {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    parent.append(e);
    return e;
  }

  // from 0 to 1: how dark a cell is. Sizes that have no end are measured by the largest one in sight.
  function shades() {
    const run = runs[view.run];
    if (view.by === "p") return run.p.map((row) => row.map((p) => p[0]));
    const table = run[view.by] || run.k.map((row) => row.map(() => 0));
    const most = view.by === "j" ? Math.LN2 : Math.max(1e-9, ...table.flat().map((x) => x || 0));
    return table.map((row) => row.map((x) => (x === null ? 1 : x / most)));
  }

  function build() {
    const head = make(make(grid, "thead"), "tr");
    make(head, "th", "layer");
    positions.forEach((p, j) => { make(head, "th").scope = "col"; });
    const body = make(grid, "tbody");
    for (let i = layers.length - 1; i >= 0; i--) {
      const row = make(body, "tr");
      make(row, "th", layers[i]).scope = "row";
      cells[i] = positions.map((_, j) => {
        const cell = make(row, "td");
        cell.className = "token";
        cell.setAttribute("role", "gridcell");
        cell.addEventListener("mouseenter", () => select(i, j));
        cell.addEventListener("click", () => select(i, j, true));
        cell.addEventListener("focus", () => select(i, j));
        return cell;
      });
    }
  }

  function draw() {
    const run = runs[view.run], dark = shades();
    [...grid.tHead.rows[0].cells].slice(1).forEach((th, j) => {
      th.textContent = run.inputs[j];
      th.title = "position " + positions[j];
      th.className = "token";
    });
    cells.forEach((row, i) => row.forEach((cell, j) => {
      cell.textContent = texts[run.t[i][j][0]];
      cell.style.background = "rgba(var(--shade)," + (0.7 * dark[i][j]).toFixed(3) + ")";
    }));
    show();
  }

  function select(i, j, focus) {
    const before = cells[view.layer][view.position];
    before.tabIndex = -1;
    before.setAttribute("aria-selected", "false");
    view.layer = i;
    view.position = j;
    if (focus) cells[i][j].focus();
    show();
  }

  const number = (x, digits) => (x === null || x === undefined ? "∞" : x.toFixed(digits));

  function show() {
    const { layer: i, position: j } = view, cell = cells[i][j];
    cell.tabIndex = 0;
    cell.setAttribute("aria-selected", "true");
    detail.replaceChildren();
    make(detail, "h2", "layer " + layers[i] + ", after " + runs[view.run].inputs[j] + " (position " + positions[j] + ")");
    runs.forEach((run, r) => {
      const line = make(detail, "p");
      make(line, "strong", run.name).style.color = r === view.run ? "var(--fg)" : "";
      const beside = run.c ? ", cosine " + number(run.c[i][j], 3) + ", JS " + number(run.j[i][j], 3) : "";
      line.append(": entropy " + number(run.h[i][j], 2) + ", KL " + number(run.k[i][j], 2) + beside);
      const table = make(detail, "table");
      run.t[i][j].forEach((t, k) => {
        const row = make(table, "tr"), p = run.p[i][j][k];
        make(row, "td", texts[t]).className = "token";
        make(row, "td", p.toFixed(3));
        make(make(row, "td"), "b").style.width = 100 * p + "%";
      });
    });
  }

  grid.addEventListener("keydown", (e) => {
    const last = layers.length - 1, end = positions.length - 1;
    const to = {
      ArrowUp: [view.layer + 1, view.position], ArrowDown: [view.layer - 1, view.position],
      ArrowLeft: [view.layer, view.position - 1], ArrowRight: [view.layer, view.position + 1],
      Home: [view.layer, 0], End: [view.layer, end], PageUp: [last, view.position], PageDown: [0, view.position],
    }[e.key];
    if (!to) return;
    e.preventDefault();
    select(Math.min(last, Math.max(0, to[0])), Math.min(end, Math.max(0, to[1])), true);
  });
  for (const input of document.querySelectorAll("input")) {
    input.addEventListener("change", () => {
      view[input.name] = input.name === "run" ? +input.value : input.value;
      draw();
    });
  }

  build();
  draw();
})();
