"""Tests of what train_speed.py does around the measurements: options, recipes, logs, tables."""

import argparse
import json
import os
import tempfile
import time
import types
import unittest
from pathlib import Path

import onebit_peer
import report
import train_speed
from train_nets import NETS

RECIPE = (Path(__file__).parent / "lfc.toml").read_text()
ONEBIT_STAND_IN = """#!/bin/sh
[ "$1" = --version ] && echo "onebit 9.9" && exit
[ "$1" = fail ] && echo "no such data" >&2 && exit 1
mkdir -p "$2" && cat > "$2/log.jsonl" <<END
{"event": "start"}
{"epoch": 1, "seconds": 9.0, "loss": 2.0}
{"epoch": 2, "seconds": 4.0, "loss": 1.0}
{"epoch": 3, "seconds": 5.0, "cpu_seconds": 4.5, "loss": 0.5}
END
"""
# Writes its three epochs, then trains on until it is interrupted.
ENDLESS_STAND_IN = ONEBIT_STAND_IN + """
trap 'touch "$2/interrupted"; exit 130' INT
while :; do sleep 0.05; done
"""


def measured(walls, **changes):
    """A result as train_speed.py keeps it."""
    epochs = [{"wall_s": wall, "cpu_s": wall / 2, "loss": 1.0} for wall in walls]
    setting = {"trainer": "x", "threads": 1, "batch": 256, "images": 60_000, "busy_before": 0.5}
    return setting | {"epochs": epochs, "versions": {"x": "1"}} | changes


class Recipes(unittest.TestCase):
    def test_batch_and_epochs_are_replaced(self):
        text = onebit_peer.recipe_text(RECIPE, batch=100, epochs=7)
        self.assertIn("\nbatch = 100\n", text)
        self.assertIn("\nepochs = 7\n", text)

    def test_a_recipe_that_holds_images_back_is_refused(self):
        text = RECIPE.replace("validation = 0", "validation = 5000")
        with self.assertRaisesRegex(ValueError, "validation"):
            onebit_peer.recipe_text(text, batch=100, epochs=7)

    def test_a_recipe_of_two_stages_is_refused(self):
        with self.assertRaisesRegex(ValueError, "has 2"):
            onebit_peer.recipe_text(RECIPE + "batch = 5\n", batch=100, epochs=7)


class BitwiseStages(unittest.TestCase):
    def test_the_stage_in_bits_is_kept_alone(self):
        for name in ("cnv", "resnet20"):
            text = NETS[name].recipe.read_text()
            kept = onebit_peer.bitwise_stage_only(text)
            self.assertEqual(kept.count("[[stage]]"), 1, name)
            self.assertIn('kind = "bitwise"', kept)
            self.assertNotIn('kind = "real"', kept)
            head = text.index("[[stage]]")
            self.assertEqual(kept[:head], text[:head])

    def test_a_recipe_without_one_is_refused(self):
        text = NETS["cnv"].recipe.read_text().replace('"bitwise"', '"float"')
        with self.assertRaisesRegex(ValueError, "it has 0"):
            onebit_peer.bitwise_stage_only(text)

    def test_gradients_are_the_recipes_own_unless_they_are_named(self):
        job = train_speed.Job("cnv", "onebit", 2, 64, [0, 1])
        own = onebit_peer.settings(job, 640, 4, None)
        self.assertEqual(own[::2], ["--set"] * (len(own) // 2))
        changes = {"examples=640", "stage.0.batch=64", "stage.0.epochs=4", "validation=0"}
        self.assertLessEqual(changes, set(own))
        named = onebit_peer.settings(job, 640, 4, "f32")
        self.assertEqual(set(named) - set(own), {'stage.0.gradients="f32"'})


class Onebit(unittest.TestCase):
    def measure(self, command):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            program = folder / "onebit"
            program.write_text(ONEBIT_STAND_IN)
            program.chmod(0o755)
            recipe = folder / "recipe.toml"
            recipe.write_text(RECIPE)
            options = types.SimpleNamespace(
                recipe=recipe,
                epochs=2,
                onebit=str(program),
                data="mnist",
                onebit_command=command,
                onebit_field="seconds",
            )
            job = train_speed.Job("lfc", "onebit", 1, 256, [0])
            job.pinned = lambda words: list(map(str, words))
            return onebit_peer.measure(job, folder / "onebit-run", options)

    def measure_sample(self, stand_in, epochs):
        """The result, and whether the program was interrupted."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            program = folder / "onebit"
            program.write_text(stand_in)
            program.chmod(0o755)
            options = types.SimpleNamespace(
                recipe=NETS["cnv"].recipe,
                epochs=epochs,
                onebit=str(program),
                data="cifar10",
                onebit_command="{onebit} train {run}",
                onebit_field="seconds",
            )
            job = train_speed.Job("cnv", "onebit", 1, 128, [0])
            job.pinned = lambda words: list(map(str, words))
            run = folder / "onebit-run"
            result = onebit_peer.measure_sample(job, run, 640, None, options)
            return result, (run / "run/interrupted").exists()

    def test_a_sample_ends_with_its_last_timed_epoch(self):
        result, was_interrupted = self.measure_sample(ENDLESS_STAND_IN, epochs=1)
        self.assertEqual([epoch["wall_s"] for epoch in result["epochs"]], [4.0])
        self.assertTrue(was_interrupted)
        self.assertIn("examples=640", result["settings"])

    def test_a_program_that_ends_early_is_named(self):
        with self.assertRaisesRegex(ValueError, "onebit ended with 0"):
            self.measure_sample(ONEBIT_STAND_IN, epochs=3)

    def test_the_log_is_read_without_its_first_epoch(self):
        result = self.measure("{onebit} train {run}")
        self.assertEqual([epoch["wall_s"] for epoch in result["epochs"]], [4.0, 5.0])
        self.assertEqual([epoch["cpu_s"] for epoch in result["epochs"]], [None, 4.5])
        self.assertEqual(result["versions"], {"onebit": "9.9"})

    def test_a_failing_program_is_quoted(self):
        with self.assertRaisesRegex(ValueError, "no such data"):
            self.measure("{onebit} fail")


class Options(unittest.TestCase):
    def refused(self, **changes):
        """What the command line says of these options."""
        options = {"net": "cnv", "peers": "torch", "batches": None, "data": None, "recipe": None}
        options |= {"onebit_command": None, "quick": False, "install_only": False, "sample": 5120}
        parser = argparse.ArgumentParser()

        def error(message):
            raise ValueError(message)

        parser.error = error
        try:
            filled = train_speed.fill_in(argparse.Namespace(**options | changes))
            train_speed.check(filled, parser)
        except ValueError as refusal:
            return str(refusal)
        return None

    def test_options_that_do_not_fit_are_refused(self):
        self.assertIsNone(self.refused())
        self.assertIsNone(self.refused(net="cnv,resnet20", batches="64,128"))
        self.assertIn("no net vgg", self.refused(net="cnv,vgg"))
        self.assertIn("table of its own", self.refused(net="lfc,cnv"))
        self.assertIn("no peer jax", self.refused(peers="jax"))
        self.assertIn("multiple of 100", self.refused(batches="100"))
        self.assertIn("float32 already", self.refused(net="lfc", peers="onebit-f32", data="d"))
        self.assertIn("each net by itself", self.refused(net="cnv,resnet20", recipe=Path("r")))

    def test_the_folder_of_the_data_is_found_as_onebit_finds_it(self):
        both = {"ONEBIT_CIFAR10": "batches", "ONEBIT_DATA": "data"}
        self.assertEqual(train_speed.data_folder("cifar10", both), "batches")
        self.assertEqual(train_speed.data_folder("mnist", both), str(Path("data") / "mnist"))
        self.assertIsNone(train_speed.data_folder("mnist", {"ONEBIT_CIFAR10": "batches"}))


class CpuSeconds(unittest.TestCase):
    def test_a_process_own_seconds_are_read(self):
        before = time.process_time()
        read = onebit_peer.cpu_seconds(os.getpid())
        after = time.process_time()
        # The system counts in ticks, of which user and system time each lose a part.
        slack = 3 / os.sysconf("SC_CLK_TCK")
        self.assertTrue(before - slack <= read <= after + slack, (before, read, after))


class Tables(unittest.TestCase):
    def test_a_row_has_median_minimum_and_cpu(self):
        row = report.row(measured([3.0, 1.0, 2.0]))
        self.assertEqual(row, "| x | 1 | 256 | 2.00 | 1.00 | 1.00 | 50% |")

    def test_a_part_of_an_epoch_is_scaled(self):
        self.assertIn("| 20.00 | 20.00 |", report.row(measured([2.0], images=6_000)))

    def test_a_sample_is_scaled_and_compared_with_onebit(self):
        setting = {"net": "cnv", "batch": 128, "images": 5_000}
        results = [
            measured([2.0, 4.0, 3.0], trainer="onebit", **setting),
            measured([9.0], trainer="onebit", **setting | {"net": "resnet20"}),
            measured([6.0], **setting),
            measured([6.0], **setting | {"threads": 2}),
        ]
        rows = [report.sample_row(result, results) for result in results]
        self.assertEqual(rows[0], "| CNV | onebit | 1 | 30.0 | 1667 | 1.00 | 15.0 | 50% |")
        self.assertEqual(rows[2], "| CNV | x | 1 | 60.0 | 833 | 2.00 | 30.0 | 50% |")
        self.assertIn("| 833 | - |", rows[3])
        machine = {"date": "d", "cpu": "c", "n_cores": 2, "commit": "abc"}
        record = {"machine": machine, "command": "go", "nets": ["cnv", "resnet20"]}
        page = report.markdown(record | {"results": results, "failures": []})
        self.assertIn("5,000 images in batches of 128", page)
        self.assertTrue(all(row in page for row in rows))

    def test_failures_are_on_the_page(self):
        machine = {"date": "d", "cpu": "c", "n_cores": 2, "commit": "abc"}
        record = {"machine": machine, "command": "go", "results": [measured([1.0])]}
        page = report.markdown(record | {"failures": ["larq: no wheel"]})
        self.assertIn("Failed: larq: no wheel.", page)
        self.assertEqual(page.count("\n| "), 2)
        json.dumps(record)


if __name__ == "__main__":
    unittest.main()
