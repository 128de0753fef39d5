//! Recipes: round trips, named errors, schedules.

use super::*;

const GOOD: &str = r#"
name = "t"
data = "digits"
[input]
encoding = "sign"
at = 128
[model]
hidden = [32]
norm = "batch"
[[stage]]
kind = "bitwise"
epochs = 2
batch = 16
lr = 0.01
"#;

fn error(text: &str) -> String {
    Recipe::parse(text)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn a_recipe_round_trips_through_toml() {
    let recipe = Recipe::parse(GOOD).unwrap();
    assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
}

#[test]
fn each_bad_key_is_named() {
    let cases = [
        (GOOD.replace("epochs = 2", "epochs = 2\nepoch = 3"), "epoch"),
        (GOOD.replace("at = 128", "at = 128\nbits = 3"), "bits"),
        (
            GOOD.replace("\"sign\"", "\"fixed-point\"")
                .replace("at = 128", "bits = 2\nvalues = \"zero-one\""),
            "input.values",
        ),
        (GOOD.replace("[32]", "[0]"), "model.hidden"),
        (GOOD.replace("[32]", "[99999999]"), "model.hidden"),
        (GOOD.replace("epochs = 2", "epochs = 0"), "stage[0].epochs"),
        (GOOD.replace("lr = 0.01", "lr = nan"), "stage[0].lr"),
        (
            GOOD.replace("lr = 0.01", "lr = 0.1\nsparsity = 1.0"),
            "stage[0].sparsity",
        ),
        (
            GOOD.replace("lr = 0.01", "lr = 0.1\nsparsity = -0.1"),
            "stage[0].sparsity",
        ),
        (
            GOOD.replace("lr = 0.01", "lr = 0.1\ndropout_hidden = nan"),
            "stage[0].dropout_hidden",
        ),
        (GOOD.replace("\"bitwise\"", "\"compress\""), "stage"),
        (GOOD.replace("name = \"t\"", "name = \"../t\""), "name"),
        (
            GOOD.replace("\"sign\"", "\"thermometer\"")
                .replace("at = 128", "cuts = [3, 2]"),
            "input.cuts",
        ),
    ];
    for (text, key) in cases {
        assert!(
            error(&text).contains(key),
            "{key} is not named in: {}",
            error(&text)
        );
    }
}

#[test]
fn schedules_start_and_end_where_they_say() {
    let mut stage = Recipe::parse(GOOD).unwrap().stages.remove(0);
    stage.lr_end = 1e-4;
    for schedule in [Schedule::Cosine, Schedule::Exponential] {
        stage.schedule = schedule;
        assert!((stage.lr_at(0.0) - 0.01).abs() < 1e-8);
        assert!((stage.lr_at(1.0) - 1e-4).abs() < 1e-8);
        assert!(stage.lr_at(0.4) > stage.lr_at(0.6));
    }
}
