//! What a resumed run may have that the stopped one had not: other numbers for what is still to come.
//!
//! In: the position of a checkpoint and the recipe given now. Out: the changes as sentences, or the keys that may not
//! change.

use std::collections::BTreeMap;

use onebit_data::{Dataset, Features, Split};
use toml::Value;

use crate::checkpoint::Position;
use crate::recipe::Recipe;

/// The changes from a checkpoint's recipe, as sentences that say from when on they hold.
///
/// # Errors
/// A sentence that names the keys whose change the checkpoint does not allow.
pub(super) fn changes(position: &Position, recipe: &Recipe) -> Result<Vec<String>, String> {
    let before = Recipe::parse(&position.recipe)
        .map_err(|error| format!("holds a recipe that this version cannot read ({error})"))?;
    let (old, new) = (leaves(&before), leaves(recipe));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| !is_label(key) && old.get(*key) != new.get(*key));
    let tell = |key: &&String| {
        let show = |side: &BTreeMap<String, String>| {
            side.get(*key).map_or("not given".into(), String::clone)
        };
        format!("`{key}` was {} and is {}", show(&old), show(&new))
    };
    let fixed = keys
        .iter()
        .filter(|key| is_done(key, position, &before, recipe));
    let fixed: Vec<String> = fixed.map(tell).collect();
    if !fixed.is_empty() {
        return Err(format!(
            "was made by another recipe: {}; only stages that are not done can change on the way",
            fixed.join(", ")
        ));
    }
    let mut phases = recipe.stages.iter().chain(&recipe.twin);
    let epochs = phases.nth(position.phase).map(|stage| stage.epochs);
    if let Some(epochs) = epochs.filter(|&epochs| epochs < position.epoch) {
        return Err(format!(
            "has done {} epochs of this stage already, more than the {epochs} it is to have now",
            position.epoch
        ));
    }
    let from = format!(
        "from epoch {} of stage {} on",
        position.epoch + 1,
        position.phase + 1
    );
    let told = keys.iter().map(|key| format!("{} ({from})", tell(key)));
    Ok(told.collect())
}

/// Whether a key changes no number: the run's own name, and where the data lies, whose checksum is compared.
fn is_label(key: &str) -> bool {
    key == "data" || key == "name"
}

/// Whether the run has used the key's value already, so that it cannot change.
fn is_done(key: &str, position: &Position, before: &Recipe, now: &Recipe) -> bool {
    let n_stages = before.stages.len();
    if key.starts_with("twin.") {
        return position.phase > n_stages || now.twin.is_none() || before.twin.is_none();
    }
    let stage = key
        .strip_prefix("stage.")
        .and_then(|rest| rest.split_once('.'));
    let Some((i, rest)) = stage else {
        return true;
    };
    let i: usize = i.parse().unwrap_or(0);
    now.stages.len() != n_stages || i < position.phase || (i == position.phase && rest == "kind")
}

/// Every value of a recipe by its path, as `--set` names it.
fn leaves(recipe: &Recipe) -> BTreeMap<String, String> {
    fn walk(path: String, value: &Value, into: &mut BTreeMap<String, String>) {
        let join = |step: &str| match path.is_empty() {
            true => step.to_string(),
            false => format!("{path}.{step}"),
        };
        match value {
            Value::Table(table) => table
                .iter()
                .for_each(|(key, value)| walk(join(key), value, into)),
            Value::Array(list) => {
                let items = list.iter().enumerate();
                items.for_each(|(i, value)| walk(join(&i.to_string()), value, into));
            }
            other => {
                into.insert(path, other.to_string());
            }
        }
    }
    let table: toml::Table = recipe
        .to_toml()
        .parse()
        .expect("TOML that was written can be read");
    let mut found = BTreeMap::new();
    walk(String::new(), &Value::Table(table), &mut found);
    found
}

/// A checksum of a data set's shapes, examples and labels, which is never 0.
pub(super) fn checksum(data: &Dataset) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(format!("{:?} {}", data.shape, data.n_classes).as_bytes());
    let mut take = |split: &Split| {
        match &split.features {
            Features::U8(pixels) => hasher.update(pixels),
            Features::F32(values) => values.chunks(1024).for_each(|values| {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                hasher.update(&bytes);
            }),
        }
        let labels = split.labels.iter().flat_map(|label| label.to_le_bytes());
        hasher.update(&labels.collect::<Vec<u8>>());
    };
    take(&data.train);
    take(&data.test);
    hasher.finalize().max(1)
}
