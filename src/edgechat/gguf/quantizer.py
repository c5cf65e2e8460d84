"""The process that quantises: one job in, llama.cpp's own words out on stderr, an exit status.

Started by quantize.py as `python -m edgechat.gguf.quantizer`.
"""

import ctypes
import os

from edgechat.gguf.quantize import to_child
from edgechat.process.parent import Parent
from edgechat_engine import lib


@lib.llama_log_callback
def _log(_level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    os.write(2, text)


def main() -> int:
    """Do the job; 0 when the target is whole."""
    parent = Parent(to_child)
    if (job := parent.read()) is None:
        return 1
    parent.listen(lambda _: None)
    lib.llama_log_set(_log, ctypes.c_void_p(0))
    lib.llama_backend_init()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.dry_run = job.body, job.threads, job.dry_run
    parameters.allow_requantize = True  # the parent has asked the person
    if job.head is not None:
        parameters.output_tensor_type = job.head
    return int(lib.llama_model_quantize(os.fsencode(job.source), os.fsencode(job.target), parameters))


if __name__ == "__main__":
    os._exit(main())
