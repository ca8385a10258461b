"use strict";
// Traces in the .npz form: a zip of numpy arrays, read without numpy. Knows the arrays of softllama/trace/columns.py (format 2).
const npz = (() => {
  const NUMBERS = { f: { 4: Float32Array, 8: Float64Array }, i: { 4: Int32Array }, b: { 1: Uint8Array } };

  // {name: bytes} of a zip, from its central directory
  async function unzip(buffer) {
    const view = new DataView(buffer), files = {};
    let end = buffer.byteLength - 22;
    while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
    if (end < 0) throw new Error("it is no zip file");
    let at = view.getUint32(end + 16, true);
    for (let left = view.getUint16(end + 10, true); left > 0; left--) {
      const method = view.getUint16(at + 10, true), size = view.getUint32(at + 20, true), start = view.getUint32(at + 42, true);
      const lengths = [28, 30, 32].map((o) => view.getUint16(at + o, true));
      const name = new TextDecoder().decode(new Uint8Array(buffer, at + 46, lengths[0]));
      const data = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
      const part = new Blob([new Uint8Array(buffer, data, size)]);
      const whole = method ? part.stream().pipeThrough(new DecompressionStream("deflate-raw")) : part.stream();
      files[name.replace(/\.npy$/, "")] = await new Response(whole).arrayBuffer();
      at += 46 + lengths[0] + lengths[1] + lengths[2];
    }
    return files;
  }

  // a numpy array as an array of numbers or texts
  function array(buffer) {
    const view = new DataView(buffer), major = view.getUint8(6);
    const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true), begin = (major === 1 ? 10 : 12) + length;
    const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, begin - length, length));
    const [, , kind, size] = header.match(/'descr': '([<|=])([fibU])(\d+)'/) || [];
    if (!kind) throw new Error("it holds an array of an unknown type");
    const data = buffer.slice(begin);
    if (kind !== "U") {
      const type = (NUMBERS[kind] || {})[size];
      if (!type) throw new Error("it holds an array of an unknown type");
      return Array.from(new type(data));
    }
    const codes = new Uint32Array(data), texts = [];
    for (let i = 0; i < codes.length; i += +size) {
      const end = codes.subarray(i, i + +size).indexOf(0);
      let text = "";
      for (const c of codes.subarray(i, end < 0 ? i + +size : i + end)) text += String.fromCodePoint(c);
      texts.push(text);
    }
    return texts;
  }

  // {group/step: i, ...} as a list of pairs for each step
  function pairs(a, group, value, n) {
    const out = Array.from({ length: n }, () => []);
    a[group + "/step"].forEach((s, i) => out[s].push([a[group + "/id"][i], a[group + "/" + value][i]]));
    return out;
  }

  // header, steps and footer of a trace, as the lines of the other form
  async function read(buffer) {
    const a = Object.fromEntries(Object.entries(await unzip(buffer)).map(([name, bytes]) => [name, array(bytes)]));
    if (!a.header || !a.footer) throw new Error("it holds no trace");
    if (!a["steps/index"]) throw new Error("its form is that of an older softllama; `softllama trace export FILE.npz FILE.jsonl` makes it new");
    const [header, footer, words, texts] = ["header", "footer", "words", "texts"].map((name) => JSON.parse(a[name][0]));
    const n = a["steps/index"].length, fed = pairs(a, "mixtures", "weight", n), top = pairs(a, "top", "p", n);
    const lines = a["steps/index"].map((index) => {
      const of = (name) => a["steps/" + name][index];
      const step = { kind: "step", index, mode: of("mode"), text: words.text[index], why: words.why[index], mixture: fed[index], top: top[index] };
      for (const name of ["position", "token", "entropy", "left_out", "noise", "seconds"]) step[name] = of(name);
      for (const name of ["thinking", "hidden"]) step[name] = !!of(name);
      step.logp = Number.isFinite(of("logp")) ? of("logp") : null;
      const token = of("whole_token");
      step.whole = Number.isNaN(of("whole_temperature")) ? null
        : { temperature: of("whole_temperature"), epsilon: of("whole_epsilon"), share: of("whole_share"), token: token < 0 ? null : token };
      step.rest = of("rest_n") ? { n: of("rest_n"), weight: of("rest_weight"), effective_tokens: of("effective_tokens") } : null;
      return step;
    });
    if (lines.length) lines[0].texts = texts;
    return [header, lines, footer];
  }

  return { read };
})();
