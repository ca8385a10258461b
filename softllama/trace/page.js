"use strict";
// The page of a trace: its heat map, and the text that its steps read as. The address may say what is shown at first:
// #view=rank, rows=N, width=PIXELS, fold=0, step=N.
(() => {
  const root = document.documentElement;
  window.addEventListener("error", (e) => { root.dataset.error = e.message; });
  const data = JSON.parse(document.getElementById("data").textContent);
  const asked = new URLSearchParams(location.hash.slice(1));
  const spans = new Map([...document.querySelectorAll("[data-step]")].map((e) => [+e.dataset.step, e]));
  const box = document.getElementById("chart");
  let marked = null;
  const mark = (i) => {
    if (spans.has(marked)) spans.get(marked).classList.remove("at");
    if (spans.has(i)) spans.get(i).classList.add("at");
    marked = i;
    if (i === null) delete root.dataset.step;
    else root.dataset.step = i;
  };
  const map = heatmap.make(box, data, {
    label: box.dataset.label,
    view: asked.get("view"),
    rows: +asked.get("rows"),
    width: +asked.get("width"),
    fold: asked.get("fold") !== "0",
    onpoint: mark,
  });
  for (const [i, span] of spans) {
    span.addEventListener("pointerenter", (e) => { if (e.pointerType !== "touch") map.show(i); });
    span.addEventListener("pointerleave", () => map.point(null));
  }
  if (asked.has("step") && data.steps[+asked.get("step")]) map.show(+asked.get("step"));
  root.dataset.ready = map.state();
})();
