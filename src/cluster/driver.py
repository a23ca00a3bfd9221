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
def work(index):
    server = PLAN["before"] and subprocess.Popen(["/bin/bash", "-c", PLAN["before"]], start_new_session=True)
    try:
        make(index, server)
    finally:
        if server:
            os.killpg(server.pid, signal.SIGTERM)


def make(index, server):
    if server:
        server.wait()
    for number, table in enumerate(PLAN["tables"]):
        if index >= table["workers"]:
            continue
        words = [str(index) if word == "INDEX" else word for word in table["words"]]
        with open(os.path.join(PLAN["logs"], f"{number + 1}-{index}.log"), "ab") as log:
            code = subprocess.Popen(words, stdout=log, stderr=log, preexec_fn=die_with_parent).wait()
        if code < 0:
            raise Killed(f"signal {-code}")
        if code:
            raise RuntimeError(f"worker {index} ended with exit code {code}")


ray.init()
ray.get([work.remote(index) for index in range(PLAN["workers"])])
