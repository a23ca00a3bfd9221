"""Starts the workers of a run on a Ray cluster. Written by `fanfold run --on ray`."""

import ctypes
import json
import os
import signal
import subprocess

import ray

PLAN = None


class Killed(Exception):
    """A signal ended the worker, so it starts again."""


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@ray.remote(max_retries=5, retry_exceptions=[Killed], num_cpus=1)
def work(number, index):
    server = PLAN["before"] and subprocess.Popen(["/bin/bash", "-c", PLAN["before"]], start_new_session=True)
    try:
        if server:
            server.wait()
        make(number, index)
    finally:
        if server:
            os.killpg(server.pid, signal.SIGTERM)


def make(number, index):
    words = [str(index) if word == "INDEX" else word for word in PLAN["tables"][number]["words"]]
    with open(os.path.join(PLAN["logs"], f"{number + 1}-{index}.log"), "ab") as log:
        code = subprocess.Popen(words, stdout=log, stderr=log, preexec_fn=die_with_parent).wait()
    if code < 0:
        raise Killed(f"signal {-code}")
    if code:
        raise RuntimeError(f"worker {index} ended with exit code {code}")


ray.init()
# One table after another: a worker that waited for another one would keep its CPU from it.
for number, table in enumerate(PLAN["tables"]):
    ray.get([work.remote(number, index) for index in range(table["workers"])])
