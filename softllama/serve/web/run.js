"use strict";
// A question to the server, and its answer into a panel, step by step. Knows requests, not who asks.
const run = (() => {
  // what the server is asked. asked: {question, policy, seed, max_tokens, think, think_budget}; items: what was fed before
  function body(asked, items) {
    const block = { policy: asked.policy || undefined, think: asked.think || undefined, think_budget: asked.think_budget ?? undefined };
    if (items) block.prefix = { items };
    const text = asked.raw ? { prompt: asked.question } : { messages: [{ role: "user", content: asked.question }] };
    return { ...text, max_tokens: asked.max_tokens, seed: asked.seed, softllama: JSON.parse(JSON.stringify(block)) };
  }
  const path = (asked) => (asked.raw ? "/v1/completions" : "/v1/chat/completions");

  // run it. kept: lines of an earlier record that stand before what comes; texts: of their tokens
  async function go(asked, into, signal, { items, kept = [], texts = {} } = {}) {
    const request = body(asked, items);
    request.softllama.trace = "record";
    let r = null;
    into.status("waiting for the model …");
    const begin = (header) => {
      r = record.empty(header);
      record.learn(r, texts);
      for (const line of kept) r.shown.steps.push(record.add(r, { ...line, index: r.steps.length }));
      into.show(r);
      into.status("running …");
    };
    try {
      for await (const chunk of client.stream(path(asked), request, signal)) {
        const block = chunk.softllama || (chunk.choices[0] && chunk.choices[0].softllama) || {};
        for (const line of block.record || []) {
          if (line.kind === "trace") begin(line);
          else if (line.kind === "step") into.step({ ...line, index: r.steps.length });
          else r.footer = kept.length ? { ...line, ...counted(r, line) } : line;
        }
      }
    } catch (e) {
      if (e.name !== "AbortError") {
        if (r) r.footer = record.footer(r, "error");
        if (r) into.end();
        into.fail(e);
        throw e;
      }
    }
    if (!r) {
      into.status("Stopped before it began.");
      return null;
    }
    r.footer ||= record.footer(r, signal.aborted ? "interrupted" : "the stream ended");
    into.end();
    return r;
  }

  // of a run that went on from kept steps, the numbers of all of them
  function counted(r, line) {
    const { stop_reason, stop_string, tail, timings, degenerations, evaluated, ...all } = record.footer(r, line.stop_reason);
    return { ...all, thinking: all.thinking + line.tail[0], answer: all.answer + line.tail[1] };
  }

  // the same run elsewhere. model: {name, path}; think: what the server chose for "auto"
  function commands(asked, model, r) {
    const name = model.path || model.name, m = (r && r.header.manifest.arguments) || {};
    const think = asked.think || m.think || "auto";
    const flags = ["--policy", asked.policy, "--seed", String(asked.seed), "--max-tokens", String(asked.max_tokens), "--think", think,
      ...(asked.raw ? ["--raw"] : []), ...(asked.think_budget === null ? [] : ["--think-budget", String(asked.think_budget)])];
    return {
      shell: copy.command("softllama", "run", "-m", name, asked.question, ...flags),
      Python: copy.call(name, "generate", [asked.question], { policy: asked.policy, seed: asked.seed, max_tokens: asked.max_tokens, think,
        think_budget: asked.think_budget ?? undefined, chat: !asked.raw }) + "print(result.answer)\n",
      curl: copy.curl(path(asked), body(asked), model.needs_key),
    };
  }

  return { body, path, go, commands };
})();
