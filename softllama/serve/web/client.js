"use strict";
// What the page asks the server that it came from, and nothing else. Knows the routes, not what is shown.
const client = (() => {
  let key = "";  // in this tab only: no link and no storage holds it

  class Failure extends Error {
    constructor(message, status, hint) {
      super(message);
      this.status = status;
      this.hint = hint;
    }
  }

  function headers() {
    return { "Content-Type": "application/json", ...(key ? { Authorization: "Bearer " + key } : {}) };
  }

  async function send(path, body, signal) {
    let answer;
    try {
      answer = await fetch(path, {
        method: body === undefined ? "GET" : "POST", headers: headers(), signal, cache: "no-store",
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (e) {
      if (e.name === "AbortError") throw e;
      throw new Failure("The server does not answer. Does it still run?", 0);
    }
    if (answer.ok) return answer;
    const error = await answer.json().then((data) => data.error || {}, () => ({}));
    if (answer.status === 401) document.dispatchEvent(new Event("key-needed"));
    throw new Failure(error.message || "The server answered with status " + answer.status + ".", answer.status, error.hint);
  }

  // the JSON of a route
  const ask = async (path, body, signal) => (await send(path, body, signal)).json();

  // each JSON value of a stream of server-sent events; comments keep the connection alive and are skipped
  async function* stream(path, body, signal) {
    const answer = await send(path, { ...body, stream: true }, signal);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const lines = (rest + value).split(/\r?\n/);
        rest = lines.pop();
        for (const line of lines) {
          if (!line.startsWith("data:")) continue;
          const data = line.slice(5).trim();
          if (data === "[DONE]") continue;  // the server closes the stream itself
          const chunk = JSON.parse(data);
          if (chunk.error) throw new Failure(chunk.error.message, chunk.error.code, chunk.error.hint);
          yield chunk;
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  // a function that runs `work(signal)` some time after its last call, and forgets what earlier calls still wait for
  function latest(work, wait) {
    let timer, running;
    return (now) => {
      clearTimeout(timer);
      if (running) running.abort();
      timer = setTimeout(() => {
        running = new AbortController();
        work(running.signal);
      }, now ? 0 : wait);
    };
  }

  return { ask, stream, latest, Failure, use: (text) => { key = text; } };
})();
