"""Whether the engines give the same answers, before their times are worth anything.

In: the files of inference.py. Out: for the small nets, how far each one-bit engine is from Larq
Compute Engine's default kernels, and for the published QuickNet, from its published answer. Deep
nets of random weights are left out: the last bit of a float sum turns a sign, and that the rest.
"""

import functools
import json
import sys
from pathlib import Path

import environments
import inference_nets
import workers
from inference_nets import SHARED

HERE = Path(__file__).resolve().parent
N_IMAGES = 8
NETS = ("lfc", "cnv", SHARED)
ELEPHANT = "models/quicknet/quicknet_elephant_input_1x224x224x3_f32.bin"
ELEPHANT_ANSWER = "models/quicknet/quicknet_elephant_probs_1000_f32.bin"
REFERENCE = "lce-default"
# Float sums in another order differ by this much of an output around 1.
TOLERANCE = 1e-4


def imported(files, program, net):
    """The net's .bnn, imported anew by this onebit."""
    folder = files.folder / "imported"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{net}.bnn"
    out.unlink(missing_ok=True)
    workers.run_onebit([program, "import", files.get(net, "binary", 1), "-o", out], {})
    return out


def compare_all(files, options, peers):
    """A result for each engine and net: the difference, or why there is none."""
    results = []
    for net in (net for net in NETS if net in options.nets):
        try:
            images = make_images(files, net)
            expected = expected_answers(files, options, peers, net, images)
        except (ValueError, OSError) as error:
            results.append({"net": net, "title": "images and reference", "error": str(error)})
            continue
        for title, answer in engines(files, options, peers, net):
            out = files.folder / "answers" / f"{net}-{title.replace(' ', '-')}.npy"
            result = {"net": net, "title": title}
            try:
                answer(images, out)
                script = ["answers.py", "compare", out, expected]
                result |= json.loads(numpy_script(files, *script))
                result["agree"] = result["max_difference"] <= TOLERANCE
            except (ValueError, OSError, KeyError) as error:
                result["error"] = str(error)
                print(f"failed: answers of {title}, {net}: {error}", file=sys.stderr)
            results.append(result)
    return results


def numpy_script(files, script, *words):
    return inference_nets.run([environments.python_of("larq", files.cache), HERE / script, *words])


def input_shape(files, net):
    graph = json.loads((files.graph(net, "binary") / "graph.json").read_text())
    return graph["input"]["shape"][1:]


def make_images(files, net):
    """Random images; for the published net the photograph that it comes with."""
    folder = files.folder / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{net}-images.npy"
    shape = ",".join(map(str, input_shape(files, net)))
    if net == SHARED:
        numpy_script(files, "answers.py", "raw", files.shared_file(ELEPHANT), f"1,{shape}", out)
    else:
        numpy_script(files, "answers.py", "random", shape, N_IMAGES, out)
    return out


def expected_answers(files, options, peers, net, images):
    """What the others are compared with."""
    out = files.folder / "answers" / f"{net}-expected.npy"
    if net == SHARED:
        file = files.shared_file(ELEPHANT_ANSWER)
        numpy_script(files, "answers.py", "raw", file, "1,1000", out)
    else:
        peer_answers(files, options, peers[REFERENCE], net, "", images, out)
    return out


def peer_answers(files, options, peer, net, isa, images, out):
    """Runs a peer's script on the images."""
    worker = workers.Worker(options.core, peer.command(files, net, 1), workers.held(isa))
    try:
        worker.ask(f"answer {images} {out}")
    finally:
        worker.end()


def engines(files, options, peers, net):
    """The engines to compare: a title and what writes its answers."""
    for name in options.peers:
        peer = peers[name]
        if name == "onebit":
            for isa in options.isa:
                yield f"onebit, {isa}", onebit_answers(files, options, net, isa)
        elif peer.form in ("binary", "graph"):
            for isa in options.isa if peer.form == "graph" else [""]:
                title = f"{peer.title}, {isa}" if isa else peer.title
                answer = functools.partial(peer_answers, files, options, peer, net, isa)
                yield title, answer


def onebit_answers(files, options, net, isa):
    def answer(images, out):
        model = imported(files, options.onebit, net)
        command = [options.onebit, "run", model, "--input", images, "--output", out]
        workers.run_onebit([*command, "--engine", isa, "--threads", 1], {})

    return answer
