"""Time from `edgechat serve` to a ready model, and to the first token, for a model that is on the disk already.

python scripts/bench_startup.py [REF] [RUNS]       default: smollm2-135m-instruct, 5 runs
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

EDGECHAT = Path(sys.executable).with_name("edgechat")
PORT = 18473
BASE = f"http://127.0.0.1:{PORT}"


def ready() -> bool:
    """Whether /readyz says yes."""
    try:
        with urlopen(f"{BASE}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (HTTPError, URLError, OSError):
        return False


def first_token() -> float:
    """Seconds from a short question to the first byte of its answer's text."""
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 4}
    request = Request(f"{BASE}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    started = time.perf_counter()
    with urlopen(request, timeout=60) as answer:
        for line in answer:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                break
    return time.perf_counter() - started


def one_run(reference: str) -> tuple[float, float]:
    """(seconds to ready, seconds to the first token after that)."""
    started = time.perf_counter()
    command = [str(EDGECHAT), "serve", "--port", str(PORT), "--model", reference]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while not ready():
                if server.poll() is not None:
                    sys.exit("the server ended; run the command by hand to see why")
                time.sleep(0.01)
            return time.perf_counter() - started, first_token()
        finally:
            server.terminate()


def main() -> None:
    reference = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    subprocess.run([str(EDGECHAT), "pull", reference], check=True)
    times = [one_run(reference) for _ in range(runs)]
    for what, values in zip(("ready", "first token"), zip(*times, strict=True), strict=True):
        print(
            f"{what:12} median {statistics.median(values):.2f} s  ({min(values):.2f} to {max(values):.2f}, {runs} runs)"
        )


if __name__ == "__main__":
    main()
