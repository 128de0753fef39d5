//! Every recipe of the project: it can be read, and its layers fit its data.

use std::path::Path;

use onebit_train::graph::{Extent, ValueKind, build};
use onebit_train::recipe::{Input, Recipe};

/// Rows, columns and channels of the data sets that recipes name.
fn image(data: &str) -> [usize; 3] {
    match data {
        "mnist" | "fashion-mnist" => [28, 28, 1],
        "cifar10" => [32, 32, 3],
        other => panic!("give the shape of `{other}` here"),
    }
}

#[test]
fn every_recipe_fits_its_data() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut n_recipes = 0;
    for folder in ["zoo", "recipes"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let recipe =
                Recipe::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(recipe.name, stem, "{}", path.display());
            let [height, width, channels] = image(&recipe.data);
            let (input, kind) = match (&recipe.model, &recipe.input) {
                (None, Input::Levels { .. }) => (
                    Extent {
                        height,
                        width,
                        channels,
                    },
                    ValueKind::Levels { bits: 8, unit: 1.0 },
                ),
                _ => (Extent::flat(height * width * channels), ValueKind::Bits),
            };
            let graph = build(&recipe, input, kind, 10)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(graph.extent(graph.nodes.len()).elements(), 10);
            n_recipes += 1;
        }
    }
    assert!(n_recipes >= 15, "{n_recipes} recipes");
}
