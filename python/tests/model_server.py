"""A model server on this machine with the protocol of OpenAI. It answers from the prompt, so answers repeat."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

SPEC = """
name = "tones"

[providers.local]
type = "openai"
base_url = "{address}"
max_concurrent_calls = 2

[models.small]
provider = "local"
model = "tiny"

[sources.speeches]
type = "file"
path = "speeches.csv"
delimiter = ";"
key = "id"

[stages.tone]
type = "analysis"
input = "speeches"
models = ["small"]
prompt = "Tone? {{{{ text }}}}"

[stages.tone.output]
label = {{ type = "string", enum = ["positive", "negative"] }}

[outputs.tone]
input = "tone"
path = "out/tone.csv"
columns = ["id", "label"]
rename = {{ label = "tone" }}
"""

ROWS = [{"id": f"s{i}", "text": f"Speech {i}, in good {'spirits' if i % 2 else 'faith'}."} for i in range(6)]


class ModelServer:
    """Counts its calls. Each takes `seconds`; with `status` all are refused."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.status = 200
        self.calls = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.calls += 1
                time.sleep(owner.seconds)
                self.reply(owner.status, owner.answer(request))

            def do_GET(self) -> None:
                self.reply(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

            def reply(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.status != 200:  # noqa: PLR2004
            return {"error": {"message": "no such model", "type": "invalid_request_error"}}
        label = "positive" if "spirits" in request["messages"][-1]["content"] else "negative"
        message = {"role": "assistant", "content": json.dumps({"label": label})}
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": "1", "object": "chat.completion", "model": "tiny", "choices": [choice], "usage": usage}

    def __enter__(self) -> ModelServer:
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.shutdown()
        self.http.server_close()
