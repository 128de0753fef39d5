//! The numbers that each kind of parameter is stepped with.

use onebit_data::digits;

use super::*;
use crate::graph::{self, Extent, ValueKind};
use crate::mode::Mode;
use crate::optim::Rule;
use crate::recipe::Recipe;

/// A real and two binary layers; parameters of every kind.
fn network(stage: &str) -> (Stage, Network) {
    let text = format!(
        "name = \"t\"\ndata = \"digits\"\n[input]\nencoding = \"levels\"\nnormalise = true\n\
         [defaults]\nweights = \"sign\"\ninput = \"rsign\"\nnorm = \"batch\"\nunit = \"rprelu\"\n\
         [[layer]]\nkind = \"conv\"\nchannels = 4\nweights = \"real\"\n\
         [[layer]]\nkind = \"conv\"\nchannels = 6\nkernel = 2\ngroups = 2\n\
         weights = {{ form = \"sign\", scale = \"learned\" }}\n\
         [[layer]]\nkind = \"dense\"\nnorm = \"none\"\nbias = true\n\
         [[stage]]\nkind = \"bitwise\"\nepochs = 2\nbatch = 8\nlr = 0.5\n{stage}"
    );
    let recipe = Recipe::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let extent = Extent {
        height: 8,
        width: 8,
        channels: 1,
    };
    let kind = ValueKind::Levels { bits: 8, unit: 1.0 };
    let graph = graph::build(&recipe, extent, kind, digits().n_classes).unwrap();
    let stage = recipe.stages[0].clone();
    let network = Network::new(graph, Mode::of(&stage), 1);
    (stage, network)
}

/// The update of each parameter, by its step's name and role.
fn updates(stage: &str) -> Vec<(String, Role, Update)> {
    let (stage, network) = network(stage);
    let mut found = Vec::new();
    for (idx, state) in network.nodes.iter().enumerate() {
        for (role, _) in &state.params {
            let update = update_of(&stage, &network, (idx, *role), 0.5, 3);
            found.push((network.graph.nodes[idx].name.clone(), *role, update));
        }
    }
    found
}

const IS_BINARY: [&str; 2] = ["conv2", "dense1"];

#[test]
fn a_stages_numbers_are_for_all_but_decay_and_clips() {
    let stage = "latent_clip = 1.25\noptimizer = { rule = \"sgd\", weight_decay = 0.1, clip_share = 0.2 }\n";
    let updates = updates(stage);
    let roles: Vec<Role> = updates.iter().map(|(_, role, _)| *role).collect();
    for role in [
        Role::Weight,
        Role::Scale,
        Role::Bias,
        Role::Gamma,
        Role::Slope,
        Role::After,
    ] {
        assert!(roles.contains(&role), "{role:?}");
    }
    for (name, role, update) in updates {
        let is_weight = role == Role::Weight;
        let is_binary = is_weight && IS_BINARY.contains(&&*name);
        let expected = Update {
            rule: Rule::Sgd { momentum: 0.9 },
            lr: 0.5,
            decay: if is_weight && !is_binary { 0.1 } else { 0.0 },
            step: 3,
            latent_clip: if is_binary { 1.25 } else { f32::INFINITY },
            clip_share: if is_weight { 0.2 } else { 0.0 },
        };
        assert_eq!(update, expected, "{name} {role:?}");
    }
}

#[test]
fn a_groups_numbers_are_for_its_parameters() {
    let stage = "optimizer = { weight_decay = 0.1 }\n\
        [[stage.group]]\nmatch = \"vectors\"\nlayers = [\"conv2\"]\nlr_factor = 0.25\noptimizer = { rule = \"sgd\", weight_decay = 0.3 }\n\
        [[stage.group]]\nmatch = \"binary-weights\"\nlr_factor = 2.0\nlr_scale = \"glorot\"\n\
        [[stage.group]]\nmatch = \"vectors\"\nlr_factor = 4.0\n";
    // Fan-in and fan-out: 2 x 2 taps of 2 of 4 channels against 6 rows; 7 x 7 positions of 6 channels against 10.
    let glorot = |name: &str| match name {
        "conv2" => ((8.0 + 24.0f32) / 1.5).sqrt(),
        _ => ((294.0 + 10.0f32) / 1.5).sqrt(),
    };
    for (name, role, update) in updates(stage) {
        let is_weight = role == Role::Weight;
        let (lr, decay) = match (is_weight, IS_BINARY.contains(&&*name)) {
            (true, true) => (0.5 * 2.0 * glorot(&name), 0.0),
            (true, false) => (0.5, 0.1),
            (false, _) if name.starts_with("conv2") => (0.5 * 0.25, 0.3),
            (false, _) => (0.5 * 4.0, 0.0),
        };
        let is_sgd = matches!(update.rule, Rule::Sgd { .. });
        assert_eq!(is_sgd, !is_weight && name.starts_with("conv2"), "{name}");
        assert!((update.lr - lr).abs() < 1e-6, "{name} {role:?}: {update:?}");
        assert_eq!(update.decay, decay, "{name} {role:?}");
    }
}
