"""Plug-ins: names to code, loaded late; what is not used is not imported.

The one table of what can be plugged in. A new engine or source is one file and one line here.
"""

from importlib import import_module
from typing import Any

from edgechat.errors import UnknownName

ENGINES = {
    "llama_cpp": "edgechat.engine.llama.engine:LlamaCpp",
    "transformers": "edgechat.engine.torch.engine:Transformers",
    "fake": "edgechat.engine.fake:Fake",
}
# What is known before an engine loads a model, by the engine's name.
FORECASTS = {
    "llama_cpp": "edgechat.engine.llama.memory:Forecast",
    "transformers": "edgechat.engine.torch.snapshot:Forecast",
    "fake": "edgechat.engine.fake:Forecast",
}
# For models that give vectors instead of answers.
EMBEDDERS = {
    "llama_cpp": "edgechat.engine.llama.embedder:LlamaEmbedder",
    "fake": "edgechat.engine.fake:FakeEmbedder",
}
# For models that take pictures.
EYES = {
    "llama_cpp": "edgechat.engine.llama.eyes:LlamaEyes",
    "fake": "edgechat.engine.fake_eyes:FakeEyes",
}
SOURCES = {
    "modelscope": "edgechat.hub.modelscope:ModelScope",
    "pypi": "edgechat.hub.pypi:Pypi",
    "https": "edgechat.hub.https:Https",
    "hf": "edgechat.hub.huggingface:HuggingFace",
}
# What looks into a projector's weights brings numpy; commands that do not need not wait for it.
PROJECTORS = {
    "shrink": "edgechat.gguf.eyes:shrink",
    "compare": "edgechat.bench.likeness:compare",
}
# What comes with an extra.
EXTRAS = {"otel": "edgechat.observe.tracing:Tracing"}
# The web framework takes half a second to import; commands that do not serve need not wait for it.
DOORS = {
    "http": "edgechat.api.app:create_app",
    "uvicorn": "edgechat.api.doors.server:config",
    "server": "edgechat.cli.server:Server",
}


def check(table: dict[str, str], name: str, what: str) -> None:
    """Raise UnknownName, which lists the choices, unless `name` is in `table`."""
    if name not in table:
        raise UnknownName(what, name, list(table))


def load(table: dict[str, str], name: str, what: str) -> Any:
    """The attribute that `name` stands for in `table`; an unknown name lists the choices."""
    check(table, name, what)
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)
