"use strict";
// A record as the page that `softllama trace html` writes: the template beside this script, filled.
const page = (() => {
  function of(r) {
    // parsed without its style, which is another than this page's, so that its security policy forbids it here
    const [, before, style, after] = JSON.parse(document.getElementById("trace-page").textContent).match(/^(.*?)(<style>.*<\/style>)(.*)$/s);
    const doc = new DOMParser().parseFromString(before + after, "text/html");
    const make = (tag, text, name) => {
      const e = doc.createElement(tag);
      e.textContent = text;
      if (name) e.className = name;
      return e;
    };
    const facts = record.facts(r), title = r.header.policy + " on " + record.model(r);
    doc.title = title;
    doc.querySelector("h1").textContent = title;
    doc.querySelector(".prompt").textContent = r.header.prompt_text.trim();
    doc.querySelector(".facts").replaceChildren(...facts.map(([name, value]) => {
      const div = doc.createElement("div");
      div.append(make("dt", name), make("dd", value));
      return div;
    }));
    const chart = doc.getElementById("chart");
    chart.dataset.label = r.steps.length + " steps; weights of the mixtures and entropy over the steps";
    for (const [inside, name] of [[true, "thinking"], [false, "answer"]]) {
      const steps = r.steps.filter((s) => s.thinking === inside), p = make("p", "", "reading " + name);
      for (const s of steps.filter((s) => s.text)) {
        const span = make("span", s.text, s.mode === "soft" ? "soft" : "");
        span.dataset.step = s.index;
        p.append(span);
      }
      if (steps.length) doc.querySelector("details").before(make("h2", "The " + name + " reads"), p);
    }
    doc.querySelector("pre").textContent = JSON.stringify(r.header.manifest, null, 2);
    doc.getElementById("data").textContent = data(r);
    return "<!doctype html>\n" + doc.documentElement.outerHTML.replace("</head>", () => style + "</head>") + "\n";
  }

  // the steps as the page's script reads them: tokens are places in a list of texts, and nothing can end the element
  function data(r) {
    const places = new Map(), texts = [];
    const at = (id) => {
      if (!places.has(id)) {
        places.set(id, texts.length);
        texts.push(r.shown.texts[id]);
      }
      return places.get(id);
    };
    const pairs = (list) => list.map(([id, w]) => [at(id), +w.toPrecision(4)]);
    const steps = r.shown.steps.map((s) => ({ ...s, t: at(s.t), w: pairs(s.w), p: pairs(s.p) }));
    return JSON.stringify({ steps, texts }).replace(/[<>&]/g, (c) => "\\u00" + c.charCodeAt(0).toString(16));
  }

  return { of };
})();
