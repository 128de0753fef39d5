"""Tests of what train_speed.py does around the measurements: recipes, logs, tables."""

import json
import tempfile
import types
import unittest
from pathlib import Path

import onebit_peer
import report
import train_speed

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
            job = train_speed.Job("onebit", 1, 256, [0])
            job.pinned = lambda words: list(map(str, words))
            return onebit_peer.measure(job, folder / "onebit-run", options)

    def test_the_log_is_read_without_its_first_epoch(self):
        result = self.measure("{onebit} train {run}")
        self.assertEqual([epoch["wall_s"] for epoch in result["epochs"]], [4.0, 5.0])
        self.assertEqual([epoch["cpu_s"] for epoch in result["epochs"]], [None, 4.5])
        self.assertEqual(result["versions"], {"onebit": "9.9"})

    def test_a_failing_program_is_quoted(self):
        with self.assertRaisesRegex(ValueError, "no such data"):
            self.measure("{onebit} fail")


class Tables(unittest.TestCase):
    def test_a_row_has_median_minimum_and_cpu(self):
        row = report.row(measured([3.0, 1.0, 2.0]))
        self.assertEqual(row, "| x | 1 | 256 | 2.00 | 1.00 | 1.00 | 50% |")

    def test_a_part_of_an_epoch_is_scaled(self):
        self.assertIn("| 20.00 | 20.00 |", report.row(measured([2.0], images=6_000)))

    def test_failures_are_on_the_page(self):
        machine = {"date": "d", "cpu": "c", "n_cores": 2, "commit": "abc"}
        record = {"machine": machine, "command": "go", "results": [measured([1.0])]}
        page = report.markdown(record | {"failures": ["larq: no wheel"]})
        self.assertIn("Failed: larq: no wheel.", page)
        self.assertEqual(page.count("\n| "), 2)
        json.dumps(record)


if __name__ == "__main__":
    unittest.main()
