"""`python -m edgechat_engine`: what the engine is, as JSON."""

import json
from importlib.metadata import version

from edgechat_engine import kernels, lib, possible
from edgechat_engine.needs import flags

if __name__ == "__main__":
    about = {
        "version": version("edgechat-engine"),
        "kernels": kernels(),
        "missing": sorted(possible(flags()) - set(kernels())),  # that this processor could run
        "system": lib.llama_print_system_info().decode().strip(" |"),
    }
    print(json.dumps(about))  # noqa: T201
