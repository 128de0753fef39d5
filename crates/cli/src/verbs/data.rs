//! `onebit data`: fetch, list and show data sets.

use std::path::PathBuf;

use indicatif::ProgressBar;
use onebit_data::{Dataset, Features, GetOptions, Progress, Split};
use serde_json::{Value, json};

use crate::draw::{Picture, image_shape, n_beside, row};
use crate::error::{Failure, failed};
use crate::output::{note, say, say_json};
use crate::progress::bytes_bar;
use crate::table::{Align, Table, grouped};

/// Fetch, list and show data sets
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(clap::Subcommand)]
enum DataVerb {
    /// Download a public data set, checked by SHA-256: mnist or fashion-mnist
    Get {
        /// mnist or fashion-mnist
        name: String,
        /// Folder to put it in [default: ONEBIT_DATA, else your own data folder]
        #[arg(long, value_name = "DIR")]
        dest: Option<PathBuf>,
    },
    /// List the data sets that can be named
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show a data set: counts, shape and a few examples
    Show {
        /// A name such as digits or mnist, or a folder
        set: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        DataVerb::Get { name, dest } => get(name, dest.as_ref()),
        DataVerb::List { json } => list(*json),
        DataVerb::Show { set, json } => show(set, *json),
    }
}

fn get(name: &str, dest: Option<&PathBuf>) -> Result<(), Failure> {
    let Some(folder) = dest.cloned().or_else(onebit_data::download_folder) else {
        return failed(
            "there is no folder to download to: set ONEBIT_DATA or HOME, or name one with --dest",
        );
    };
    let mut bar: Option<ProgressBar> = None;
    let mut tell = |progress: Progress<'_>| match progress {
        Progress::Kept { file } => note(format!("{file}: is there already")),
        Progress::Started {
            file,
            url,
            resumed_at,
        } => {
            let from = if resumed_at > 0 {
                format!(", going on at byte {resumed_at}")
            } else {
                String::new()
            };
            note(format!("{file}: from {url}{from}"));
        }
        Progress::Received {
            file,
            n_bytes,
            total,
        } => {
            bar.get_or_insert_with(|| bytes_bar(total, file))
                .set_position(n_bytes);
        }
        Progress::Failed { file, problem } => {
            clear(&mut bar);
            note(format!("{file}: {problem}"));
        }
        Progress::Done { file } => {
            clear(&mut bar);
            note(format!("{file}: complete, checksum right"));
        }
    };
    let folder = onebit_data::get(name, &folder, &GetOptions::from_env(), &mut tell)?;
    say(format!("{name} is in {}", folder.display()))
}

fn clear(bar: &mut Option<ProgressBar>) {
    if let Some(bar) = bar.take() {
        bar.finish_and_clear();
    }
}

fn list(json: bool) -> Result<(), Failure> {
    let folders = onebit_data::data_folders();
    let mut found = vec![("digits".to_string(), "built in".to_string())];
    for folder in &folders {
        let mut here: Vec<(String, String)> = folder
            .read_dir()
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    entry.path().display().to_string(),
                )
            })
            .filter(|(name, _)| !found.iter().any(|(known, _)| known == name))
            .collect();
        here.sort();
        found.append(&mut here);
    }
    for name in onebit_data::get::known_names() {
        if !found.iter().any(|(known, _)| known == name) {
            found.push((name.into(), format!("not here; onebit data get {name}")));
        }
    }
    if json {
        let sets: Vec<Value> = found
            .iter()
            .map(|(name, at)| json!({ "name": name, "where": at }))
            .collect();
        return say_json(&json!({ "sets": sets }));
    }
    let mut table = Table::new(&[("name", Align::Left), ("where", Align::Left)]);
    found
        .into_iter()
        .for_each(|(name, at)| table.row(vec![name, at]));
    say(table.text())
}

fn show(set: &str, json: bool) -> Result<(), Failure> {
    let opened = onebit_data::open_with(set, &onebit_data::OpenOptions::default())?;
    opened.notes.iter().for_each(note);
    let data = opened.dataset;
    if json {
        return say_json(&json!({
            "name": data.name,
            "shape": data.shape,
            "kind": kind(&data.train),
            "classes": data.class_names,
            "train": counts(&data, &data.train),
            "test": counts(&data, &data.test),
        }));
    }
    let mut lines = vec![format!(
        "{}: {} training and {} test examples of shape {:?}, {}, {} classes",
        data.name,
        grouped(data.train.len() as u64),
        grouped(data.test.len() as u64),
        data.shape,
        kind(&data.train),
        data.n_classes
    )];
    let mut table = Table::new(&[
        ("class", Align::Left),
        ("training", Align::Right),
        ("test", Align::Right),
    ]);
    let (train, test) = (counts(&data, &data.train), counts(&data, &data.test));
    for ((name, train), test) in data.class_names.iter().zip(train).zip(test) {
        table.row(vec![
            name.clone(),
            grouped(train as u64),
            grouped(test as u64),
        ]);
    }
    lines.push(table.text());
    lines.extend(pictures(&data));
    say(lines.join("\n\n"))
}

fn kind(split: &Split) -> &'static str {
    match split.features {
        Features::U8(_) => "8-bit pixels",
        Features::F32(_) => "real features",
    }
}

fn counts(data: &Dataset, split: &Split) -> Vec<usize> {
    let mut counts = vec![0; data.n_classes];
    for &label in &split.labels {
        counts[usize::from(label)] += 1;
    }
    counts
}

/// The first test examples, if they are images.
fn pictures(data: &Dataset) -> Option<String> {
    let shape = image_shape(&data.shape)?;
    let Features::U8(pixels) = &data.test.features else {
        return None;
    };
    let n = data.test.n_features();
    let n_pictures = n_beside(shape).min(data.test.len());
    let pictures: Vec<Picture<'_>> = (0..n_pictures)
        .map(|idx| Picture {
            pixels: &pixels[idx * n..][..n],
            shape,
            caption: data.class_names[usize::from(data.test.labels[idx])].clone(),
        })
        .collect();
    Some(row(&pictures))
}
