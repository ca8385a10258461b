"use strict";
// Elements and numbers, for the scripts of every page. A text is set as text, never as HTML.
const dom = (() => {
  // an element. properties: of the object, or aria-, data- and role as attributes; children: nodes and texts
  function el(tag, properties = {}, ...children) {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === undefined || value === null) continue;
      if (/^(aria-|data-|role$|for$|list$)/.test(name)) e.setAttribute(name, value);
      else e[name] = value;
    }
    e.append(...children.filter((c) => c !== undefined && c !== null));
    return e;
  }

  // a probability or a weight; a small one keeps a digit
  const number = (w) => (w !== 0 && Math.abs(w) < 0.0005 ? w.toExponential(0) : w.toFixed(3));

  function short(text, most) {
    const letters = [...text];
    return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : text;
  }

  // a token's text in one line, as softllama.show.printable.visible shows it
  function visible(text) {
    const shown = text.replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (c) => {
      const known = { "\n": "\\n", "\t": "\\t", "\r": "\\r" }[c];
      const code = c.codePointAt(0).toString(16);
      return known || (code.length < 3 ? "\\x" + code.padStart(2, "0") : code.length < 5 ? "\\u" + code.padStart(4, "0") : "\\U" + code.padStart(8, "0"));
    });
    const core = shown.replace(/^ +| +$/g, "");
    if (!core) return "␣".repeat(shown.length) || "∅";
    const left = shown.length - shown.trimStart().length;
    return "␣".repeat(left) + core + "␣".repeat(shown.length - left - core.length);
  }

  return { el, number, short, visible };
})();
