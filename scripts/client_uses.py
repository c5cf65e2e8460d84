"""Ordinary uses of Python's client libraries against a running server; run by scripts/clients.py, in a venv of its own.

    python client_uses.py CLIENT BASE MODEL      a line for each use: its name, a tab, "ok" or what went wrong

Only what the server is to blame for counts: that it answers in a shape that the client reads. What a small model says
is its own affair. Nothing here is imported by edgechat, so modules are looked up where they are used.
"""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

Use = Callable[[], Any]
HI = [{"role": "user", "content": "Say hi."}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "The weather in a city", "parameters": CITY, "strict": True}
ASK = "What is the weather in Oslo? Use the tool."


def openai(base: str, model: str) -> dict[str, Use]:
    """The official package: chat, responses, models."""
    client = import_module("openai").OpenAI(base_url=f"{base}/v1", api_key="none", timeout=600, max_retries=0)
    chat, responses = client.chat.completions, client.responses
    tool = {"type": "function", "function": FUNCTION}

    def tool_round() -> None:
        asked = {"role": "user", "content": ASK}
        first = chat.create(model=model, messages=[asked], tools=[tool], tool_choice="required", max_tokens=60)
        call = first.choices[0].message.tool_calls[0]
        told = {"role": "tool", "tool_call_id": call.id, "content": "-3"}
        chat.create(model=model, messages=[asked, first.choices[0].message, told], tools=[tool], max_tokens=20)

    def turns() -> None:
        first = responses.create(model=model, input="Say hi.", max_output_tokens=10)
        second = responses.create(model=model, input="Again.", previous_response_id=first.id, max_output_tokens=10)
        assert responses.retrieve(second.id).previous_response_id == first.id

    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    return {
        "listing": lambda: next(iter(client.models.list())),
        "plain": lambda: chat.create(model=model, messages=HI, max_tokens=10),
        "streamed": lambda: [
            part.choices[0] for part in chat.create(model=model, messages=HI, max_tokens=9, stream=True)
        ],
        "tool round": tool_round,
        "structured": lambda: chat.create(model=model, messages=HI, max_tokens=40, response_format=form),
        "responses": lambda: list(responses.create(model=model, input="Hi", max_output_tokens=9, stream=True)),
        "several turns": turns,
    }


def anthropic(base: str, model: str) -> dict[str, Use]:
    """The official package, its tool runner included."""
    module = import_module("anthropic")
    client = module.Anthropic(base_url=base, api_key="none", timeout=600, max_retries=0)

    def streamed() -> None:
        with client.messages.stream(model=model, max_tokens=9, messages=HI) as stream:
            assert stream.get_final_message().usage.input_tokens >= 0

    def runner() -> None:
        def weather(city: str) -> str:
            """The weather in a city."""
            return f"-3 in {city}"

        asked = [{"role": "user", "content": ASK}]
        tools = [module.beta_tool(weather)]
        client.beta.messages.tool_runner(model=model, max_tokens=60, messages=asked, tools=tools).until_done()

    return {
        "counting": lambda: client.messages.count_tokens(model=model, messages=HI).input_tokens,
        "plain": lambda: client.messages.create(model=model, max_tokens=9, messages=HI),
        "streamed": streamed,
        "tool runner": runner,
    }


def ollama(base: str, model: str) -> dict[str, Use]:
    """The official package."""
    module = import_module("ollama")
    client = module.Client(host=base, timeout=600)
    few = {"num_predict": 10, "num_ctx": 1 << 20, "repeat_last_n": 64}

    def embed() -> None:
        try:
            client.embed(model=model, input="hi")
        except module.ResponseError as error:
            assert "embeddings" in error.error  # a model that answers says so in words

    return {
        "listing": lambda: (client.list().models[0].size, client.ps(), client.show(model).modelinfo),
        "plain": lambda: client.chat(model=model, messages=HI, options=few, keep_alive="5m0s"),
        "streamed": lambda: list(client.chat(model=model, messages=HI, options=few, stream=True)),
        "tools": lambda: client.chat(model=model, messages=HI, tools=[{"function": FUNCTION}], options=few),
        "structured": lambda: client.chat(model=model, messages=HI, format=CITY, options={"num_predict": 40}),
        "generate": lambda: client.generate(model=model, prompt="hi", options=few),
        "embeddings": embed,
    }


def litellm(base: str, model: str) -> dict[str, Use]:
    """Its three ways in; aider uses the same ones."""
    complete = import_module("litellm").completion
    few = {"messages": HI, "max_tokens": 10, "timeout": 600}
    v1 = {"api_base": f"{base}/v1", "api_key": "none"}
    return {
        "ollama/": lambda: complete(model=f"ollama/{model}", api_base=base, **few),
        "ollama_chat/": lambda: complete(model=f"ollama_chat/{model}", api_base=base, **few),
        "ollama_chat/ streamed": lambda: list(
            complete(model=f"ollama_chat/{model}", api_base=base, stream=True, **few)
        ),
        "openai/": lambda: complete(model=f"openai/{model}", **v1, **few),
    }


def langchain(base: str, model: str) -> dict[str, Use]:
    """Its packages for OpenAI, Anthropic and Ollama."""
    few: dict[str, Any] = {"model": model, "max_retries": 0, "timeout": 600}
    chat = import_module("langchain_openai").ChatOpenAI(base_url=f"{base}/v1", api_key="none", max_tokens=40, **few)
    claude = import_module("langchain_anthropic").ChatAnthropic(base_url=base, api_key="none", max_tokens=40, **few)
    local = import_module("langchain_ollama").ChatOllama(base_url=base, model=model, num_predict=40, num_ctx=8192)
    tool = {"type": "function", "function": FUNCTION}
    return {
        "openai": lambda: chat.invoke("Say hi."),
        "openai streamed": lambda: list(chat.stream("Say hi.")),
        "openai tools": lambda: chat.bind_tools([tool]).invoke(ASK),
        "openai structured": lambda: chat.with_structured_output({**CITY, "title": "city"}).invoke("A city."),
        "anthropic": lambda: claude.invoke("Say hi."),
        "anthropic tools": lambda: claude.bind_tools([tool]).invoke(ASK),
        "ollama": lambda: local.invoke("Say hi."),
        "ollama tools": lambda: local.bind_tools([tool]).invoke(ASK),
    }


def pydantic_ai(base: str, model: str) -> dict[str, Use]:
    """Agents over OpenAI's chat."""
    agents = import_module("pydantic_ai")
    provider = import_module("pydantic_ai.providers.openai").OpenAIProvider(base_url=f"{base}/v1", api_key="none")
    served = import_module("pydantic_ai.models.openai").OpenAIChatModel(model, provider=provider)
    settings = {"max_tokens": 60}

    def tools() -> None:
        def weather(city: str) -> str:
            """The weather in a city."""
            return f"-3 in {city}"

        agents.Agent(served, tools=[weather], model_settings=settings, retries=3).run_sync(ASK)

    return {
        "plain": lambda: agents.Agent(served, model_settings=settings).run_sync("Say hi."),
        "tools": tools,
    }


def autogen(base: str, model: str) -> dict[str, Use]:
    """Its client for OpenAI's chat, which names every speaker."""
    run = import_module("asyncio").run
    say = import_module("autogen_core.models").UserMessage
    info = {
        "vision": False,
        "function_calling": True,
        "json_output": True,
        "family": "unknown",
        "structured_output": True,
    }
    made = import_module("autogen_ext.models.openai").OpenAIChatCompletionClient
    client = made(model=model, base_url=f"{base}/v1", api_key="none", model_info=info, max_tokens=10, timeout=600)
    return {"plain": lambda: run(client.create([say(content="Say hi.", source="planner")]))}


def instructor(base: str, model: str) -> dict[str, Use]:
    """Structured output over OpenAI's chat."""
    module, pydantic = import_module("instructor"), import_module("pydantic")
    client = import_module("openai").OpenAI(base_url=f"{base}/v1", api_key="none", timeout=600)
    shape = pydantic.create_model("City", city=(str, ...))
    few = {"model": model, "messages": HI, "response_model": shape, "max_retries": 0, "max_tokens": 60}
    modes = {"json schema": module.Mode.JSON_SCHEMA, "tools": module.Mode.TOOLS}
    return {name: partial(module.from_openai(client, mode=mode).create, **few) for name, mode in modes.items()}


def main(client: str, base: str, model: str) -> None:
    """Try every use of `client`."""
    warnings.simplefilter("ignore")
    for name, use in globals()[client](base, model).items():
        try:
            use()
            said = "ok"
        except Exception as error:  # whatever a client raises is what its user sees
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(f"{name}\t{said}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
