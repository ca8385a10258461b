"use strict";
// The tab "Mix": words with sliders, and what the model makes of their mixture beside each word alone and their average.
const mix = (() => {
  const { el, number, short, visible } = dom;
  const { WHOLE, balanced, positive } = weights;
  const TOP = 8, ROWS = 12, POINTS = 21, MOST_WORDS = 8;
  const START = { prompt: "The {animal} likes to eat", chat: false, signed: false, split: null, layers: false, slots: { animal: [["dog", 500], ["cat", 500]] } };
  let state = structuredClone(START), changed = () => {}, model = null, shown = {};

  // ---- the prompt's places, as softllama.prompts.slots reads them
  function slotsOf(prompt) {
    const names = [];
    for (const m of prompt.matchAll(/\{\{|\}\}|\{([^{}]*)\}/g)) {
      if (m[1] !== undefined && !names.includes(m[1].trim())) names.push(m[1].trim());
    }
    return names;
  }
  const active = () => slotsOf(state.prompt).map((name) => [name, state.slots[name] ||= [["dog", 500], ["cat", 500]]]);

  function request() {
    const slots = Object.fromEntries(active().map(([name, parts]) => [name, parts.map(([word, w]) => [word, w / WHOLE])]));
    const body = { prompt: state.prompt, mixtures: copy.mixtures(slots), chat: state.chat, signed: state.signed };
    return state.split ? { ...body, split: state.split } : body;
  }

  // ---- the form
  let places, results, message, numbers, table, scale, curve, layers, status;

  function build(section) {
    const prompt = el("textarea", { id: "mix-prompt", rows: 2, value: state.prompt, spellcheck: false });
    prompt.addEventListener("input", () => { state.prompt = prompt.value; rows(); update(); });
    const option = (name, label) => {
      const box = el("input", { type: "checkbox", id: "mix-" + name, checked: state[name] });
      box.addEventListener("change", () => {
        state[name] = box.checked;
        if (name === "signed" && !state.signed) for (const [, parts] of active()) positive(parts.map(([, w]) => w)).forEach((w, i) => { parts[i][1] = w; });
        rows();
        update();
      });
      return el("label", {}, box, " " + label);
    };
    const split = el("select", { id: "mix-split" },
      ...[["", "is refused"], ["first", "is its first token"], ["last", "is its last token"], ["mean", "is the mean of its tokens"]]
        .map(([value, text]) => el("option", { value, selected: (state.split || "") === value }, text)));
    split.addEventListener("change", () => { state.split = split.value || null; update(); });
    places = el("div", { className: "places" });
    message = el("p", { className: "problem", role: "alert", hidden: true });
    status = el("p", { className: "visually-hidden", role: "status", "aria-live": "polite" });
    numbers = el("dl", { className: "facts" });
    table = el("div", { className: "wide-table", tabIndex: 0, role: "region", "aria-label": "next-token probabilities" });
    scale = el("p", { className: "hint" });
    curve = charts.curve();
    layers = el("div", { className: "wide-table", tabIndex: 0, role: "region", "aria-label": "layers" });
    const more = el("details", { id: "mix-layers", open: state.layers }, el("summary", {}, "Layers: what each one would say next"), layers);
    more.addEventListener("toggle", () => { if (state.layers !== more.open) { state.layers = more.open; update(true); } });
    results = el("div", { className: "results" }, message, status, numbers, table, scale, curve.box, more,
      el("div", { className: "actions" }, copy.menu(commands), ...picture.buttons(painted)));
    section.replaceChildren(el("div", { className: "columns" },
      el("form", { className: "form", onsubmit: (e) => { e.preventDefault(); update(true); } },
        el("label", { htmlFor: "mix-prompt" }, "Prompt"), prompt,
        el("p", { className: "hint" }, "A name in braces, such as {animal}, is a place for a mixture; {{ is a brace."),
        places,
        el("div", { className: "options" }, model && model.chat_template ? option("chat", "as a chat message") : null,
          option("signed", "signed weights"), el("label", {}, "A word of several tokens ", split))),
      results));
    rows();
  }

  function rows() {
    const groups = active().map(([name, parts]) => {
      const sum = el("output", { className: "sum" });
      const list = weights.group(parts, {
        signed: state.signed,
        title: (i) => {
          const text = el("input", { className: "word", value: parts[i][0], "aria-label": "word " + (i + 1), spellcheck: false, autocapitalize: "off" });
          text.addEventListener("input", () => { parts[i][0] = text.value.trim() || parts[i][0]; update(); });
          return text;
        },
        onchange: (how) => { if (how === "removed") rows(); sums(); update(); },
      });
      const add = el("button", { type: "button", disabled: parts.length >= MOST_WORDS, onclick: () => {
        const unused = ["cow", "bird", "fish", "horse", "duck", "pig", "dog", "cat"].find((w) => !parts.some(([x]) => x === w)) || "word";
        parts.push([unused, 0]);
        const even = balanced(parts.map(([, w]) => w), parts.length - 1, Math.round(WHOLE / parts.length), state.signed);
        even.forEach((w, i) => { parts[i][1] = w; });
        rows();
        update();
        const inputs = places.querySelectorAll("input.word");
        inputs[inputs.length - 1].focus();
      } }, "Add a word");
      list.dataset.slot = name;
      return el("fieldset", {}, el("legend", {}, name ? "{" + name + "}" : "{}"), list, el("div", { className: "below" }, add, sum));
    });
    places.replaceChildren(...groups);
    if (!groups.length) places.replaceChildren(el("p", { className: "hint" }, "The prompt has no place for a mixture. Write {animal} where it goes."));
    sums();
  }

  function sums() {
    for (const [i, [, parts]] of active().entries()) {
      const total = parts.reduce((a, [, w]) => a + w, 0) / WHOLE;
      places.querySelectorAll("output.sum")[i].textContent = "sum " + total.toFixed(3);
    }
  }

  // ---- asking
  let sweptFor = "", update = () => {};

  async function look(signal) {
    if (!active().length || !shown.open) return;
    const body = request();
    try {
      results.setAttribute("aria-busy", "true");
      const probe = await client.ask("/v1/softllama/probe", { ...body, top: TOP }, signal);
      shown.probe = probe;
      drawProbe(probe);
      await around(body, signal);
      message.hidden = true;
      document.documentElement.dataset.mixed = Object.values(body.mixtures).join(";");
    } catch (e) {
      if (e.name === "AbortError") return;
      message.textContent = e.message + (e.hint ? " " + e.hint : "");
      message.hidden = false;
    } finally {
      if (!signal.aborted) results.setAttribute("aria-busy", "false");
    }
  }

  // the curve, which moves with the words but not with the weights of two of them, and the layers
  async function around(body, signal) {
    const [name, parts] = active()[0];
    const line = parts.length === 2 ? { ...body, mixtures: { ...body.mixtures, [name]: copy.mixtures({ [name]: parts.map(([w]) => [w, 0.5]) })[name] } } : body;
    const question = JSON.stringify(line);
    if (parts.length < 2) curve.clear();
    else if (question !== sweptFor) {
      shown.sweep = await client.ask("/v1/softllama/sweep", { ...line, points: POINTS }, signal);
      sweptFor = question;
    }
    if (parts.length > 1) {
      const at = parts.length === 2 && !state.signed ? parts[1][1] / WHOLE : null;
      shown.curve = { sweep: shown.sweep, from: parts[0][0], to: parts.slice(1).map(([w]) => w).join(" + "), at };
      curve.show(shown.curve);
    }
    if (state.layers) {
      try {
        drawLayers(await client.ask("/v1/softllama/lens", body, signal));
      } catch (e) {
        if (e.name === "AbortError") throw e;
        layers.replaceChildren(el("p", { className: "hint" }, e.status === 404 ? "This server has no layer view." : e.message + (e.hint ? " " + e.hint : "")));
      }
    }
  }

  // ---- showing
  function series(probe) {
    const list = [{ name: "mixture", kind: "mixture", ...probe.next }];
    probe.components.forEach((c, i) => list.push({ ...c, name: c.word, kind: "word w" + (i % 6), weight: c.weight }));
    if (probe.average) list.push({ name: "average", kind: "average", ...probe.average });
    return list;
  }

  // places of the tokens that are shown: those that have most in some column, in the order of the mixture
  function likeliest(probe, list) {
    const most = probe.tokens.map((_, i) => Math.max(...list.map((s) => s.p[i])));
    const kept = new Set(most.map((_, i) => i).sort((a, b) => most[b] - most[a]).slice(0, ROWS));
    return probe.tokens.map((_, i) => i).filter((i) => kept.has(i));
  }

  function drawProbe(probe) {
    const list = series(probe), rows = likeliest(probe, list), full = Math.max(...list.flatMap((s) => s.p)), emergent = new Set((probe.emergent || []).map((t) => t.id));
    const fact = (name, value, title) => el("div", { title: title || "" }, el("dt", {}, name), el("dd", {}, value));
    const js = (probe.average && probe.average.js) ?? null;
    numbers.replaceChildren(
      fact("entropy of the mixture", probe.next.entropy.toFixed(3) + " nats"),
      ...(js === null ? [] : [fact("JS from the average", js.toFixed(4) + " nats", "0 would mean that feeding the mixture is the same as sampling a word first")]),
      ...(probe.floor ? [fact("noise floor of JS", probe.floor.js.toExponential(1))] : []),
      ...(emergent.size ? [fact("likelier than alone", (probe.emergent || []).slice(0, 4).map((t) => visible(t.token)).join("  "))] : []));
    const head = el("tr", {}, el("th", { scope: "col" }, "next token"),
      ...list.map((s) => el("th", { scope: "col", className: s.kind }, s.name, s.kind.startsWith("word") && list.length > 3 ? el("small", {}, s.weight.toFixed(3)) : null)));
    const line = (name, value) => el("tr", { className: "measure" }, el("th", { scope: "row" }, name), ...list.map((s) => el("td", {}, value(s))));
    const body = rows.map((i) => [probe.tokens[i], i]).map(([t, i]) => el("tr", { "data-token": t.id },
      el("th", { scope: "row", className: "token", title: "#" + t.id }, visible(t.token), emergent.has(t.id) ? el("abbr", { title: "more likely than after any word alone" }, " ★") : null),
      ...list.map((s) => charts.cell(s.p[i], s.kind, full))));
    scale.textContent = "The longest bar is " + number(full) + ".";
    table.replaceChildren(el("table", { className: "bars" }, el("thead", {}, head,
      line("entropy", (s) => s.entropy.toFixed(2)), line("JS to mixture", (s) => (s.js === undefined || s.kind === "mixture" ? "" : s.js.toFixed(3)))), el("tbody", {}, ...body)));
    status.textContent = "After " + probe.prompt + ", the mixture's likeliest next tokens are "
      + probe.next.top.slice(0, 3).map((t) => visible(t.token) + " " + number(t.p)).join(", ") + ".";
  }

  function drawLayers({ layers: list }) {
    const names = list[0].rows.map((r) => r.name);
    const cell = ({ top: [t], entropy }) => {
      const c = charts.cell(t.p, "", 1);
      c.firstChild.prepend(el("span", { className: "token" }, short(visible(t.token), 14), " "));
      c.title = "entropy " + entropy.toFixed(2) + " nats";
      return c;
    };
    layers.replaceChildren(el("table", { className: "bars layers" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "layer"), ...names.map((n) => el("th", { scope: "col" }, n)))),
      el("tbody", {}, ...list.map((l) => el("tr", {}, el("th", { scope: "row" }, String(l.layer)), ...l.rows.map(cell))))));
  }

  // ---- taking it elsewhere
  function commands() {
    const body = request(), name = (model && (model.path || model.name)) || "MODEL.gguf";
    const flags = [...(body.chat ? ["--chat"] : []), ...(body.signed ? ["--signed"] : []), ...(body.split ? ["--split", body.split] : [])];
    return {
      shell: copy.command("softllama", "probe", "-m", name, body.prompt, ...copy.mixOptions(body.mixtures), ...flags, "--top", String(TOP)),
      Python: copy.call(name, "probe", [body.prompt], { mix: body.mixtures, chat: body.chat || undefined, signed: body.signed || undefined,
        split: body.split || undefined, n_top: TOP }) + "result.show()\n",
      curl: copy.curl("/v1/softllama/probe", { ...body, top: TOP }, model && model.needs_key),
    };
  }

  function painted() {
    const all = series(shown.probe), rows = likeliest(shown.probe, all), { tokens, prompt } = shown.probe;
    const data = { title: prompt, series: all.map((s) => ({ ...s, p: rows.map((i) => s.p[i]) })), tokens: rows.map((i) => visible(tokens[i].token)) };
    const width = 900, bars = charts.paintBars(null, width, data);
    const paint = (g) => {
      charts.paintBars(g, width, data);
      g.save();
      g.translate(0, bars);
      if (shown.curve) charts.paintCurve(g, width, shown.curve);
      g.restore();
    };
    return [paint, { width, height: bars + (shown.curve ? charts.paintCurve(null, width, shown.curve) : 0) }, picture.fileName(state.prompt)];
  }

  function start(section, info, onchange) {
    model = info;
    changed = onchange;
    if (model.n_vocab < 2000) state.prompt = START.prompt = "The {animal} says";  // the bundled models know no "likes to eat"
    const later = client.latest(look, 90);
    update = (now) => {
      delete document.documentElement.dataset.mixed;  // nothing that is shown is of this state yet
      changed(state);
      later(now);
    };
    build(section);
  }

  function restore(section, saved) {
    state = { ...structuredClone(START), ...saved };
    sweptFor = "";
    build(section);
    update(true);
  }

  return { start, restore, open: (is) => { shown.open = is; if (is) update(true); }, state: () => state };
})();
