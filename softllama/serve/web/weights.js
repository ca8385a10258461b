"use strict";
// Sliders for the weights of a mixture, which keep their sum at 1. Knows numbers and names, not what they are for.
const weights = (() => {
  const { el } = dom;
  const WHOLE = 1000;  // weights are whole thousandths, so that they sum to 1 exactly
  const sum = (list) => list.reduce((a, b) => a + b, 0);

  function rounded(list) {  // whole numbers that sum to WHOLE, as near as can be
    const down = list.map(Math.floor), order = list.map((w, i) => [down[i] - w, i]).sort((a, b) => a[0] - b[0]);
    let left = WHOLE - sum(down);
    for (const [, i] of order) if (left-- > 0) down[i]++;
    return down;
  }

  // weight i becomes v; the others share what is left as they shared it before, or, with signs, each gives the same
  function balanced(before, i, v, signed) {
    const others = before.length - 1;
    if (!others) return [WHOLE];
    const value = Math.max(signed ? -2 * WHOLE : 0, Math.min(signed ? 2 * WHOLE : WHOLE, v));
    const total = sum(before) - before[i];
    const share = (w) => (signed ? w + (WHOLE - value - total) / others : total > 0 ? (w / total) * (WHOLE - value) : (WHOLE - value) / others);
    return rounded(before.map((w, j) => (j === i ? value : share(w))));
  }

  // the same without negative ones
  function positive(list) {
    const w = list.map((v) => Math.max(0, v)), total = sum(w);
    return rounded(w.map((v) => (total ? (v / total) * WHOLE : WHOLE / w.length)));
  }

  // a row for each of parts, [[name, thousandths], ...], which the sliders change. title(i): the element that names it.
  // onchange("moved" or "removed")
  function group(parts, { signed = false, title, onchange }) {
    const list = el("div", { className: "words" });
    let before = null;  // the weights when a slider was taken, so that a way back restores them

    function set(i, v) {
      before ||= parts.map(([, w]) => w);
      balanced(before, i, v, signed).forEach((w, j) => { parts[j][1] = w; });
      for (const [j, row] of [...list.children].entries()) row.show(parts[j][1]);
      onchange("moved");
    }

    function remove(i) {
      parts.splice(i, 1);
      const left = parts.map(([, w]) => w);
      (signed ? balanced(left, 0, left[0], true) : positive(left)).forEach((w, j) => { parts[j][1] = w; });
      fill();
      onchange("removed");
    }

    function row(i) {
      const [name, weight] = parts[i], only = parts.length < 2;
      const low = signed ? -2 : 0, high = signed ? 2 : 1;
      const slider = el("input", { type: "range", min: low * WHOLE, max: high * WHOLE, step: 1, disabled: only, "aria-label": "weight of " + name });
      const exact = el("input", { type: "number", className: "weight", min: low, max: high, step: 0.001, disabled: only, "aria-label": "weight of " + name + " as a number" });
      slider.addEventListener("input", () => set(i, +slider.value));
      slider.addEventListener("change", () => { before = null; });
      exact.addEventListener("change", () => { set(i, Math.round(+exact.value * WHOLE)); before = null; });
      const off = el("button", { type: "button", className: "icon", disabled: only, "aria-label": "remove " + name, title: "Remove", onclick: () => remove(i) }, "×");
      const line = el("div", { className: "row" }, title(i), slider, exact, off);
      line.show = (w) => {
        slider.value = w;
        slider.setAttribute("aria-valuetext", (w / WHOLE).toFixed(3));
        exact.value = (w / WHOLE).toFixed(3);
      };
      line.show(weight);
      return line;
    }

    const fill = () => list.replaceChildren(...parts.map((_, i) => row(i)));
    fill();
    return list;
  }

  return { WHOLE, balanced, positive, group };
})();
