"use strict";
// The page as a whole: tabs, the state in the address, files that are dropped, the key.
(() => {
  const { el } = dom;
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement, TABS = ["mix", "think", "branch"];
  let tab = "mix", written = "", info = null;
  window.addEventListener("error", (e) => { root.dataset.error = e.message; });
  window.addEventListener("unhandledrejection", (e) => { root.dataset.error = String(e.reason); });

  function say(text) {
    $("message").textContent = text;
    $("message").hidden = !text;
  }

  // ---- the state in the address: #think={...}. The key is not in it.
  const states = { mix: mix.state, think: think.state, branch: branch.state };
  function write() {
    const state = states[tab]();
    written = "#" + tab + (state ? "=" + encodeURIComponent(JSON.stringify(state)).replace(/%(22|2C|3A|7B|7D|5B|5D|20)/g, (c) => ({ "%20": "+" })[c] || decodeURIComponent(c)) : "");
    history.replaceState(null, "", written);
  }
  function read() {
    const [, name, text] = location.hash.match(/^#(\w+)(?:=(.*))?$/s) || [];
    if (!TABS.includes(name)) return null;
    try {
      return [name, text ? JSON.parse(decodeURIComponent(text.replace(/\+/g, " "))) : null];
    } catch {
      say("The state in this link is damaged, so the page starts afresh.");
      return [name, null];
    }
  }
  function restore() {
    const [name, state] = read() || ["mix", null];
    if (state && name === "mix") mix.restore($("mix"), state);
    if (state && name === "think") think.restore($("think"), state);
    if (state && name === "branch") branch.restore(state);
    show(name);
  }

  // ---- tabs
  function show(name, focus) {
    tab = name;
    for (const t of TABS) {
      const chosen = t === name, button = $("tab-" + t);
      $(t).hidden = !chosen;
      button.setAttribute("aria-selected", chosen);
      button.tabIndex = chosen ? 0 : -1;
      if (chosen && focus) button.focus();
    }
    mix.open(name === "mix");
    write();
    root.dataset.tab = name;
  }
  for (const [i, name] of TABS.entries()) {
    $("tab-" + name).addEventListener("click", () => show(name));
    $("tab-" + name).addEventListener("keydown", (e) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: TABS.length - 1 }[e.key];
      if (to === undefined) return;
      e.preventDefault();
      show(TABS[(to + TABS.length) % TABS.length], true);
    });
  }

  // ---- files
  async function open(file) {
    try {
      const r = await record.open(file);
      think.open(r, file.name);
      show("think");
      say("");
      root.dataset.opened = r.steps.length;
    } catch (e) {
      say(e.message);
    }
  }
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { if ($("file").files[0]) open($("file").files[0]); });
  let over = 0;
  const files = (e) => e.dataTransfer && [...e.dataTransfer.types].includes("Files");
  document.addEventListener("dragenter", (e) => { if (files(e) && ++over) $("drop").hidden = false; });
  document.addEventListener("dragleave", (e) => { if (files(e) && !--over) $("drop").hidden = true; });
  document.addEventListener("dragover", (e) => { if (files(e)) e.preventDefault(); });
  document.addEventListener("drop", (e) => {
    if (!files(e)) return;
    e.preventDefault();
    over = 0;
    $("drop").hidden = true;
    if (info && e.dataTransfer.files[0]) open(e.dataTransfer.files[0]);
  });
  $("link").addEventListener("click", () => copy.toClipboard(location.href, $("message")).then(() => { $("message").hidden = false; }));

  // ---- the key
  document.addEventListener("key-needed", () => {
    $("key").hidden = false;
    $("key-text").focus();
  });
  $("key").addEventListener("submit", (e) => {
    e.preventDefault();
    client.use($("key-text").value);
    $("key").hidden = true;
    if (info) { restore(); say(""); } else start();
  });

  async function start() {
    say("");
    try {
      info = await client.ask("/v1/softllama/policies");
    } catch (e) {
      say(e.message);
      if (e.status === 503) setTimeout(start, 1000);  // the model is being loaded
      return;
    }
    $("model").textContent = info.model.name;
    document.title = "softllama: " + info.model.name;
    const changed = (name) => () => { if (tab === name) write(); };
    mix.start($("mix"), info.model, changed("mix"));
    think.begin($("think"), info, changed("think"), (asked, r) => { branch.take(asked, r); show("branch", true); });
    branch.begin($("branch"), info, changed("branch"));
    restore();
    window.addEventListener("hashchange", () => { if (location.hash !== written) restore(); });
    root.dataset.ready = "yes";
  }
  start();
})();
