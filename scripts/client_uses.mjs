// Ordinary uses of npm's client libraries, each against a running server; run by scripts/clients.py.
//
//     node client_uses.mjs CLIENT BASE MODEL      a line for each use: its name, a tab, "ok" or what went wrong

const [client, base, model] = process.argv.slice(2);
const HI = [{ role: "user", content: "Say hi." }];
const ASK = "What is the weather in Oslo? Use the tool.";

const clients = {
  async openai() {
    const { default: OpenAI } = await import("openai");
    const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
    const chat = (more) => openai.chat.completions.create({ model, messages: HI, max_tokens: 10, ...more });
    return {
      listing: () => openai.models.list(),
      plain: () => chat(),
      streamed: async () => drained(await chat({ stream: true })),
      responses: () => openai.responses.create({ model, input: "Say hi.", max_output_tokens: 10 }),
    };
  },
  async ollama() {
    const { Ollama } = await import("ollama");
    const ollama = new Ollama({ host: base });
    const chat = (more) => ollama.chat({ model, messages: HI, options: { num_predict: 10 }, ...more });
    return {
      listing: () => ollama.list(),
      plain: () => chat(),
      streamed: async () => drained(await chat({ stream: true })),
      "an error in words": async () => {
        const told = await ollama.embed({ model, input: "hi" }).catch((error) => error.message);
        if (String(told).includes("object Object")) throw new Error(told);
      },
    };
  },
  async ai() {
    const { generateText, streamText, tool, jsonSchema, stepCountIs } = await import("ai");
    const { createOpenAI } = await import("@ai-sdk/openai");
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
    const { createOllama } = await import("ollama-ai-provider-v2");
    const models = {
      openai: createOpenAI({ baseURL: `${base}/v1`, apiKey: "none" })(model),
      anthropic: createAnthropic({ baseURL: `${base}/v1`, apiKey: "none" })(model),
      compatible: createOpenAICompatible({ name: "edgechat", baseURL: `${base}/v1` })(model),
      ollama: createOllama({ baseURL: `${base}/api` })(model),
    };
    const city = jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] });
    const weather = tool({ description: "The weather", inputSchema: city, execute: async () => "-3" });
    const uses = {};
    for (const [name, made] of Object.entries(models)) {
      const few = { model: made, maxOutputTokens: 40, maxRetries: 0, temperature: 0 };
      uses[name] = () => generateText({ ...few, prompt: "Say hi." });
      uses[`${name} tools`] = () =>
        failing(streamText({ ...few, prompt: ASK, tools: { weather }, toolChoice: "auto", stopWhen: stepCountIs(2) }));
      uses[`${name} turns`] = async () => {
        const first = await generateText({ ...few, messages: HI });
        await generateText({ ...few, messages: [...HI, ...first.response.messages, ...HI] });
      };
    }
    return uses;
  },
};

async function drained(stream) {
  for await (const part of stream) void part;
}

async function failing(result) {
  for await (const part of result.fullStream) if (part.type === "error") throw part.error;
}

for (const [name, use] of Object.entries(await clients[client]())) {
  const said = await use().then(
    () => "ok",
    (error) => `${error.name}: ${String(error.responseBody ?? error.message).replace(/\s+/g, " ").slice(0, 300)}`,
  );
  console.log(`${name}\t${said}`);
}
