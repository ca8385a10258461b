"use strict";
// Traces as the JSON lines that `softllama run --trace FILE.jsonl` writes: one form for runs, files and heat maps.
// A record is {header, steps, footer, texts: {id: text}, shown: what a heat map draws}.
const record = (() => {
  const TOP = 24;  // tokens of each step that a heat map holds, as in a page that softllama writes
  const MODES = ["soft", "hard", "forced"];

  const empty = (header = {}) => ({
    header: { kind: "trace", format: 2, policy: "", seed: 0, prompt_text: "", prompt: [], stop: [], thinking_tags: ["", ""], manifest: {}, ...header },
    steps: [], footer: null, texts: {}, shown: { steps: [], texts: {} },
  });

  // a line as the heat map draws it
  function toShown(s) {
    const byWeight = [...s.mixture].sort((a, b) => b[1] - a[1]);
    const shown = byWeight.slice(0, TOP), sum = (pairs) => pairs.reduce((a, [, w]) => a + w, 0);
    const rest = sum(byWeight.slice(TOP)) + (s.rest ? s.rest.weight : 0);
    return {
      m: MODES.indexOf(s.mode), k: +s.thinking, t: s.token, h: s.entropy, n: s.mixture.length + (s.rest ? s.rest.n : 0),
      w: shown, r: rest > 1e-9 ? rest : 0, p: s.top, y: s.why, l: s.left_out, z: s.noise, q: +s.hidden,
    };
  }

  function learn(r, texts) {
    for (const [id, text] of Object.entries(texts)) {
      r.texts[id] = text;
      r.shown.texts[id] = dom.visible(text);
    }
  }

  // put a line at the end, and say what a heat map shows of it
  function add(r, line) {
    learn(r, line.texts || {});
    for (const id of [line.token, ...line.mixture.map(([i]) => i), ...line.top.map(([i]) => i)]) {
      r.texts[id] ??= "#" + id;
      r.shown.texts[id] ??= dom.visible(r.texts[id]);
    }
    r.steps.push(line);
    const shown = toShown(line);
    return shown;
  }

  const text = (r, thinking) => r.steps.filter((s) => s.thinking === thinking).map((s) => s.text).join("")
    + ((r.footer && r.footer.tail) || ["", ""])[thinking ? 0 : 1];

  const mean = (numbers) => (numbers.length ? numbers.reduce((a, b) => a + b, 0) / numbers.length : 0);

  function effective(s) {  // exp of the entropy of the weights
    if (s.rest) return s.rest.effective_tokens;
    const w = s.mixture.map(([, v]) => v).filter((v) => v > 0), total = w.reduce((a, b) => a + b, 0);
    return w.length ? Math.exp(-w.reduce((a, v) => a + (v / total) * Math.log(v / total), 0)) : 1;
  }

  // the last line, from the steps
  function footer(r, reason) {
    const soft = r.steps.filter((s) => s.mode === "soft"), free = r.steps.filter((s) => s.mode !== "forced");
    return {
      kind: "end", stop_reason: reason, stop_string: "", thinking: text(r, true), answer: text(r, false),
      n_thinking: free.filter((s) => s.thinking).length, n_answer: r.steps.filter((s) => !s.thinking).length, n_soft: soft.length,
      evaluated: 0, mean_entropy: mean(free.map((s) => s.entropy)), effective_tokens: soft.length ? mean(soft.map(effective)) : 1,
      timings: {}, tail: ["", ""], degenerations: [],
    };
  }

  // (name, value) of a run, for people
  function facts(r) {
    const end = r.footer || footer(r, "not yet");
    const parts = end.n_thinking ? [end.n_thinking + " thinking + " + end.n_answer + " answer"] : [];
    const counts = MODES.map((m) => [m, r.steps.filter((s) => s.mode === m).length]).filter(([, n]) => n);
    return [
      ["seed", String(r.header.seed)], ["stopped", end.stop_string ? end.stop_reason + " " + JSON.stringify(end.stop_string) : end.stop_reason],
      ["steps", [String(r.steps.length), ...parts, counts.map(([m, n]) => n + " " + m).join(", ")].filter(Boolean).join("; ")],
      ["mean entropy", end.mean_entropy.toFixed(3) + " nats"], ["effective tokens", end.effective_tokens.toFixed(2) + " in a mixture"],
    ];
  }

  const model = (r) => (r.header.manifest.model && r.header.manifest.model.name) || "unknown";

  // ---- files

  function toLines(r) {
    const known = new Set(), lines = [r.header];
    for (const s of r.steps) {  // each text once, where it is new
      const ids = new Set([s.token, ...s.mixture.map(([i]) => i), ...s.top.map(([i]) => i)]);
      const fresh = [...ids].filter((i) => !known.has(i));
      fresh.forEach((i) => known.add(i));
      lines.push({ ...s, texts: Object.fromEntries(fresh.map((i) => [i, r.texts[i]])) });
    }
    lines.push(r.footer || footer(r, "interrupted"));
    return lines.map((line) => JSON.stringify(line) + "\n").join("");
  }

  const check = (ok, what) => { if (!ok) throw new Error(what); };
  const isNumber = Number.isFinite, isId = (v) => Number.isInteger(v) && v >= 0;
  const isPairs = (v) => Array.isArray(v) && v.every((p) => Array.isArray(p) && isId(p[0]) && isNumber(p[1]));

  // a trace from its parts; what a file holds is not trusted
  function build(header, lines, end) {
    check(header && header.kind === "trace" && typeof header.policy === "string", "its first line is no header of a trace");
    const r = empty({ ...header, manifest: header.manifest || {} });
    lines.forEach((s, i) => {
      check(s && s.kind === "step" && s.index === i && isId(s.token) && MODES.includes(s.mode) && typeof s.text === "string"
        && isPairs(s.mixture) && isPairs(s.top) && isNumber(s.entropy) && typeof s.thinking === "boolean", "step " + i + " is damaged");
      r.shown.steps.push(add(r, { ...s, why: String(s.why || "") }));
    });
    r.footer = end || footer(r, "the file ends here");
    return r;
  }

  function fromLines(text) {
    const lines = text.split("\n").filter((line) => line.trim());
    const values = [];
    for (const [i, line] of lines.entries()) {
      try {
        values.push(JSON.parse(line));
      } catch {
        check(i && i === lines.length - 1, "line " + (i + 1) + " is not JSON");  // the last line of a file that was cut off
      }
    }
    const end = values.at(-1) && values.at(-1).kind === "end" ? values.pop() : null;
    return build(values[0], values.slice(1), end);
  }

  function fromPage(text) {  // the steps in a page that softllama or this page wrote
    const doc = new DOMParser().parseFromString(text.replace(/<style[^]*?<\/style>/gi, ""), "text/html"), data = doc.getElementById("data");
    check(data, "it is no page of a trace");
    const { steps, texts } = JSON.parse(data.textContent);
    const reads = new Map([...doc.querySelectorAll("[data-step]")].map((e) => [+e.dataset.step, e.textContent]));
    const [policy, name] = doc.title.split(" on ");
    const lines = steps.map((s, index) => ({
      kind: "step", index, position: index, mode: MODES[s.m], thinking: !!s.k, token: s.t, text: reads.get(index) || "",
      mixture: s.w, entropy: s.h, top: s.p, why: s.y || "", left_out: s.l || 0, noise: s.z || 0, hidden: !!s.q, seconds: 0, logp: null,
      whole: null, rest: s.r ? { n: s.n - s.w.length, weight: s.r, effective_tokens: 1 } : null,
    }));
    const r = build({ kind: "trace", format: 2, policy, prompt_text: doc.querySelector(".prompt").textContent, manifest: { model: { name } } }, lines, null);
    r.shown.texts = texts;  // they are as they are shown already
    r.header.thinking_tags = ["", ""];
    r.partial = "A page holds the " + TOP + " heaviest tokens of each step, and no ids, so it cannot be saved as a trace or branched.";
    return r;
  }

  // the trace in a file, by its name's ending
  async function open(file) {
    const ending = file.name.toLowerCase().split(".").pop();
    try {
      if (ending === "npz") {
        const [header, lines, end] = await npz.read(await file.arrayBuffer());
        return build(header, lines, end);
      }
      if (ending === "jsonl") return fromLines(await file.text());
      if (ending === "html" || ending === "htm") return fromPage(await file.text());
      if (ending === "json") {
        const { steps, ...rest } = JSON.parse(await file.text());
        check(Array.isArray(steps), "it has no steps");
        return build(rest, steps, { ...rest, kind: "end" });
      }
    } catch (e) {
      throw new Error("“" + file.name + "” is not a trace that this page can read: " + e.message);
    }
    throw new Error("“" + file.name + "” is no trace. Drop what `softllama run --trace` writes (.jsonl, .npz), its --json, or a page of "
      + "a trace (.html); a .csv holds no mixtures.");
  }

  return { empty, learn, add, footer, facts, model, text, toLines, open };
})();
