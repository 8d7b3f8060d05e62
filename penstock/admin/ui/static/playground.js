// The playground: a chat with up to four models at once, streamed, and the same request as code.
"use strict";
addEventListener("load", () => {
  const form = document.getElementById("play");
  if (!form) return;
  const field = (name) => form.elements[name];
  const columns = document.getElementById("columns");
  const sendButton = form.querySelector("[data-send]"), stopButton = form.querySelector("[data-stop]");
  const wrong = form.querySelector("[data-wrong]"), pictures = document.getElementById("pictures");
  const dialog = document.getElementById("snippets");
  const make = (tag, given = {}, ...inner) => { const one = Object.assign(document.createElement(tag), given); one.append(...inner); return one; };
  let images = [];
  let chats = [];  // one for each model: {model, messages, box, list}
  let running = null;

  for (const one of document.querySelectorAll("[data-scripted]")) one.hidden = false;

  // Models to compare with are shown one by one.
  const more = form.querySelector("[data-more]");
  const further = [...form.querySelectorAll("label.further")];
  for (const one of further) one.hidden = true;
  more.addEventListener("click", () => {
    const next = further.shift();
    if (next) { next.hidden = false; next.querySelector("input").focus(); }
    more.hidden = !further.length;
  });

  // Pictures: chosen, or pasted.
  async function addImages(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) continue;
      const url = await new Promise((done, failed) => {
        const reader = new FileReader();
        reader.onload = () => done(reader.result);
        reader.onerror = () => failed(reader.error);
        reader.readAsDataURL(file);
      });
      images.push(url);
    }
    showImages();
  }
  function showImages() {
    pictures.replaceChildren(...images.map((url, i) => {
      const drop = make("button", { type: "button", className: "small", textContent: "Remove" });
      drop.setAttribute("aria-label", `Remove picture ${i + 1}`);
      drop.addEventListener("click", () => { images.splice(i, 1); showImages(); });
      return make("span", {}, make("img", { src: url, alt: `Picture ${i + 1}` }), drop);
    }));
  }
  field("image").addEventListener("change", async () => { await addImages(field("image").files); field("image").value = ""; });
  field("text").addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (files.length) { event.preventDefault(); addImages(files); }
  });

  // The request as it is typed now.
  class Wrong extends Error {
    constructor(name, text) { super(text); this.field = name; }
  }
  function parsed(name, wanted, fits) {
    const text = field(name).value.trim();
    if (!text) return undefined;
    let found;
    try { found = JSON.parse(text); } catch (error) { throw new Wrong(name, `${wanted}: ${error.message}`); }
    if (!fits(found)) throw new Wrong(name, `${wanted}.`);
    return found;
  }
  function number(name) {
    const text = field(name).value.trim();
    if (!text) return undefined;
    const value = Number(text);
    if (Number.isNaN(value)) throw new Wrong(name, `A number is wanted, not "${text}".`);
    return value;
  }
  function settings() {
    const body = {};
    const temperature = number("temperature"), most = number("max_tokens");
    if (temperature !== undefined) body.temperature = temperature;
    if (most !== undefined) body.max_tokens = most;
    const tools = parsed("tools", "Tools: a JSON list is wanted", Array.isArray);
    if (tools) body.tools = tools;
    const schema = parsed("schema", "Schema: a JSON object is wanted", (one) => one && typeof one === "object" && !Array.isArray(one));
    if (schema) body.response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
    return body;
  }
  function turn() {
    const text = field("text").value.trim();
    if (!text && !images.length) return null;
    if (!images.length) return { role: "user", content: text };
    const parts = images.map((url) => ({ type: "image_url", image_url: { url } }));
    return { role: "user", content: text ? [{ type: "text", text }, ...parts] : parts };
  }
  const names = () => [...new Set([...form.querySelectorAll("input[list]")].map((one) => one.value.trim()).filter(Boolean))];
  function withSystem(messages) {
    const system = field("system").value.trim();
    return system ? [{ role: "system", content: system }, ...messages] : messages;
  }
  function tell(error) {
    for (const one of form.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
    wrong.hidden = !error;
    wrong.textContent = error?.message ?? "";
    if (error?.field) {
      const at = field(error.field);
      at.setAttribute("aria-invalid", "true");
      at.closest("details")?.setAttribute("open", "");
      at.focus();
    }
  }

  // A column for each model.
  function begin(models) {
    const same = models.length === chats.length && models.every((name, i) => chats[i].model === name);
    if (same) return;
    chats = models.map((model) => {
      const list = make("div", { className: "turns" });
      const box = make("article", { className: "box answer" }, make("h2", { textContent: model }), list);
      return { model, messages: [], list, box };
    });
    columns.replaceChildren(...chats.map((chat) => chat.box));
  }
  const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

  async function answer(chat, asked, more, signal) {
    chat.list.append(make("p", { className: "asked", textContent: textOf(asked) }));
    chat.messages.push(asked);
    const said = make("p", { className: "said waits" }), figures = make("p", { className: "figures" });
    const thoughts = make("details", { className: "thoughts", hidden: true }, make("summary", { textContent: "Reasoning" }), make("p"));
    const calls = make("pre", { hidden: true, tabIndex: 0 });
    chat.list.append(thoughts, said, calls, figures);
    const began = performance.now();
    const seen = { first: null, usage: null, text: "", tools: [], finish: null };
    const figure = (text, title) => figures.append(make("span", { textContent: text, title }));
    try {
      const body = { model: chat.model, messages: withSystem(chat.messages), ...more, stream: true, stream_options: { include_usage: true } };
      const response = await penstock.ask("/v1/chat/completions", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
      if (!response.ok) throw new Error(await refusal(response));
      for await (const event of events(response.body)) {
        if (event.error) throw new Error(event.error.message ?? JSON.stringify(event.error));
        if (event.usage) seen.usage = event.usage;
        const choice = event.choices?.[0];
        const delta = choice?.delta ?? {};
        if (choice?.finish_reason) seen.finish = choice.finish_reason;
        if (seen.first === null && (delta.content || delta.reasoning_content || delta.tool_calls)) seen.first = performance.now() - began;
        if (delta.reasoning_content) { thoughts.hidden = false; thoughts.lastChild.textContent += delta.reasoning_content; }
        if (delta.content) { seen.text += delta.content; said.textContent = seen.text; }
        for (const piece of delta.tool_calls ?? []) {
          const at = piece.index ?? seen.tools.length;
          const one = (seen.tools[at] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
          if (piece.id) one.id = piece.id;
          one.function.name += piece.function?.name ?? "";
          one.function.arguments += piece.function?.arguments ?? "";
          calls.hidden = false;
          calls.textContent = seen.tools.filter(Boolean).map((tool) => `${tool.function.name}(${tool.function.arguments})`).join("\n");
        }
      }
    } catch (error) {
      if (error.name === "AbortError") figure("stopped");
      else chat.list.insertBefore(Object.assign(make("p", { className: "note bad", textContent: error.message })), figures).setAttribute("role", "alert");
    }
    said.classList.remove("waits");
    if (!seen.text) said.remove();
    const kept = { role: "assistant", content: seen.text };
    if (seen.tools.length) kept.tool_calls = seen.tools.filter(Boolean);
    if (seen.text || seen.tools.length) chat.messages.push(kept); else chat.messages.pop();
    if (seen.first !== null) figure(`first token ${seconds(seen.first)}`, "Until the first token came");
    figure(`${seconds(performance.now() - began)} in all`);
    if (seen.usage) {
      figure(`${seen.usage.prompt_tokens} → ${seen.usage.completion_tokens} tokens`, "Tokens in and out");
      const price = await cost(chat.model, seen.usage);
      if (price !== null) figure(`≈ ${penstock.units.$(price)}`, "By the price list");
    }
    if (seen.finish && seen.finish !== "stop") figure(`ended by ${seen.finish}`);
  }
  async function cost(model, usage) {
    const asked = { model, input_tokens: usage.prompt_tokens ?? 0, output_tokens: usage.completion_tokens ?? 0, cache_read_input_tokens: usage.prompt_tokens_details?.cached_tokens ?? 0 };
    const response = await penstock.ask("/cost/estimate", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked) });
    if (!response.ok) return null;
    const found = (await response.json()).cost_per_request;
    return typeof found === "number" ? found : null;
  }
  async function refusal(response) {
    const text = await response.text();
    try { const said = JSON.parse(text); return `${response.status}: ${said.error?.message ?? text}`; } catch { return `${response.status}: ${text.slice(0, 500)}`; }
  }
  async function* events(stream) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let kept = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      kept += value;
      const lines = kept.split(/\r\n|\n|\r(?!$)/);
      kept = lines.pop();
      for (const line of lines) {
        const data = line.startsWith("data:") ? line.slice(5).trim() : "";
        if (data === "[DONE]") return;
        if (data) yield JSON.parse(data);
      }
    }
  }
  function textOf(message) {
    if (typeof message.content === "string") return message.content;
    const count = message.content.filter((part) => part.type === "image_url").length;
    const text = message.content.find((part) => part.type === "text")?.text ?? "";
    return `${text}${text ? " " : ""}[${count} picture${count === 1 ? "" : "s"}]`;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    let more, asked;
    try {
      if (!names().length) throw new Wrong("model0", "Name a model.");
      more = settings();
      asked = turn();
      if (!asked) throw new Wrong("text", "Write something to the model.");
    } catch (error) { tell(error); return; }
    tell(null);
    begin(names());
    running = new AbortController();
    sendButton.disabled = true;
    stopButton.hidden = false;
    field("text").value = "";
    images = [];
    showImages();
    await Promise.all(chats.map((chat) => answer(chat, asked, more, running.signal)));
    running = null;
    sendButton.disabled = false;
    stopButton.hidden = true;
    field("text").focus();
  });
  stopButton.addEventListener("click", () => running?.abort());
  field("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  document.querySelector("[data-new]").addEventListener("click", () => {
    running?.abort();
    chats = [];
    columns.replaceChildren(make("div", { className: "nothing" }, make("p", { textContent: "What the models say stands here." })));
    field("text").focus();
  });

  // The same request as code. No key is in it: each names a variable.
  const python = (value, depth = 0) => {
    const pad = "    ".repeat(depth + 1), end = "    ".repeat(depth);
    if (value === null || value === undefined) return "None";
    if (value === true || value === false) return value ? "True" : "False";
    if (Array.isArray(value)) return value.length ? `[\n${value.map((one) => `${pad}${python(one, depth + 1)},\n`).join("")}${end}]` : "[]";
    if (typeof value === "object") return `{\n${Object.entries(value).map(([key, one]) => `${pad}${JSON.stringify(key)}: ${python(one, depth + 1)},\n`).join("")}${end}}`;
    return JSON.stringify(value);
  };
  const given = (body) => Object.entries(body).map(([key, value]) => `    ${key}=${python(value, 1)},\n`).join("");
  function anthropicBody(body) {
    const part = (one) => {
      if (one.type !== "image_url") return one;
      const [, type, data] = /^data:([^;]+);base64,(.*)$/.exec(one.image_url.url) ?? [];
      return { type: "image", source: data ? { type: "base64", media_type: type, data } : { type: "url", url: one.image_url.url } };
    };
    const system = body.messages.filter((one) => one.role === "system").map((one) => one.content).join("\n");
    const messages = body.messages.filter((one) => one.role !== "system").map((one) => ({ role: one.role, content: Array.isArray(one.content) ? one.content.map(part) : one.content }));
    const made = { model: body.model, max_tokens: body.max_tokens ?? 1024, messages };
    if (system) made.system = system;
    if (body.temperature !== undefined) made.temperature = body.temperature;
    if (body.tools) made.tools = body.tools.map((one) => ({ name: one.function?.name, description: one.function?.description, input_schema: one.function?.parameters ?? { type: "object" } }));
    return made;
  }
  function snippets(body) {
    const base = location.origin + form.dataset.api, key = form.dataset.needsKey === "yes";
    const shell = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
    const read = key ? 'os.environ["PENSTOCK_API_KEY"]' : '"any"', os = key ? "import os\n\n" : "";
    return {
      curl: `curl ${base}/chat/completions \\\n  -H 'content-type: application/json' \\\n${key ? '  -H "authorization: Bearer $PENSTOCK_API_KEY" \\\n' : ""}  -d '${shell}'`,
      openai: `${os}from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key=${read})\nanswer = client.chat.completions.create(\n${given(body)})\nprint(answer.choices[0].message.content)`,
      anthropic: `${os}from anthropic import Anthropic\n\nclient = Anthropic(base_url="${base.replace(/\/v1$/, "")}", api_key=${read})\nanswer = client.messages.create(\n${given(anthropicBody(body))})\nprint(answer.content[0].text)`,
      penstock: `${os}from penstock.sdk import completion\n\nanswer = completion(\n${given({ ...body, model: `litellm_proxy/${body.model}` })}    api_base="${base}",\n    api_key=${read},\n)\nprint(answer.choices[0].message.content)`,
    };
  }
  function present() {
    const chat = chats[0], asked = turn();
    const before = chat && chat.model === names()[0] ? chat.messages : [];
    // What was answered last is not asked again.
    const last = before.at(-1)?.role === "assistant" ? before.slice(0, -1) : before;
    const messages = asked ? [...before, asked] : last.length ? last : [{ role: "user", content: "Hello" }];
    return { model: names()[0] ?? "MODEL", messages: withSystem(messages), ...settings() };
  }
  document.querySelector("[data-copy-as]").addEventListener("click", () => {
    let made;
    try { made = snippets(present()); } catch (error) { tell(error); return; }
    const tabs = dialog.querySelector(".tabs"), code = dialog.querySelector("code");
    const choose = (name) => {
      code.textContent = made[name];
      for (const one of tabs.children) { one.setAttribute("aria-selected", String(one.textContent === name)); one.tabIndex = one.textContent === name ? 0 : -1; }
    };
    tabs.replaceChildren(...Object.keys(made).map((name) => {
      const tab = make("button", { type: "button", className: "quiet", textContent: name });
      tab.setAttribute("role", "tab");
      tab.addEventListener("click", () => choose(name));
      return tab;
    }));
    tabs.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const all = [...tabs.children], next = all.at((all.indexOf(document.activeElement) + step) % all.length);
      choose(next.textContent);
      next.focus();
    };
    choose("curl");
    dialog.querySelector("[data-needs]").hidden = form.dataset.needsKey !== "yes";
    dialog.showModal();
  });
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
});
