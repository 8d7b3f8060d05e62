// The main cases of the @anthropic-ai/sdk package for Node against one model. One JSON object on standard output.
"use strict";
const { createRequire } = require("node:module");
const from = createRequire(process.env.CLIENTS + "/package.json");
const Anthropic = from("@anthropic-ai/sdk");
const { jsonSchemaOutputFormat } = from("@anthropic-ai/sdk/helpers/json-schema");
const { betaTool } = from("@anthropic-ai/sdk/helpers/beta/json-schema");

const model = process.env.MODEL;
const png = process.env.PNG;
const options = { baseURL: process.env.GATEWAY, apiKey: process.env.KEY, maxRetries: 0, timeout: 20000 };
const client = new Anthropic(options);
const user = (content) => ({ role: "user", content });
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const weather = { name: "get_weather", description: "The weather", input_schema: schema };
const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

const cases = {
  async stream_helper() {
    let deltas = "";
    const stream = client.messages.stream({ model, max_tokens: 100, messages: [user("hello")] });
    stream.on("text", (delta) => (deltas += delta));
    const made = await stream.finalMessage();
    return { deltas, text: textOf(made), stop: made.stop_reason, model: made.model, told: made.usage.input_tokens > 0 };
  },
  async thinking_and_tools() {
    const shared = { model, max_tokens: 3000, thinking: { type: "enabled", budget_tokens: 1024 }, tools: [weather] };
    const messages = [user('call get_weather {"city": "Bonn"}')];
    const first = await client.messages.stream({ ...shared, messages }).finalMessage();
    const call = first.content.find((block) => block.type === "tool_use");
    const result = { type: "tool_result", tool_use_id: call.id, content: "rain" };
    messages.push({ role: "assistant", content: first.content }, user([result]));
    const second = await client.messages.create({ ...shared, messages });
    return { kinds: first.content.map((block) => block.type), args: call.input, stop: first.stop_reason, text: textOf(second) };
  },
  async tool_runner() {
    const asked = [];
    const run = (input) => (asked.push(input.city), "rain in " + input.city);
    const tool = betaTool({ name: "get_weather", description: "The weather", inputSchema: schema, run });
    const messages = [user('call get_weather {"city": "Bonn"}')];
    const made = await client.beta.messages.toolRunner({ model, max_tokens: 100, messages, tools: [tool] });
    return { asked, text: textOf(made) };
  },
  async json_schema() {
    const output_config = { format: jsonSchemaOutputFormat(schema) };
    const made = await client.messages.parse({ model, max_tokens: 100, messages: [user("where?")], output_config });
    return made.parsed_output;
  },
  async vision() {
    const source = { type: "base64", media_type: "image/png", data: png };
    const content = [{ type: "image", source }, { type: "text", text: "look" }];
    return textOf(await client.messages.create({ model, max_tokens: 100, messages: [user(content)] }));
  },
  async count_tokens() {
    return (await client.messages.countTokens({ model, messages: [user("hello there")], tools: [weather] })).input_tokens;
  },
  async models() {
    const ids = [];
    for await (const one of client.models.list()) ids.push(one.id);
    return ids.includes(model);
  },
  async error_is_typed() {
    try {
      await new Anthropic({ ...options, apiKey: "sk-wrong" }).messages.create({ model, max_tokens: 9, messages: [user("x")] });
    } catch (error) {
      return { typed: error instanceof Anthropic.AuthenticationError, status: error.status, kind: error.error.error.type };
    }
  },
  async bad_request_is_typed() {
    try {
      await client.messages.create({ model, max_tokens: "many", messages: [user("x")] });
    } catch (error) {
      return { typed: error instanceof Anthropic.BadRequestError, status: error.status };
    }
  },
  // The upstream answers 429 to what says so the first time.
  async rate_limit_is_retried() {
    const patient = new Anthropic({ ...options, maxRetries: 2 });
    return textOf(await patient.messages.create({ model, max_tokens: 100, messages: [user("busy at first")] }));
  },
};

(async () => {
  const told = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      told[name] = await run();
    } catch (error) {
      told[name] = { failed: String(error && error.stack).slice(0, 800) };
    }
  }
  process.stdout.write(JSON.stringify(told));
})();
