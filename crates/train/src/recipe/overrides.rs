//! Changes to a recipe from the command line: `KEY=VALUE` over its TOML.

use toml::Value;

use super::{Recipe, RecipeError, bad};

/// The recipe in `text` with some keys set anew, and its text where any were.
///
/// Each change is `KEY=VALUE`: KEY is a path through tables and lists (`stage.0.lr`, `defaults.weights`), VALUE is
/// TOML; what is no TOML value is a string. The last table on the way is made if it is not there.
///
/// # Errors
/// As [`Recipe::parse`]; a change that has no `=` or leads through something that is no table is named.
pub fn parse_with(text: &str, changes: &[String]) -> Result<(Recipe, Option<String>), RecipeError> {
    if changes.is_empty() {
        return Ok((Recipe::parse(text)?, None));
    }
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| RecipeError::Syntax(e.to_string().trim_end().to_string()))?;
    let mut root = Value::Table(table);
    for change in changes {
        let Some((key, value)) = change.split_once('=') else {
            return bad(change.clone(), "is no KEY=VALUE");
        };
        set(&mut root, key.trim(), parse_value(value.trim()))?;
    }
    let changed = toml::to_string_pretty(&root).expect("TOML that was read can be written");
    Ok((Recipe::parse(&changed)?, Some(changed)))
}

/// A TOML value; a string where the text is none.
fn parse_value(text: &str) -> Value {
    let line: Result<toml::Table, _> = format!("value = {text}").parse();
    line.ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_string()))
}

fn set(root: &mut Value, key: &str, value: Value) -> Result<(), RecipeError> {
    let mut at = root;
    let steps: Vec<&str> = key.split('.').collect();
    for (i, step) in steps.iter().enumerate() {
        let is_last = i + 1 == steps.len();
        at = match at {
            Value::Table(table) if is_last => {
                table.insert((*step).to_string(), value);
                return Ok(());
            }
            Value::Table(table) => table
                .entry(*step)
                .or_insert_with(|| Value::Table(toml::Table::new())),
            Value::Array(list) => {
                let n = list.len();
                let Some(item) = step.parse::<usize>().ok().and_then(|i| list.get_mut(i)) else {
                    return bad(
                        key,
                        format!("has `{step}` where a number below {n} must stand: it is a list"),
                    );
                };
                if is_last {
                    *item = value;
                    return Ok(());
                }
                item
            }
            _ => {
                return bad(
                    key,
                    format!("leads to `{step}` through something that is no table"),
                );
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"t\"\ndata = \"digits\"\n[input]\nencoding = \"sign\"\nat = 128\n[model]\nhidden = [32]\nnorm = \"batch\"\n[[stage]]\nkind = \"bitwise\"\nepochs = 2\nbatch = 16\nlr = 0.01\n";

    fn with(changes: &[&str]) -> Result<Recipe, RecipeError> {
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_string()).collect();
        parse_with(TEXT, &changes).map(|(recipe, _)| recipe)
    }

    #[test]
    fn changes_reach_tables_lists_and_new_keys() {
        let recipe = with(&[
            "stage.0.lr = 0.5",
            "seed=7",
            "name = other",
            "model.hidden=[8, 4]",
            "stage.0.optimizer.rule=sgd",
        ])
        .unwrap();
        assert_eq!((recipe.seed, recipe.name.as_str()), (7, "other"));
        assert_eq!(recipe.stages[0].lr, 0.5);
        assert_eq!(recipe.model.unwrap().hidden, [8, 4]);
        assert!(!recipe.stages[0].optimizer.is_default());
        assert_eq!(parse_with(TEXT, &[]).unwrap().1, None);
    }

    #[test]
    fn a_change_that_leads_nowhere_is_named() {
        for (change, named) in [
            ("seed", "KEY=VALUE"),
            ("stage.1.lr=1", "below 1"),
            ("name.x=1", "no table"),
            ("stage.0.rate=1", "rate"),
            ("seed=-1", "seed"),
        ] {
            let error = with(&[change]).expect_err(change).to_string();
            assert!(error.contains(named), "{change}: {error}");
        }
    }
}
