//! Recipes that are refused: what the message names, and that nothing is trained before it.

mod common;

use common::{GOOD, images, run_and_count};
use onebit_train::recipe::Recipe;

/// The message that refuses the recipe over images `[8, 8, 3]` of three classes; nothing may be trained.
fn refusal(text: &str) -> String {
    let recipe = match Recipe::parse(text) {
        Ok(recipe) => recipe,
        Err(error) => return error.to_string(),
    };
    let dir = tempfile::tempdir().unwrap();
    let (result, n_steps) = run_and_count(&recipe, &images([8, 8, 3], 2), dir.path());
    assert_eq!(n_steps, 0, "trained before it was refused:\n{text}");
    match result {
        Ok(_) => panic!("not refused:\n{text}"),
        Err(error) => error.to_string(),
    }
}

fn assert_names(text: &str, words: &[&str]) {
    let message = refusal(text);
    for word in words {
        assert!(
            message.contains(word),
            "`{word}` is not in: {message}\n{text}"
        );
    }
}

#[test]
fn the_good_recipe_is_good() {
    let recipe = Recipe::parse(GOOD).unwrap();
    assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
    let dir = tempfile::tempdir().unwrap();
    let (result, n_steps) = run_and_count(&recipe, &images([8, 8, 3], 2), dir.path());
    assert!(result.is_ok() && n_steps == 4);
}

/// A replacement in the good recipe, and what the message must name.
type BadCase<'a> = (&'a str, &'a str, &'a [&'a str]);

fn assert_all(cases: &[BadCase<'_>]) {
    for (from, to, words) in cases {
        assert!(GOOD.contains(from), "{from}");
        assert_names(&GOOD.replacen(from, to, 1), words);
    }
}

const MISFITS: &[BadCase<'_>] = &[
    (
        "channels = 8",
        "channels = 8\nkernel = 11\npad = 1",
        &["layer[1]", "11 by 11", "[8, 8, 4]"],
    ),
    (
        "channels = 8",
        "channels = 8\ngroups = 3",
        &["layer[1]", "3 groups", "[8, 8, 4]"],
    ),
    (
        "channels = 8",
        "channels = 8\npool = 9",
        &["layer[1]", "9 by 9", "[8, 8, 8]"],
    ),
    (
        "channels = 8",
        "channels = 8\nshortcut = \"duplicate\"\nkernel = 4\npad = 0",
        &["layer[1]", "[8, 8, 4]", "[5, 5, 8]"],
    ),
    (
        "channels = 8",
        "channels = 6\nshortcut = \"duplicate\"",
        &["layer[1]", "[8, 8, 4]", "[8, 8, 6]", "conv"],
    ),
    (
        "channels = 8",
        "channels = 6\nnorm = \"group\"",
        &["layer[1]", "8 groups", "6 channels"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"dense\"\nunits = 4",
        &["layer", "[1, 1, 4]", "3 classes"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"max-pool\"\nsize = 2",
        &["layer", "[4, 4, 8]", "3 classes"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"max-pool\"\nsize = 2\npad = 2",
        &["layer[2]", "pad smaller"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"avg-pool\"\nsize = 0",
        &["layer[2]", "size"],
    ),
    (
        "channels = 8",
        "channels = 8\nkernel = 9223372036854775807\ndilation = 3",
        &["layer[1]", "[8, 8, 4]"],
    ),
    (
        "channels = 8",
        "channels = 8\npad = 9223372036854775",
        &["layer[1]", "positions"],
    ),
    (
        "channels = 8",
        "channels = 8\npad = 30000",
        &["layer[1]", "positions", "in all"],
    ),
    (
        "channels = 8",
        "channels = 8\nkernel = 256",
        &["layer[1]", "256 by 256", "[8, 8, 4]"],
    ),
    (
        "channels = 8",
        "channels = 8\npool = 0",
        &["layer[1]", "pool = 0"],
    ),
    (
        "channels = 8",
        "channels = 65536\n[[layer]]\nkind = \"conv\"\nchannels = 65536",
        &["layer[2]", "[65536, 589824]", "weights in all"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"dense\"\nunits = 65536\nrepeat = 3",
        &["layer[2]", "[65536, 65536]", "weights in all"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"dense\"\n[[layer]]\nkind = \"conv\"\nchannels = 3",
        &["layer[3]", "image", "dense layer"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"global-avg-pool\"\n[[layer]]\nkind = \"global-avg-pool\"",
        &["layer[3]", "image", "[1, 1, 8]"],
    ),
    (
        "encoding = \"sign\"\nat = 128",
        "encoding = \"thermometer\"\ncuts = [80, 160]",
        &["layer[0]", "image", "channel-thermometer"],
    ),
    (
        "[[layer]]\nkind = \"conv\"\nchannels = 8",
        "[[layer]]\nkind = \"block\"\nrepeat = 4096\nlayers = [{ kind = \"block\", repeat = 4096, layers = [{ kind = \"norm\", norm = \"none\" }] }]\n[[layer]]\nkind = \"conv\"\nchannels = 8",
        &["layer[1].layers", "repeated blocks"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"avg-pool\"\nsize = 70000\npad = 69999\nstride = 1",
        &["layer[2]", "positions"],
    ),
    (
        "[[layer]]\nkind = \"conv\"\nchannels = 8",
        "[[layer]]\nkind = \"block\"\nrepeat = 2\nlayers = [{ kind = \"max-pool\", size = 3 }, { kind = \"conv\", channels = 4, kernel = 4, pad = 0 }]\n[[layer]]\nkind = \"conv\"\nchannels = 8",
        &["layer[1].layers[1]", "4 by 4", "[2, 2, 4]"],
    ),
];

#[test]
fn layers_that_do_not_fit_are_named_with_their_shapes() {
    assert_all(MISFITS);
}

const NOT_LOWERABLE: &[BadCase<'_>] = &[
    (
        "channels = 4",
        "channels = 4\nshortcut = \"duplicate\"",
        &["layer[0]", "shortcut", "codes"],
    ),
    (
        "channels = 4",
        "channels = 4\ninput = \"heaviside\"",
        &["layer[0]", "codes"],
    ),
    (
        "channels = 4",
        "channels = 4\nscale_map = true",
        &["layer[0]", "scale_map"],
    ),
    (
        "channels = 8",
        "channels = 8\nnorm = \"batch-integer\"",
        &["layer[1]", "dense layer with a binary input"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"dense\"\nunits = 4\ninput = \"sign\"\nnorm = \"batch-integer\"\n[[layer]]\nkind = \"dense\"",
        &["dense1.norm", "last layer"],
    ),
    (
        "kind = \"dense\"",
        "kind = \"dense\"\ninput = \"sign\"\nbias = true\nnorm = \"batch-integer\"",
        &["layer[2]", "no bias"],
    ),
    (
        "channels = 8",
        "channels = 8\ngroups = 2\nscale_map = true",
        &["layer[1]", "one group"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"abc\", scale = \"mean\" }",
        &["layer[1]", "weights.scale"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"sign\", bits = 2 }",
        &["layer[1]", "weights.bits"],
    ),
    (
        "input = \"sign\"",
        "input = { form = \"sign\", bits = 2 }",
        &["layer[1]", "input.bits"],
    ),
    (
        "input = \"sign\"",
        "input = { form = \"dorefa\", bits = 2, clip = 1.5 }",
        &["layer[1]", "input.clip"],
    ),
    (
        "input = \"sign\"",
        "input = { form = \"stochastic\", estimator = \"tanh\" }",
        &["layer[1]", "input.estimator", "rsign"],
    ),
    (
        "input = \"sign\"",
        "input = \"heaviside\"\npad_value = -1",
        &["layer[1]", "pad_value", "0 to 1"],
    ),
    (
        "input = \"sign\"",
        "input = \"sign\"\npad_value = 2",
        &["layer[1]", "pad_value"],
    ),
    (
        "[[layer]]\nkind = \"conv\"\nchannels = 4",
        "[[layer]]\nkind = \"norm\"\nnorm = \"group\"\ngroups = 3\n[[layer]]\nkind = \"conv\"\nchannels = 4",
        &["layer", "norm1"],
    ),
    (
        "encoding = \"sign\"\nat = 128",
        "encoding = \"thermometer\"\ncuts = [9]",
        &["layer[0]", "image"],
    ),
    (
        "kind = \"bitwise\"",
        "kind = \"bitwise\"\ndropout_hidden = 0.1",
        &["stage[0].dropout_hidden", "[model]"],
    ),
    (
        "kind = \"bitwise\"",
        "kind = \"bitwise\"\ndropout_input = 0.1",
        &["stage[0].dropout_input", "[model]"],
    ),
    (
        "kind = \"bitwise\"",
        "kind = \"bitwise\"\nsparsity = 0.1",
        &["stage[0].sparsity", "ternary"],
    ),
    (
        "kind = \"bitwise\"",
        "kind = \"bitwise\"\noptimizer = { rule = \"bop\" }",
        &["stage[0].optimizer.rule", "binary-weights"],
    ),
    (
        "kind = \"bitwise\"",
        "kind = \"bitwise\"\ndistill = {}",
        &["teacher", "missing"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\n[[stage.group]]\nmatch = \"vectors\"\noptimizer = { rule = \"bop\" }",
        &["stage[0].group[0].optimizer.rule", "binary-weights"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\n[twin]\nkind = \"real\"\nepochs = 1\nbatch = 8\nlr = 0.1",
        &["twin.kind", "float"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\n[model]\nhidden = []\nnorm = \"none\"",
        &["model", "exclude"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\ndistill = {}\n[teacher]\n[teacher.stage]\nkind = \"float\"\nepochs = 1\nbatch = 8\nlr = 0.1\n[[teacher.layer]]\nkind = \"dense\"\nunits = 2",
        &["teacher.layer", "3 classes"],
    ),
];

#[test]
fn combinations_that_cannot_be_lowered_name_their_layer() {
    assert_all(NOT_LOWERABLE);
}

const OUT_OF_RANGE: &[BadCase<'_>] = &[
    ("channels = 8", "channels = 0", &["layer[1]", "1 to 65536"]),
    (
        "channels = 8",
        "channels = 8\nstride = 0",
        &["layer[1]", "stride"],
    ),
    (
        "channels = 8",
        "channels = 8\nrepeat = 0",
        &["layer[1]", "repeat = 0"],
    ),
    (
        "channels = 8",
        "channels = 8\nrepeat = 9223372036854775807",
        &["layer[1]", "repeat"],
    ),
    (
        "channels = 8",
        "channels = 8\nrepeat = 4000",
        &["layer[1]", "4096 steps"],
    ),
    (
        "channels = 8",
        "channels = 8\ngradient_bits = 0",
        &["layer[1]", "gradient_bits"],
    ),
    (
        "channels = 8",
        "channels = 8\ngradient_bits = 200",
        &["layer[1]", "gradient_bits"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"dorefa\", bits = 9 }",
        &["layer[1]", "weights.bits"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"abc\", bases = 0 }",
        &["layer[1]", "weights.bases"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"ternary\", sparsity = 1.0 }",
        &["layer[1]", "weights.sparsity"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"ternary\", fan_in = 0 }",
        &["layer[1]", "weights.fan_in"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"ternary\", fan_in = 3, sparsity = 0.5 }",
        &["layer[1]", "weights.sparsity", "weights.fan_in"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"sign\", fan_in = 3 }",
        &["layer[1]", "weights.fan_in"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"sign\", clip = -1.0 }",
        &["layer[1]", "weights.clip"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"twn\", estimator = \"ede\" }",
        &["layer[1]", "weights.estimator", "this form"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"sign\", estimator = \"progressive\" }",
        &["layer[1]", "weights.estimator", "activations"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"sign\", estimator = \"clipped\" }",
        &["layer[1]", "weights.estimator", "weights.clip"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"adabin\", estimator = \"ede\", clip = 1.0 }",
        &["layer[1]", "weights.clip", "clipped"],
    ),
    (
        "input = \"sign\"",
        "input = { form = \"dorefa\", bits = 0 }",
        &["layer[1]", "input.bits"],
    ),
    (
        "input = \"sign\"",
        "input = { form = \"sign\", clip = 0.0 }",
        &["layer[1]", "input.clip"],
    ),
    ("channels = 8", "chanels = 8", &["chanels"]),
    (
        "channels = 8",
        "channels = 8\nweights = \"bipolar\"",
        &["bipolar", "sign"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = { form = \"sign\", scales = \"mean\" }",
        &["scales"],
    ),
    (
        "input = \"sign\"",
        "input = { form = \"sign\", estimator = \"st\" }",
        &["st", "clipped"],
    ),
    ("kind = \"dense\"", "kind = \"dens\"", &["dens", "dense"]),
    (
        "kind = \"dense\"",
        "kind = \"global-avg-pool\"\nsize = 2",
        &["size"],
    ),
    ("norm = \"batch\"", "norms = \"batch\"", &["norms"]),
    ("lr = 0.01", "lr = 0.01\nwarmup = 2.0", &["stage[0].warmup"]),
    (
        "lr = 0.01",
        "lr = 0.01\nlabel_smoothing = 1.0",
        &["stage[0].label_smoothing"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\nloss = \"square-hinge\"\nlabel_smoothing = 0.1",
        &["stage[0].label_smoothing", "cross-entropy"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\n[[stage.group]]\nmatch = \"vectors\"\nlr_scale = \"glorot\"",
        &["stage[0].group[0].lr_scale", "weights"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\n[[stage.group]]\nmatch = \"vectors\"\nlayers = [\"conv1\", \"conv\"]",
        &["stage[0].group[0].layers", "`conv`", "conv1, conv2, dense1"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\n[[stage.group]]\nmatch = \"real-weights\"\noptimizer = { rule = \"bop\" }",
        &["stage[0].group[0].optimizer.rule", "binary-weights"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\nschedule = \"step\"",
        &["stage[0].steps", "is missing"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\nsteps = [1]",
        &["stage[0].steps", "schedule = \"step\""],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\noptimizer = { momentum = 0.5 }",
        &["stage[0].optimizer.momentum", "sgd"],
    ),
    (
        "channels = 8",
        "channels = 8\nweights = \"ternary\"",
        &["layer[1]", "weights.sparsity", "weights.fan_in"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\nstep_factor = 0.0",
        &["stage[0].step_factor"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\noptimizer = { beta2 = 1.0 }",
        &["stage[0].optimizer.beta2"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\noptimizer = { clip_share = -0.1 }",
        &["stage[0].optimizer.clip_share"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\ndistill = { temperature = 0.0 }",
        &["stage[0].distill.temperature"],
    ),
    (
        "lr = 0.01",
        "lr = 0.01\n[[stage.group]]\nmatch = \"vectors\"\nlr_factor = inf",
        &["stage[0].group[0].lr_factor"],
    ),
    ("at = 128", "at = 300", &["300"]),
];

#[test]
fn bop_is_refused_for_weights_that_are_more_than_signs() {
    let bop = |layers: &str| {
        format!(
            "lr = 0.01\n[[stage.group]]\nmatch = \"binary-weights\"\n{layers}optimizer = {{ rule = \"bop\" }}\n"
        )
    };
    for weights in [
        "{ form = \"ternary\", sparsity = 0.3 }",
        "\"twn\"",
        "\"adabin\"",
        "{ form = \"dorefa\", bits = 2 }",
        "{ form = \"sign\", standardise = \"libra\" }",
    ] {
        let text = GOOD.replace(
            "channels = 8",
            &format!("channels = 8\nweights = {weights}"),
        );
        assert_names(
            &text.replace("lr = 0.01", &bop("")),
            &["stage[0].group[0].optimizer.rule", "conv2", "layers"],
        );
        let elsewhere = text.replace("lr = 0.01", &bop("layers = [\"dense1\"]\n"));
        let recipe = Recipe::parse(&elsewhere).unwrap();
        let dir = tempfile::tempdir().unwrap();
        run_and_count(&recipe, &images([8, 8, 3], 2), dir.path())
            .0
            .unwrap();
    }
    let scaled = GOOD.replace(
        "channels = 8",
        "channels = 8\nweights = { form = \"sign\", scale = \"mean\" }",
    );
    let recipe = Recipe::parse(&scaled.replace("lr = 0.01", &bop(""))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    run_and_count(&recipe, &images([8, 8, 3], 2), dir.path())
        .0
        .unwrap();
}

#[test]
fn networks_of_the_short_form_are_bounded_and_have_no_defaults() {
    let text = "name = \"g\"\ndata = \"x\"\nvalidation = 8\n[input]\nencoding = \"sign\"\nat = 128\n[model]\nhidden = [8]\nnorm = \"batch\"\n\
        [[stage]]\nkind = \"bitwise\"\nepochs = 1\nbatch = 8\nlr = 0.01\n";
    assert_names(
        &text.replace("[8]", "[65536, 65536]"),
        &["model.hidden[1]", "[65536, 65536]"],
    );
    assert_names(
        &text.replace("[[stage]]", "[defaults]\nweights = \"twn\"\n[[stage]]"),
        &["defaults", "[[layer]]"],
    );
    let one_class = onebit_data::Dataset {
        n_classes: 1,
        ..images([8, 8, 3], 2)
    };
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::parse(text).unwrap();
    let (result, _) = run_and_count(&recipe, &one_class, dir.path());
    let message = result.map(|o| o.test).unwrap_err().to_string();
    assert!(message.contains("one class"), "{message}");
}

#[test]
fn augmentation_of_what_is_no_image_is_refused() {
    let text = "name = \"g\"\ndata = \"x\"\nvalidation = 8\n[input]\nencoding = \"quantiles\"\nlevels = 2\n[model]\nhidden = [8]\nnorm = \"batch\"\n\
        [[stage]]\nkind = \"bitwise\"\nepochs = 1\nbatch = 8\nlr = 0.01\naugment_shift = 1\n";
    let pixels = images([2, 2, 2], 3);
    let flat = |split: &onebit_data::Split| {
        let onebit_data::Features::U8(pixels) = &split.features else {
            unreachable!("images are pixels")
        };
        let features = pixels.iter().map(|p| f32::from(*p)).collect();
        onebit_data::Split {
            features: onebit_data::Features::F32(features),
            labels: split.labels.clone(),
        }
    };
    let data = onebit_data::Dataset {
        shape: vec![8],
        train: flat(&pixels.train),
        test: flat(&pixels.test),
        ..pixels
    };
    let dir = tempfile::tempdir().unwrap();
    let (result, n_steps) = run_and_count(&Recipe::parse(text).unwrap(), &data, dir.path());
    let message = result.map(|o| o.test).unwrap_err().to_string();
    assert!(n_steps == 0 && message.contains("augment_"), "{message}");
    let plain = text.replace("augment_shift = 1", "");
    run_and_count(&Recipe::parse(&plain).unwrap(), &data, dir.path())
        .0
        .unwrap();
}

#[test]
fn numbers_out_of_range_and_unknown_keys_are_named() {
    assert_all(OUT_OF_RANGE);
}
