// The main cases of the openai package for Node against one model. One JSON object on standard output.
"use strict";
const { createRequire } = require("node:module");
const from = createRequire(process.env.CLIENTS + "/package.json");
const OpenAI = from("openai");

const model = process.env.MODEL;
const png = process.env.PNG;
const options = { baseURL: process.env.GATEWAY + "/v1", apiKey: process.env.KEY, maxRetries: 0, timeout: 20000 };
const client = new OpenAI(options);
const user = (content) => ({ role: "user", content });
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const weather = { name: "get_weather", description: "The weather", parameters: schema };

const cases = {
  async chat_stream_helper() {
    let deltas = "";
    const stream = client.chat.completions.stream({ model, messages: [user("hello")], stream_options: { include_usage: true } });
    stream.on("content", (delta) => (deltas += delta));
    const made = await stream.finalChatCompletion();
    const usage = await stream.totalUsage();
    return { deltas, text: made.choices[0].message.content, finish: made.choices[0].finish_reason, model: made.model, told: usage.total_tokens > 0 };
  },
  async chat_run_tools() {
    const asked = [];
    const tool = {
      type: "function",
      function: { ...weather, parse: JSON.parse, function: (args) => (asked.push(args.city), "rain in " + args.city) },
    };
    const messages = [user('call get_weather {"city": "Bonn"}')];
    const runner = client.chat.completions.runTools({ model, messages, tools: [tool], stream: true });
    return { text: await runner.finalContent(), asked };
  },
  async chat_json_schema() {
    const response_format = { type: "json_schema", json_schema: { name: "place", strict: true, schema } };
    const made = await client.chat.completions.parse({ model, messages: [user("where?")], response_format });
    return JSON.parse(made.choices[0].message.content);
  },
  async chat_vision() {
    const content = [{ type: "text", text: "look" }, { type: "image_url", image_url: { url: "data:image/png;base64," + png } }];
    const made = await client.chat.completions.create({ model, messages: [user(content)] });
    return made.choices[0].message.content;
  },
  async responses_stream_helper() {
    let deltas = "";
    const stream = client.responses.stream({ model, input: "hello" });
    stream.on("response.output_text.delta", (event) => (deltas += event.delta));
    const made = await stream.finalResponse();
    return { deltas, text: made.output_text, status: made.status, model: made.model, told: made.usage.total_tokens > 0 };
  },
  async responses_tools() {
    const tools = [{ type: "function", strict: true, ...weather }];
    const first = await client.responses.create({ model, input: 'call get_weather {"city": "Bonn"}', tools });
    const call = first.output.find((item) => item.type === "function_call");
    const input = [{ type: "function_call_output", call_id: call.call_id, output: "rain" }];
    const second = await client.responses.create({ model, previous_response_id: first.id, input, tools });
    return { args: JSON.parse(call.arguments), text: second.output_text };
  },
  async responses_json_schema() {
    const text = { format: { type: "json_schema", name: "place", strict: true, schema } };
    const made = await client.responses.parse({ model, input: "where?", text });
    return JSON.parse(made.output_text);
  },
  async models() {
    const ids = [];
    for await (const one of client.models.list()) ids.push(one.id);
    return ids.includes(model);
  },
  async error_is_typed() {
    try {
      await new OpenAI({ ...options, apiKey: "sk-wrong" }).chat.completions.create({ model, messages: [user("x")] });
    } catch (error) {
      return { typed: error instanceof OpenAI.AuthenticationError, status: error.status };
    }
  },
  async bad_request_is_typed() {
    try {
      await client.responses.create({ model, input: 5 });
    } catch (error) {
      return { typed: error instanceof OpenAI.BadRequestError, status: error.status };
    }
  },
  // The upstream answers 429 to what says so the first time.
  async rate_limit_is_retried() {
    const patient = new OpenAI({ ...options, maxRetries: 2 });
    const made = await patient.chat.completions.create({ model, messages: [user("busy at first")] });
    return made.choices[0].message.content;
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
