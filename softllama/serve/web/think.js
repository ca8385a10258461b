"use strict";
// The tab "Think": a question, one to four policies with their settings as controls, and their runs side by side.
const think = (() => {
  const { el } = dom;
  const MOST = 4;
  const START = { question: "Who is bigger, the dog or the cat?", policies: [], seed: 1, max_tokens: 256, think: "", think_budget: null, ran: false };
  let state = structuredClone(START), info, changed, onbranch, running = null, list, panels, go, stop, problem;

  const known = (name) => info.policies.find((p) => p.name === name);
  const same = (v) => String(v).toLowerCase();  // True of Python and true of JSON
  // a policy as text, with what differs from its defaults
  function textOf({ name, values }) {
    const set = Object.entries(values).filter(([k, v]) => v !== "" && v !== null && same(v) !== same((known(name).parameters.find((p) => p.name === k) || {}).default));
    return name + (set.length ? ":" + set.map(([k, v]) => k + "=" + v).join(",") : "");
  }
  function parsed(text) {  // "soft_thinking:n=15" as {name, values}, for the server's default
    const [name, rest] = text.split(/:(.*)/s);
    const values = {};
    for (const m of (rest || "").matchAll(/(\w+)=((?:[^,()]|\([^)]*\))*)/g)) values[m[1]] = m[2];
    return known(name) ? { name, values } : { name: info.policies[0].name, values: {} };
  }
  // the server's policy, if it mixes: that is what the page is for
  const first = () => ((known(parsed(info.default_policy).name) || {}).soft ? info.default_policy : "soft_thinking");
  const asked = (p) => ({
    question: state.question, policy: textOf(p), seed: state.seed, max_tokens: state.max_tokens, think: state.think, think_budget: state.think_budget,
    raw: !info.model.chat_template,
  });

  // ---- the form
  function control(p, parameter) {
    const { name, type, minimum, maximum, help } = parameter, value = p.values[name] ?? parameter.default ?? "";
    const id = "p" + Math.random().toString(36).slice(2), title = help || "";
    let input;
    if (type === "bool") input = el("input", { id, type: "checkbox", checked: value === true || value === "true", title });
    else if (parameter.choices) input = el("select", { id, title }, ...parameter.choices.map((c) => el("option", { value: c, selected: c === value }, c)));
    else if (type === "str" || typeof parameter.default === "string") input = el("input", { id, type: "text", value, title, placeholder: "greedy" });
    else input = el("input", { id, type: "number", value, title, min: minimum ?? undefined, max: maximum ?? undefined, step: type === "int" ? 1 : "any" });
    input.addEventListener("change", () => {
      if (type === "bool") p.values[name] = input.checked ? "True" : "False";
      else if (input.checkValidity()) p.values[name] = input.value;
      else input.reportValidity();
      changed(state);
    });
    return el("div", { className: parameter.is_policy ? "control wide" : "control" }, el("label", { htmlFor: id, title }, name), input);
  }

  function card(p, i) {
    const box = el("fieldset", {}, el("legend", {}, state.policies.length > 1 ? "Policy " + (i + 1) : "Policy"));
    const choose = el("select", { "aria-label": "policy " + (i + 1) }, ...info.policies.map((k) => el("option", { value: k.name, selected: k.name === p.name }, k.name)));
    choose.addEventListener("change", () => {
      state.policies[i] = { name: choose.value, values: {} };
      changed(state);
      cards();
      list.querySelectorAll("fieldset > .head select")[i].focus();
    });
    const remove = el("button", { type: "button", className: "icon", "aria-label": "remove policy " + (i + 1), title: "Remove", disabled: state.policies.length < 2,
      onclick: () => { state.policies.splice(i, 1); changed(state); cards(); } }, "×");
    const policy = known(p.name);
    box.append(el("div", { className: "head" }, choose, remove), el("p", { className: "hint" }, policy.summary, policy.source ? el("span", {}, " ", policy.source) : null),
      el("div", { className: "controls" }, ...policy.parameters.map((k) => control(p, k))));
    return box;
  }

  function cards() {
    const another = el("button", { type: "button", disabled: state.policies.length >= MOST, onclick: () => {
      const used = state.policies.map((p) => p.name);
      const next = ["greedy", "sample", "gumbel", "full"].find((n) => known(n) && !used.includes(n)) || info.policies[0].name;
      state.policies.push({ name: next, values: {} });
      changed(state);
      cards();
    } }, "Compare with another policy");
    list.replaceChildren(...state.policies.map(card), another);
  }

  function field(label, input, hint) {
    return el("div", { className: "control" }, el("label", { htmlFor: input.id, title: hint || "" }, label), input);
  }

  function build(section) {
    const question = el("textarea", { id: "think-question", rows: 3, value: state.question });
    question.addEventListener("input", () => { state.question = question.value; changed(state); });
    const numeric = (name, min, none) => {
      const input = el("input", { id: "think-" + name, type: "number", min, step: 1, value: state[name] ?? "", placeholder: none || "" });
      input.addEventListener("change", () => {
        if (input.value === "" && none) state[name] = null;
        else if (input.checkValidity() && input.value !== "") state[name] = +input.value;
        else input.value = state[name];
        changed(state);
      });
      return input;
    };
    const mode = el("select", { id: "think-mode" }, ...[["", "as the model does"], ["on", "in its thinking block"], ["prompt", "in plain text"], ["off", "not at all"]]
      .map(([value, text]) => el("option", { value, selected: value === state.think }, text)));
    mode.addEventListener("change", () => { state.think = mode.value; changed(state); });
    list = el("div", { className: "policies" });
    go = el("button", { type: "submit", className: "main" }, "Run");
    stop = el("button", { type: "button", disabled: true, onclick: () => { if (running) running.abort(); } }, "Stop");
    problem = el("p", { className: "problem", role: "alert", hidden: true });
    panels = el("div", { className: "panels" });
    const form = el("form", { className: "form", onsubmit: (e) => { e.preventDefault(); start(); } },
      el("label", { htmlFor: "think-question" }, "Question"), question, list,
      el("div", { className: "controls" }, field("seed", numeric("seed", 0)), field("max tokens", numeric("max_tokens", 1)),
        field("thinking budget", numeric("think_budget", 0, "none"), "steps after which the thinking block is closed"), field("think", mode)),
      el("div", { className: "actions" }, go, stop), problem);
    section.replaceChildren(el("div", { className: "columns" }, form, panels));
    panels.append(el("p", { className: "hint" }, "Each column of the heat map will be a step of the run, each row a token that was fed."));
    cards();
  }

  // ---- running
  function busy(is) {  // a button that is no longer of use hands the focus to the other
    const focus = document.activeElement === (is ? go : stop);
    go.disabled = is;
    stop.disabled = !is;
    if (focus) (is ? stop : go).focus();
  }

  async function start() {
    if (running) running.abort();
    const mine = (running = new AbortController());
    state.ran = true;
    changed(state);
    problem.hidden = true;
    busy(true);
    document.documentElement.dataset.thinking = "running";
    const all = state.policies.map((p) => {
      const question = asked(p);
      const view = panel.make({
        rows: state.policies.length > 1 ? 16 : undefined,  // so that one sees more of them at once
        actions: [["Edit and branch", (r) => onbranch(question, r)]],
        commands: () => run.commands(question, info.model, view.record()),
      });
      return [question, view];
    });
    panels.replaceChildren(...all.map(([, view]) => view.box));
    panels.dataset.count = all.length;
    await Promise.allSettled(all.map(([question, view]) => run.go(question, view, mine.signal)));
    if (running !== mine) return;
    running = null;
    busy(false);
    document.documentElement.dataset.thinking = "ended";
  }

  // a trace from a file, in place of a run
  function open(r, name) {
    if (running) running.abort();
    const view = panel.make();
    panels.replaceChildren(el("p", { className: "hint" }, "From the file " + name + ", made by " + record.model(r) + ": " + r.header.prompt_text.trim().slice(0, 300)), view.box);
    panels.dataset.count = 1;
    view.show(r);
  }

  function begin(section, given, onchange, branch) {
    info = given;
    changed = onchange;
    onbranch = branch;
    if (!state.policies.length) state.policies = [parsed(first())];
    build(section);
    document.addEventListener("keydown", (e) => { if (e.key === "Escape" && running) running.abort(); });
  }

  function restore(section, saved) {
    state = { ...structuredClone(START), ...saved };
    state.policies = (state.policies || []).filter((p) => p && known(p.name)).slice(0, MOST).map((p) => ({ name: p.name, values: { ...p.values } }));
    if (!state.policies.length) state.policies = [parsed(first())];
    build(section);
    if (state.ran) start();
  }

  return { begin, restore, open, state: () => state };
})();
