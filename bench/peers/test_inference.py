"""Tests of what inference.py does around the measurements: processes, rounds, layers, tables."""

import json
import sys
import tempfile
import types
import unittest
from pathlib import Path

import inference
import inference_report
import workers

ENGINE_STAND_IN = """
import json, sys
print(json.dumps({"versions": {"stand-in": "1"}}), flush=True)
for line in sys.stdin:
    verb, seconds = line.split()
    if float(seconds) > 1:
        sys.exit("too long for me")
    times = {"min_ms": 1.0, "median_ms": 2.0, "p99_ms": 3.0, "calls": 4}
    print(json.dumps(times), flush=True)
"""
ONEBIT_STAND_IN = """#!/bin/sh
[ "$1" = --version ] && echo "onebit 9.9" && exit
[ "$1" = bench ] || { echo "no such net" >&2; exit 1; }
echo "{\\"isa\\": \\"$ONEBIT_ISA\\", \\"min_ms\\": 1.0, \\"median_ms\\": 2.0, \\"p99_ms\\": 3.0,"
echo "\\"runs\\": 4, \\"share_of_peak\\": 0.5, \\"layers\\": [1]}"
"""


def result(title, **changes):
    """A result as inference.py keeps it."""
    times = {"min_ms": 1.0, "median_ms": 2.0, "p99_ms": 3.0}
    setting = {"peer": title, "title": title, "net": "lfc", "batch": 64, "busy_before": 0.25}
    setting["one_bit"] = True
    return setting | times | {"rounds": [times], "error": "", "versions": {"x": "1"}} | changes


class Processes(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        # The test may run where only some cores are allowed.
        self.addCleanup(setattr, workers, "pinned", workers.pinned)
        workers.pinned = lambda core, command: list(map(str, command))

    def file(self, text):
        path = Path(self.folder.name) / "program"
        path.write_text(text)
        path.chmod(0o755)
        return path

    def test_a_worker_answers_until_it_is_ended(self):
        worker = workers.Worker(0, [sys.executable, self.file(ENGINE_STAND_IN)], {})
        self.assertEqual(worker.versions, {"stand-in": "1"})
        self.assertEqual(worker.time(0.5)["median_ms"], 2.0)
        self.assertEqual(worker.time(0.5)["calls"], 4)
        worker.end()
        self.assertEqual(worker.process.returncode, 0)

    def test_a_worker_that_dies_is_quoted(self):
        worker = workers.Worker(0, [sys.executable, self.file(ENGINE_STAND_IN)], {})
        with self.assertRaisesRegex(ValueError, "too long for me"):
            worker.time(2)

    def test_a_failing_engine_does_not_stop_the_others(self):
        def start(job, files, options):
            code = ENGINE_STAND_IN if job.title == "LiteRT int8 twin" else "raise OSError('no')"
            job.worker = workers.Worker(0, [sys.executable, self.file(code)], {})

        self.addCleanup(setattr, inference.Job, "start", inference.Job.start)
        inference.Job.start = start
        options = types.SimpleNamespace(core=0, rounds=2, seconds=0.1)
        group = [inference.Job(peer, "", "lfc", 1) for peer in ("litert-float", "litert-int8")]
        failed, good = inference.measure(group, None, options)
        self.assertIn("OSError: no", failed["error"])
        self.assertEqual(failed["rounds"], [])
        self.assertEqual((len(good["rounds"]), good["median_ms"]), (2, 2.0))
        json.dumps([failed, good])

    def test_onebit_is_held_to_its_instruction_set(self):
        command = [self.file(ONEBIT_STAND_IN), "bench", "net.bnn"]
        onebit = workers.Onebit(0, command, 1, "avx2")
        self.assertEqual(onebit.versions, {"onebit": "9.9"})
        times = onebit.time(0.1)
        self.assertEqual((times["median_ms"], times["min_ms"]), (2.0, 1.0))
        self.assertEqual(onebit.layers, [1])

    def test_onebit_that_fails_is_quoted(self):
        with self.assertRaisesRegex(ValueError, "no such net"):
            workers.run_onebit([self.file(ONEBIT_STAND_IN), "import"], {})


class Plans(unittest.TestCase):
    def test_twins_run_the_five_nets_only(self):
        twin = inference.PEERS["ort-u8s8"]
        self.assertTrue(twin.runs("cnv", 64))
        self.assertFalse(twin.runs(inference.SHARED, 1))
        self.assertFalse(twin.runs("layers_64x56", 1))

    def test_the_published_file_has_one_image_in_lce(self):
        self.assertTrue(inference.PEERS["lce-default"].runs(inference.SHARED, 1))
        self.assertFalse(inference.PEERS["lce-default"].runs(inference.SHARED, 64))
        self.assertTrue(inference.PEERS["onebit"].runs(inference.SHARED, 64))

    def test_layers_take_turns_with_their_single_layer(self):
        options = types.SimpleNamespace(nets=["layers"], isa=["avx512", "avx2"], batches=[1, 64])
        options.peers = ["onebit", "lce-default"]
        group = next(iter(inference.groups(options)))
        self.assertEqual(len(group), 6)
        self.assertEqual({job.net for job in group}, {"layers_64x56", "layers_64x56_1"})

    def test_a_layer_is_an_eighth_of_what_eight_more_take(self):
        many = result("x", net="layers_64x56", median_ms=10.0, min_ms=9.0)
        one = result("x", net="layers_64x56_1", median_ms=2.0, min_ms=1.0)
        expected = {"shape": "64x56", "title": "x", "median_ms": 1.0, "min_ms": 1.0}
        self.assertEqual(inference.layer_times([many, one]), [expected])
        self.assertEqual(inference.layer_times([many]), [])

    def test_a_record_has_no_paths_of_its_machine(self):
        options = types.SimpleNamespace(
            cache=Path("/a/cache"),
            shared=Path("/b/models"),
            onebit=Path("/c/bin/onebit"),
            out=Path("/d/out.json"),
        )
        text = f"/c/bin/onebit /b/models/x /a/cache/y {inference.ROOT}/z /d/out"
        self.assertEqual(inference.portable(text, options), "onebit SHARED/x CACHE/y z OUT/out")


class Tables(unittest.TestCase):
    def test_a_row_has_rates_and_the_ratio(self):
        results = [result("onebit"), result("y", median_ms=3.0), result("z", one_bit=False)]
        _, row, twin = inference_report.rows(results, {"lfc": {"bits": 1_000_000, "float": 0}})
        self.assertEqual(row, "| y | 3.00 | 1.00 | 21,333 | 0.021 | 1.50 | 25% |")
        self.assertEqual(twin, "| z | 2.00 | 1.00 | 32,000 |  | 1.00 | 25% |")

    def test_numbers_keep_three_digits(self):
        written = [inference_report.number(x) for x in (0.00263, 1.234, 12.34, 123.4, 12345.6)]
        self.assertEqual(written, ["0.00263", "1.23", "12.3", "123", "12,346"])

    def test_a_page_tells_failures_layers_and_answers(self):
        machine = {"date": "d", "cpu": "c", "core": 1, "n_cores": 2, "system": "s", "commit": "abc"}
        failed = result("z", rounds=[], error="line\nno | wheel")
        record = {
            "machine": machine,
            "command": "go",
            "settings": {"rounds": 1, "seconds": 1},
            "macs": {"lfc": {"bits": 10, "float": 0}},
            "results": [result("onebit"), failed],
            "layers": [{"shape": "64x56", "title": "x", "median_ms": 0.5}],
            "answers": [
                {"net": "cnv", "title": "x", "max_difference": 1e-6, "same_class": True},
                {"net": "cnv", "title": "y", "error": "died"},
            ],
        }
        page = inference_report.markdown(record)
        self.assertIn("- z, lfc, batch 64: `no / wheel`", page)
        self.assertIn("| x | 0.5000 |", page)
        self.assertIn("| cnv | x | 1.0e-06 | yes |", page)
        self.assertIn("| cnv | y | failed: `died` |", page)


if __name__ == "__main__":
    unittest.main()
