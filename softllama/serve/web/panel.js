"use strict";
// One run, as it comes: its heat map, what the thinking reads as, the answer, and what can be saved of it.
const panel = (() => {
  const { el } = dom;

  // options: rows of the heat map at first; onpick(step) where a step is chosen; actions: further buttons; commands() for "Copy as"
  function make({ onpick, rows, actions = [], commands } = {}) {
    const title = el("h3", {}), facts = el("p", { className: "hint numbers" }), status = el("p", { className: "state", role: "status", "aria-live": "polite" });
    const problem = el("p", { className: "problem", role: "alert", hidden: true });
    const chart = el("div", {}), thinking = el("p", { className: "reading thinking" }), answer = el("p", { className: "reading answer", "aria-live": "off" });
    const inside = el("div", {}, el("h4", {}, "The thinking reads"), thinking), after = el("div", {}, el("h4", {}, "Answer"), answer);
    const saves = el("div", { className: "actions" });
    const box = el("article", { className: "panel" }, title, facts, problem, chart, el("div", { className: "texts" }, inside, after), status, saves);
    const spans = new Map();
    let r, map, marked = null, drawn = false;

    function mark(i) {
      if (spans.has(marked)) spans.get(marked).classList.remove("at");
      if (spans.has(i)) spans.get(i).classList.add("at");
      marked = i;
    }

    // a record that may still grow
    function show(given) {
      r = given;
      title.textContent = r.header.policy || "run";
      thinking.replaceChildren();
      answer.replaceChildren();
      spans.clear();
      problem.hidden = true;
      map = heatmap.make(chart, r.shown, { label: "steps of " + title.textContent + ": weights of the mixtures, and entropy", onpoint: mark, onpick, fold: !onpick, rows });
      r.steps.forEach(read);
      if (r.footer) end();
      buttons();
    }

    function read(s) {
      const target = s.thinking ? thinking : answer;
      const text = target.childNodes.length ? s.text : s.text.trimStart();  // no empty lines before it
      if (text) {
        const span = el("span", { className: s.mode === "soft" ? "soft" : "", "data-step": s.index }, text);
        span.addEventListener("pointerenter", (e) => { if (e.pointerType !== "touch") map.show(s.index); });
        span.addEventListener("pointerleave", () => map.point(null));
        if (onpick) span.addEventListener("click", () => onpick(s.index));
        spans.set(s.index, span);
        target.append(span);
      }
      inside.hidden = !thinking.childNodes.length;
    }

    function count() {
      drawn = false;
      const free = r.steps.filter((s) => s.mode !== "forced");
      const mean = free.length ? free.reduce((a, s) => a + s.entropy, 0) / free.length : 0;
      facts.textContent = "seed " + r.header.seed + ", " + r.steps.length + " steps, " + r.steps.filter((s) => s.mode === "soft").length
        + " soft, mean entropy " + mean.toFixed(2) + " nats";
    }

    function step(line) {
      map.add([record.add(r, line)]);
      read(line);
      if (drawn) return;
      drawn = true;
      requestAnimationFrame(count);
    }

    function end() {
      count();
      for (const [target, i] of [[thinking, 0], [answer, 1]]) if (r.footer.tail && r.footer.tail[i]) target.append(r.footer.tail[i]);
      inside.hidden = !thinking.childNodes.length;
      const reason = r.footer.stop_reason + (r.footer.stop_string ? " " + JSON.stringify(r.footer.stop_string) : "");
      const warnings = (r.footer.degenerations || []).map((d) => " " + d.message + ".").join("");
      status.textContent = "Ended: " + reason + "." + warnings + (r.partial ? " " + r.partial : "");
      buttons();
    }

    function fail(e) {
      problem.textContent = e.message;
      problem.hidden = false;
      status.textContent = "";
    }

    const name = () => picture.fileName((r.header.policy || "run") + "-" + r.header.seed);
    function buttons() {
      const button = (text, act) => el("button", { type: "button", onclick: act }, text);
      saves.replaceChildren(...actions.map(([text, act]) => button(text, () => act(r))),
        ...(r.partial ? [] : [button("Save trace", () => picture.save(record.toLines(r), name() + ".jsonl", "application/jsonl"))]),
        button("Save page", () => picture.save(page.of(r), name() + ".html", "text/html")),
        ...picture.buttons(() => [map.paint, map.size(), name()]),
        ...(commands ? [copy.menu(commands)] : []));
    }

    return { box, show, step, end, fail, status: (text) => { status.textContent = text; }, record: () => r };
  }

  return { make };
})();
