"use strict";
// The tab "Edit and branch": a step of a run is changed, and the run goes on from there. The branches are a small tree.
const branch = (() => {
  const { el, number, short, visible } = dom;
  const { WHOLE } = weights;
  const LIST = 12;  // tokens of a step that can be changed one by one
  let asked = null, nodes = [], current = 0, info, changed, running = null;
  let section, tree, view, editor, stop;

  // a node is {parent, at, label, edit: [items], record}; the first has no parent and no edit

  // ---- what was fed, as the server takes it
  function itemOf(s) {
    if (s.mode !== "soft") return { id: s.token };
    const total = s.mixture.reduce((a, [, w]) => a + w, 0);
    return { ids: s.mixture.map(([i]) => i), weights: s.mixture.map(([, w]) => w / total), readout: s.token };
  }
  // the lines of the steps that an edit puts in place of step `old`
  function linesOf(items, texts, old) {
    return items.map((item, k) => {
      const soft = item.ids !== undefined, token = soft ? item.readout : item.id, text = texts[token];
      return {
        kind: "step", index: 0, position: old.position + k, mode: soft ? "soft" : "hard", thinking: old.thinking, token, text,
        mixture: soft ? item.ids.map((i, j) => [i, item.weights[j]]) : [[token, 1]], entropy: k ? 0 : old.entropy, top: k ? [] : old.top,
        why: k ? "typed, so the model was not asked" : "edited", left_out: 0, noise: 0, hidden: false, seconds: old.seconds, logp: null, whole: null, rest: null, texts,
      };
    });
  }

  const state = () => (asked && { asked, nodes: nodes.map(({ parent, at, label, edit, texts }) => ({ parent, at, label, edit, texts })), current });

  // ---- the tab
  function build() {
    tree = el("nav", { className: "tree", "aria-label": "branches" });
    view = panel.make({ onpick: edit, commands: () => commands() });
    editor = el("section", { className: "editor", "aria-label": "the step to change", hidden: true });
    stop = el("button", { type: "button", disabled: true, onclick: () => { if (running) running.abort(); } }, "Stop");
    if (!asked) {
      section.replaceChildren(el("p", {}, "Run a question under “Think”, and take it from there with its button “Edit and branch”."));
      return;
    }
    section.replaceChildren(el("p", { className: "hint" }, "Click a step, or go to it with the arrow keys and press Enter, to change what was fed there."),
      el("div", { className: "columns" }, el("div", { className: "form" }, el("h2", {}, "Branches"), tree, stop, editor), view.box));
    draw();
  }

  function draw() {
    const children = (parent) => {
      const list = nodes.map((n, i) => [n, i]).filter(([n]) => n.parent === parent);
      return list.length ? el("ul", {}, ...list.map(([n, i]) => el("li", {}, button(n, i), children(i)))) : null;
    };
    const button = (n, i) => {
      const end = n.record ? record.text(n.record, false).trim() : "";
      return el("button", { type: "button", "aria-current": i === current ? "true" : undefined, onclick: () => select(i) },
        el("b", {}, n.label), " ", el("span", { className: "hint" }, n.record ? short(end, 60) || "no answer" : "…"));
    };
    tree.replaceChildren(children(-1) || "");
  }

  function select(i) {
    current = i;
    editor.hidden = true;
    if (nodes[i].record) view.show(nodes[i].record);
    draw();
    changed();
  }

  // ---- changing a step
  function edit(i) {
    const r = nodes[current].record;
    if (running || !r || !r.steps[i]) return;
    const s = r.steps[i], heavy = [...s.mixture].sort((a, b) => b[1] - a[1]);
    const close = el("button", { type: "button", onclick: () => { editor.hidden = true; } }, "Close");
    const texts = { ...r.texts };
    const before = r.steps.slice(0, i), lost = before.filter((x) => x.rest || x.hidden || x.noise).length;
    editor.replaceChildren(...[
      el("h2", { tabIndex: -1 }, "Step " + i + ": " + s.mode + ", read as ", el("span", { className: "token" }, visible(texts[s.token]))),
      ...oneToken(s, heavy, texts, i), ...mixture(s, heavy, texts, i), ...typed(s, i),
      lost ? el("p", { className: "hint" }, lost + " of the steps before fed more than a record holds (a long tail, noise, or a hidden state). The branch feeds their heaviest tokens.") : null,
      close,
    ].filter(Boolean));
    editor.hidden = false;
    editor.querySelector("h2").focus();
    editor.scrollIntoView({ block: "nearest" });
    document.documentElement.dataset.editing = i;
  }

  function oneToken(s, heavy, texts, i) {
    const seen = new Map([...s.top, ...heavy].map(([id, p]) => [id, p]));
    const likely = new Map(s.top);
    const button = ([id]) => el("button", { type: "button", "data-token": id, onclick: () => go(i, [{ id }], { [id]: texts[id] }, visible(texts[id])) },
      el("span", { className: "token" }, visible(texts[id])), " ", el("small", {}, likely.has(id) ? number(likely.get(id)) : ""));
    return [el("h3", {}, "Take one token"), el("div", { className: "choices" }, ...[...seen].slice(0, LIST).map(button)),
      el("p", { className: "hint" }, "The numbers are the model's probabilities there.")];
  }

  function mixture(s, heavy, texts, i) {
    const fed = heavy.length > 1 ? heavy : s.top.length > 1 ? s.top.slice(0, 2) : heavy;
    const some = fed.slice(0, LIST), ids = some.map(([id]) => id);
    const parts = some.map(([id, w]) => [visible(texts[id]), Math.max(0, w) * WHOLE]);
    weights.positive(parts.map(([, w]) => w)).forEach((w, j) => { parts[j][1] = w; });
    parts.forEach((p, j) => { p.id = ids[j]; });
    const box = el("div", {}), sum = el("output", { className: "sum" });
    const total = () => { sum.textContent = "sum " + (parts.reduce((a, [, w]) => a + w, 0) / WHOLE).toFixed(3); };
    const fill = () => {
      box.replaceChildren(weights.group(parts, { title: (j) => el("span", { className: "token word" }, parts[j][0]), onchange: total }));
      total();
    };
    fill();
    const word = el("input", { type: "text", className: "word", "aria-label": "a token to add", placeholder: " word" });
    const note = el("span", { className: "hint", role: "status" });
    const add = async () => {
      const [token, ...more] = await tokens(word.value);
      if (!token || more.length) {
        note.textContent = token ? "That is " + (more.length + 1) + " tokens; a mixture is of single ones." : "";
        return;
      }
      note.textContent = "";
      texts[token.id] = token.text;
      if (!parts.some((p) => p.id === token.id)) {
        parts.push(Object.assign([visible(token.text), 0], { id: token.id }));
        weights.balanced(parts.map(([, w]) => w), parts.length - 1, Math.round(WHOLE / parts.length), false).forEach((w, j) => { parts[j][1] = w; });
        fill();
      }
      word.value = "";
    };
    const feed = () => {
      const used = parts.filter(([, w]) => w > 0).sort((a, b) => b[1] - a[1]);
      const item = used.length === 1 ? { id: used[0].id } : { ids: used.map((p) => p.id), weights: used.map(([, w]) => w / WHOLE), readout: used[0].id };
      go(i, [item], Object.fromEntries(used.map((p) => [p.id, texts[p.id]])), used.slice(0, 3).map(([t, w]) => (w / WHOLE).toFixed(2) + " " + t).join(" + "));
    };
    const hidden = fed.length - some.length + (s.rest ? s.rest.n : 0);
    return [el("h3", {}, "Feed a mixture"), box, el("div", { className: "below" }, word, el("button", { type: "button", onclick: add }, "Add"), sum), note,
      hidden ? el("p", { className: "hint" }, "The step fed " + hidden + " more tokens. They are left out, and the others share their weight.") : null,
      el("button", { type: "button", className: "main", onclick: feed }, "Go on from here with this mixture")];
  }

  function typed(s, i) {
    const text = el("input", { type: "text", "aria-label": "text to write there", placeholder: " any text" });
    const form = el("form", { className: "below", onsubmit: async (e) => {
      e.preventDefault();
      const list = await tokens(text.value);
      if (list.length) go(i, list.map(({ id }) => ({ id })), Object.fromEntries(list.map((t) => [t.id, t.text])), visible(text.value));
    } }, text, el("button", { type: "submit" }, "Go on from here"));
    return [el("h3", {}, "Write something else"), form];
  }

  // text as tokens, with the text of each
  async function tokens(text) {
    if (!text) return [];
    try {
      const answer = await client.ask("/tokenize", { content: text, add_special: false, with_pieces: true });
      return answer.tokens.map((t) => ({ id: t.id, text: Array.isArray(t.piece) ? "�" : t.piece }));
    } catch (e) {
      view.fail(e);
      return [];
    }
  }

  // ---- going on
  function go(at, items, texts, name) {
    nodes.push({ parent: current, at, label: "step " + at + ": " + name, edit: items, texts, record: null });
    current = nodes.length - 1;
    editor.hidden = true;
    changed();
    return follow(current);
  }

  // run a node, whose parent has run
  async function follow(i) {
    const n = nodes[i], mine = (running = new AbortController());
    stop.disabled = false;
    document.documentElement.dataset.branching = "running";
    draw();
    try {
      if (n.parent < 0) n.record = await run.go(asked, view, mine.signal);
      else {
        const { steps, texts: known } = nodes[n.parent].record, kept = steps.slice(0, n.at);
        const lines = [...kept, ...linesOf(n.edit, n.texts, steps[n.at])];
        n.record = await run.go(asked, view, mine.signal, { items: [...kept.map(itemOf), ...n.edit], kept: lines, texts: { ...known, ...n.texts } });
      }
    } catch {
      // the panel shows why
    }
    if (running === mine) running = null;
    stop.disabled = true;
    draw();
    document.documentElement.dataset.branching = "ended " + nodes.length;
  }

  function commands() {
    const n = nodes[current];
    if (n.parent < 0) return run.commands(asked, info.model, n.record);
    const steps = nodes[n.parent].record.steps, body = run.body(asked, [...steps.slice(0, n.at).map(itemOf), ...n.edit]);
    const url = location.origin + run.path(asked);
    const key = info.model.needs_key ? ", \"Authorization\": \"Bearer \" + os.environ[\"KEY\"]" : "";
    const python = "import json, " + (key && "os, ") + "urllib.request\n\nbody = json.loads(" + JSON.stringify(JSON.stringify(body)) + ")\n"
      + "request = urllib.request.Request(" + JSON.stringify(url) + ", json.dumps(body).encode(), {\"Content-Type\": \"application/json\"" + key + "})\n"
      + "print(json.load(urllib.request.urlopen(request))[\"choices\"][0]" + (asked.raw ? "[\"text\"]" : "[\"message\"][\"content\"]") + ")\n";
    return { Python: python, curl: copy.curl(run.path(asked), body, info.model.needs_key) };
  }

  // ---- from outside
  function begin(where, given, onchange) {
    section = where;
    info = given;
    changed = onchange;
    document.addEventListener("keydown", (e) => { if (e.key === "Escape" && running) running.abort(); });
    build();
  }

  function take(question, r) {  // a run of the other tab
    asked = question;
    nodes = [{ parent: -1, at: 0, label: question.policy || "run", edit: [], texts: {}, record: r }];
    current = 0;
    build();
    select(0);
  }

  async function restore(saved) {
    if (!saved || !saved.asked || !Array.isArray(saved.nodes)) return;
    asked = saved.asked;
    nodes = saved.nodes.map((n, i) => ({ ...n, parent: i ? Math.min(n.parent, i - 1) : -1, record: null }));
    build();
    for (let i = 0; i < nodes.length; i++) {
      current = i;
      await follow(i);
      if (!nodes[i].record) return;
    }
    select(Math.min(saved.current || 0, nodes.length - 1));
  }

  return { begin, take, restore, state };
})();
