"use strict";
// "Copy as": what the page shows as a shell command, as Python and as curl. The page's tests run all of them.
const copy = (() => {
  const { el } = dom;
  const SAFE = /^[\w@%+=:,./-]+$/;
  const shell = (text) => (SAFE.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'");
  const python = (value) => {
    if (value === true) return "True";
    if (value === false) return "False";
    if (value === null) return "None";
    if (Array.isArray(value)) return "[" + value.map(python).join(", ") + "]";
    if (typeof value === "object") return "{" + Object.entries(value).map(([k, v]) => python(k) + ": " + python(v)).join(", ") + "}";
    return JSON.stringify(value);  // a JSON text is a Python text, too
  };

  // a word of a mixture: in quotes where its letters would mean something else
  const word = (text) => (/[,:="\\#@+*]|^\s|\s$|^[\d.-]/.test(text) ? '"' + text.replace(/["\\]/g, "\\$&") + '"' : text);
  // {slot: [[word, weight]]} as {slot: "dog:0.5,cat:0.5"}
  const mixtures = (slots) => Object.fromEntries(Object.entries(slots).map(([name, parts]) =>
    [name, parts.map(([text, w]) => (/^#\d+$/.test(text) ? text : word(text)) + ":" + w).join(",")]));
  const mixOptions = (texts) => Object.entries(texts).flatMap(([name, text]) => ["--mix", (name ? name + "=" : "") + text]);

  const command = (...words) => words.map(shell).join(" ");
  const call = (model, name, positional, keywords) => {
    const given = [...positional.map(python), ...Object.entries(keywords).filter(([, v]) => v !== undefined).map(([k, v]) => k + "=" + python(v))];
    return "import softllama as sl\n\nmodel = sl.load(" + python(model) + ")\nresult = model." + name + "(" + given.join(", ") + ")\n";
  };
  const curl = (path, body, key) => ["curl " + shell(location.origin + path), "-H 'Content-Type: application/json'",
    ...(key ? ['-H "Authorization: Bearer $KEY"'] : []), "-d " + shell(JSON.stringify(body))].join(" \\\n  ");

  // a button that opens a menu of what `make()` returns: {name: text}
  function menu(make) {
    const status = el("span", { className: "hint", role: "status", "aria-live": "polite" });
    const list = el("div", { className: "menu" });
    const box = el("details", { className: "copy" }, el("summary", {}, "Copy as"), list);
    box.addEventListener("toggle", () => {
      if (!box.open) return;
      list.replaceChildren(...Object.entries(make()).map(([name, text]) => el("div", {},
        el("button", { type: "button", onclick: () => toClipboard(text, status) }, "Copy " + name),
        el("pre", { tabIndex: 0, "aria-label": name, "data-copy": name }, text))), status);
    });
    return box;
  }

  async function toClipboard(text, status) {
    try {
      await navigator.clipboard.writeText(text);
      status.textContent = "Copied.";
    } catch {
      status.textContent = "The browser does not let the page copy: mark the text and copy it.";
    }
  }

  return { mixtures, mixOptions, command, call, curl, menu, toClipboard };
})();
