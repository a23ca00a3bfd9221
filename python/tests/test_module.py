"""The module without any library: runs, sources, errors, the lock, the report, interrupts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
import unittest.mock
from pathlib import Path

import fanfold
from model_server import ROWS, SPEC, ModelServer


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.server = self.enterContext(ModelServer()) if hasattr(self, "enterContext") else self.enter()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.spec = self.folder / "study.toml"
        self.spec.write_text(SPEC.format(address=self.server.address))
        lines = ["id;text", *(f"{row['id']};{row['text']}" for row in ROWS)]
        (self.folder / "speeches.csv").write_text("\n".join(lines) + "\n")

    def enter(self) -> ModelServer:
        """`enterContext` is in Python 3.11 and later."""
        server = ModelServer()
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server


class Runs(Case):
    def test_a_run_has_tables_calls_lock_and_report(self) -> None:
        run = fanfold.run(self.spec)
        self.assertEqual((run.state, self.server.calls), ("done", 6))
        self.assertEqual(run.summary["stages"]["tone"]["answered"], 6)
        self.assertEqual(run.outputs["tone"].read_text().splitlines()[:3], ["id,tone", "s0,negative", "s1,positive"])
        self.assertEqual(list(run.tables), ["tone"])
        self.assertTrue(all(file.is_file() for file in [*run.tables["tone"].files, *run.calls.files]))
        self.assertIsNotNone(run.lock)
        assert run.lock is not None
        self.assertEqual(run.lock["sources"]["speeches"]["rows"], 6)
        self.assertIn(run.name, repr(run))
        self.assertIn("6 answered", run._repr_html_())
        page = run.report()
        self.assertIn("<!doctype html>", page[:200].lower())
        self.assertIn("srcdoc=", page._repr_html_())
        self.assertNotIn("<script>", page._repr_html_())
        self.assertIn("characters of HTML", repr(page))
        with self.assertRaisesRegex(KeyError, "there are `tone`"):
            run.tables["tones"]
        again = fanfold.run(self.spec)
        self.assertEqual((again.summary["stages"]["tone"]["kept"], self.server.calls), (6, 6))

    def test_rows_of_python_replace_a_source_and_the_study_stays(self) -> None:
        whole = fanfold.run(self.spec)
        rows = [{**row, "text": row["text"] + "!"} for row in ROWS[:3]]
        run = fanfold.run(self.spec, sources={"speeches": rows})
        self.assertEqual(self.server.calls, 6 + 3)
        self.assertNotEqual(run.outputs["tone"], whole.outputs["tone"])
        self.assertEqual(len(run.outputs["tone"].read_text().splitlines()), 1 + 3)
        self.assertEqual(len(whole.outputs["tone"].read_text().splitlines()), 1 + 6)
        assert run.lock is not None
        self.assertEqual(run.lock["sources"]["speeches"]["rows"], 3)
        self.assertTrue(fanfold.verify(self.spec), "the lock is that of the study")
        self.assertIn("3 answered", repr(run))
        self.assertIn("<html", run.report()[:500].lower())
        # The same rows are the same run, also from a generator.
        again = fanfold.run(self.spec, sources={"speeches": iter(rows)})
        self.assertEqual((again.name, self.server.calls), (run.name, 9))
        # Rows that were asked about before cost nothing.
        file = self.folder / "more.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, ROWS[0]][1:]))
        fanfold.run(self.spec, sources={"speeches": file})
        self.assertEqual(self.server.calls, 9)

    def test_a_spec_needs_no_file_for_a_source_that_is_passed(self) -> None:
        (self.folder / "speeches.csv").unlink()
        with self.assertRaises(fanfold.SpecError) as caught:
            fanfold.run(self.spec)
        self.assertIn("speeches.csv", caught.exception.diagnostics[0].message)
        sources = {"speeches": ROWS}
        self.assertEqual(fanfold.validate(self.spec, sources=sources), [])
        plan = fanfold.plan(self.spec, sources=sources)
        self.assertEqual(plan["stages"][0]["rows"], 6)
        self.assertEqual(self.server.calls, 0)
        run = fanfold.run(self.spec, sources=sources)
        self.assertIn("<html", run.report()[:500].lower())

    def test_arguments_choose_rows_and_settings(self) -> None:
        run = fanfold.run(self.spec, limit=2, settings={"models.small.temperature": 0.5, "models.small.stop": ["x"]})
        self.assertEqual((run.summary["stages"]["tone"]["rows"], run.lock), (2, None))
        run = fanfold.run(self.spec, rows=(3, 4), select="tone")
        self.assertEqual(run.summary["stages"]["tone"]["rows"], 2)
        with self.assertRaisesRegex(fanfold.SpecError, "temprature"):
            fanfold.run(self.spec, settings={"models.small.temprature": 0.5})

    def test_a_run_works_inside_a_running_event_loop(self) -> None:
        events: list[dict[str, object]] = []

        async def both() -> fanfold.Run:
            fanfold.run(self.spec, limit=1)
            return await asyncio.to_thread(fanfold.run, self.spec, progress=events.append)

        self.assertEqual(asyncio.run(both()).state, "done")
        kinds = [event["event"] for event in events]
        self.assertEqual((kinds[0], kinds[-1], "calls" in kinds), ("start", "end", True))

    def test_a_notebook_shows_progress(self) -> None:
        shown: list[str] = []

        class Handle:
            def update(self, text: str) -> None:
                shown.append(text)

        def display(text: str, display_id: bool) -> Handle:  # noqa: ARG001
            shown.append(text)
            return Handle()

        class Shell:
            kernel = object()

        package = type(sys)("IPython")
        package.get_ipython = Shell  # type: ignore[attr-defined]
        module = type(sys)("IPython.display")
        module.HTML, module.display = str, display  # type: ignore[attr-defined]
        with unittest.mock.patch.dict(sys.modules, {"IPython": package, "IPython.display": module}):
            fanfold.run(self.spec)
        self.assertIn("<td>tone</td>", shown[-1])
        self.assertIn("6/6 calls", shown[-1])

    def test_a_program_without_a_terminal_is_silent(self) -> None:
        text = io.StringIO()
        with contextlib.redirect_stderr(text):
            fanfold.run(self.spec)
        self.assertEqual(text.getvalue(), "")
        with contextlib.redirect_stderr(text):
            fanfold.run(self.spec, progress=True)
        self.assertIn("0 calls sent", text.getvalue())


class Errors(Case):
    def test_problems_of_a_spec_have_their_places(self) -> None:
        self.spec.write_text(self.spec.read_text().replace("prompt =", "promt ="))
        for command in (fanfold.run, fanfold.plan):
            with self.assertRaises(fanfold.SpecError) as caught:
                command(self.spec)
            problem = caught.exception.diagnostics[0]
            self.assertEqual((problem.rule, problem.help), ("unknown-field", "did you mean `prompt`?"))
            line = self.spec.read_text().splitlines()[problem.line - 1]
            self.assertTrue(line.startswith("promt"), line)
            self.assertIn("did you mean `prompt`?", str(caught.exception))
        problems = fanfold.validate(self.spec)
        self.assertIn("unknown-field", [problem.rule for problem in problems])
        self.assertEqual(Path(problems[0].file), self.spec)

    def test_each_exit_code_has_an_error(self) -> None:
        with self.assertRaises(fanfold.SpecError):
            fanfold.run(self.folder / "no.toml")
        with self.assertRaisesRegex(fanfold.SpecError, "did you mean `speeches`"):
            fanfold.run(self.spec, sources={"speech": ROWS})
        with self.assertRaises(fanfold.LockMismatch):
            fanfold.verify(self.spec)
        fanfold.run(self.spec)
        with self.assertRaises(fanfold.NotRecorded):
            replay = self.folder / "some.parquet"
            subprocess.run([fanfold.find_program(), "ledger", "export", self.spec, "-o", replay], check=True)
            fanfold.run(self.spec, sources={"speeches": [{"id": "new", "text": "New."}]}, replay=replay)
        self.server.status = 404
        with self.assertRaises(fanfold.EnvironmentProblem) as caught:
            fanfold.run(self.spec, sources={"speeches": [{"id": "new", "text": "New."}]})
        self.assertEqual(caught.exception.exit_code, 3)
        self.server.status = 200
        self.spec.write_text(self.spec.read_text() + "\n[budget]\ncalls = 1\n")
        with self.assertRaises(fanfold.BudgetSpent) as spent:
            fanfold.run(self.spec, sources={"speeches": [{"id": f"n{i}", "text": f"New {i}."} for i in range(9)]})
        assert spent.exception.run is not None
        self.assertEqual(spent.exception.run.state, "stopped")

    def test_a_value_that_is_not_a_table_is_refused(self) -> None:
        for wrong in ({"id": ["a"]}, 5, [["a"]], [{"id": object()}]):
            with self.assertRaises(fanfold.SpecError):
                fanfold.run(self.spec, sources={"speeches": wrong})
        self.assertEqual(list(self.folder.glob(".fanfold/frames/*")), [])

    def test_a_table_that_changed_is_found(self) -> None:
        run = fanfold.run(self.spec)
        run.outputs["tone"].write_text("id,tone\ns0,positive\n")
        verification = fanfold.verify(self.spec)
        self.assertFalse(verification)
        self.assertIn("outputs.tone.content", [drift["facet"] for drift in verification.drift])


@unittest.skipIf(os.name == "nt", "signals of POSIX")
class Interrupts(Case):
    SCRIPT = textwrap.dedent(
        """
        import signal, sys, fanfold

        # A shell ignores the signal for what it starts in the background, such as these tests.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            fanfold.run(sys.argv[1], sources={"speeches": [{"id": str(i), "text": str(i)} for i in range(500)]})
        except fanfold.Interrupted as stopped:
            print(stopped)
            sys.exit(7)
        """
    )

    def interrupted(self, *, group: bool) -> str:
        """What a run says when the process, or its whole group as by a terminal, is interrupted."""
        self.server.seconds = 0.3
        started = time.monotonic()
        command = [sys.executable, "-c", self.SCRIPT, str(self.spec)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        enough = self.server.calls + 5
        while self.server.calls < enough and time.monotonic() < started + 100:
            time.sleep(0.05)
        (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
        said, errors = process.communicate()
        watchdog.cancel()
        self.assertEqual(process.returncode, 7, errors.decode())
        return said.decode()

    def test_an_interrupt_keeps_every_finished_call(self) -> None:
        rows = [{"id": str(i), "text": str(i)} for i in range(500)]
        for group in (False, True):
            before = self.server.calls
            self.assertIn("every finished call is kept", self.interrupted(group=group))
            self.assertLess(self.server.calls - before, 100)
            # Each call in flight has ended and is recorded: none will be sent again.
            plan = fanfold.plan(self.spec, sources={"speeches": rows})
            self.assertEqual(plan["stages"][0]["calls_to_send"], 500 - self.server.calls)


if __name__ == "__main__":
    unittest.main()
