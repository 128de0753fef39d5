//! Downloads from a misbehaving mirror on the loopback interface.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tempfile::TempDir;

use super::fetch::{Wanted, fetch};
use super::server::{Server, Step};
use super::{GetOptions, Progress, get};
use crate::error::DataError;
use crate::split::SplitMix64;

/// 200,000 bytes, so that a body needs several reads.
fn content() -> Vec<u8> {
    let mut rng = SplitMix64::new(7);
    (0..25_000)
        .flat_map(|_| rng.next_u64().to_le_bytes())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn quick() -> GetOptions {
    GetOptions {
        mirrors: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_millis(300),
        total_timeout: Duration::from_secs(60),
    }
}

/// A folder, and what a download into it did.
struct Case {
    folder: TempDir,
    log: Vec<String>,
}

impl Case {
    fn new() -> Self {
        Case {
            folder: TempDir::new().unwrap(),
            log: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file.gz")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("file.gz.part")
    }

    fn fetch(&mut self, servers: &[&Server]) -> Result<(), DataError> {
        let sha256 = hex(&content());
        let urls = servers
            .iter()
            .map(|server| format!("{}/file.gz", server.url))
            .collect();
        let (path, n_bytes) = (self.path(), content().len() as u64);
        let wanted = Wanted {
            path,
            name: "file.gz",
            n_bytes,
            sha256: &sha256,
            urls,
        };
        let log = &mut self.log;
        fetch(&wanted, &quick(), &mut |progress| {
            if !matches!(progress, Progress::Received { .. }) {
                log.push(format!("{progress:?}"));
            }
        })
    }

    fn assert_complete(&self) {
        assert_eq!(fs::read(self.path()).unwrap(), content());
        assert!(!self.part().exists(), "no .part stays behind");
    }
}

fn tried(error: DataError) -> Vec<String> {
    match error {
        DataError::Download { tried, .. } => tried,
        other => panic!("not a failed download: {other}"),
    }
}

#[test]
fn a_file_arrives_whole_and_is_kept_the_second_time() {
    let server = Server::start(content(), vec![Step::Serve]);
    let mut case = Case::new();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    assert!(case.log[0].starts_with("Started"), "{:?}", case.log);
    assert_eq!(case.log[1], r#"Done { file: "file.gz" }"#);
    case.fetch(&[&server]).unwrap();
    assert_eq!(case.log[2], r#"Kept { file: "file.gz" }"#);
    assert_eq!(
        server.requests().len(),
        1,
        "a verified file is not asked for again"
    );
}

#[test]
fn progress_counts_up_to_the_total() {
    let server = Server::start(content(), vec![Step::Serve]);
    let case = Case::new();
    let sha256 = hex(&content());
    let urls = vec![server.url.clone()];
    let wanted = Wanted {
        path: case.path(),
        name: "file.gz",
        n_bytes: 200_000,
        sha256: &sha256,
        urls,
    };
    let mut seen = Vec::new();
    fetch(&wanted, &quick(), &mut |progress| {
        if let Progress::Received { n_bytes, total, .. } = progress {
            assert_eq!(total, 200_000);
            seen.push(n_bytes);
        }
    })
    .unwrap();
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    assert_eq!(seen.last(), Some(&200_000));
}

#[test]
fn a_body_that_breaks_off_is_continued_at_the_same_mirror() {
    let cut = Step::CutAfter {
        n_bytes: 70_000,
        etag: "\"v1\"",
    };
    let server = Server::start(content(), vec![cut, Step::Serve]);
    let mut case = Case::new();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    let requests = server.requests();
    assert!(!requests[0].contains("range:"), "{}", requests[0]);
    assert!(
        requests[1].contains("range: bytes=70000-\n"),
        "{}",
        requests[1]
    );
    assert!(
        requests[1].contains("if-range: \"v1\"\n"),
        "{}",
        requests[1]
    );
    assert!(
        case.log
            .iter()
            .any(|line| line.contains("resumed_at: 70000")),
        "{:?}",
        case.log
    );
}

#[test]
fn a_weak_etag_is_not_sent_back() {
    let cut = Step::CutAfter {
        n_bytes: 70_000,
        etag: "W/\"v1\"",
    };
    let server = Server::start(content(), vec![cut, Step::Serve]);
    let mut case = Case::new();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    assert!(
        !server.requests()[1].contains("if-range"),
        "{}",
        server.requests()[1]
    );
}

#[test]
fn a_part_of_an_earlier_run_is_continued() {
    let server = Server::start(content(), vec![Step::Serve]);
    let mut case = Case::new();
    fs::write(case.part(), &content()[..1234]).unwrap();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    assert!(
        server.requests()[0].contains("range: bytes=1234-\n"),
        "{}",
        server.requests()[0]
    );
}

#[test]
fn a_complete_part_needs_no_request() {
    let server = Server::start(content(), vec![]);
    let mut case = Case::new();
    fs::write(case.part(), content()).unwrap();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    assert!(server.requests().is_empty());
}

#[test]
fn a_part_that_does_not_fit_is_fetched_from_the_start() {
    for part in [vec![0; 1234], vec![0; 200_000], vec![0; 300_000]] {
        let server = Server::start(content(), vec![Step::Serve, Step::Serve]);
        let mut case = Case::new();
        fs::write(case.part(), &part).unwrap();
        case.fetch(&[&server]).unwrap();
        case.assert_complete();
    }
}

#[test]
fn an_ignored_range_starts_over() {
    let server = Server::start(content(), vec![Step::IgnoreRange]);
    let mut case = Case::new();
    fs::write(case.part(), vec![9; 1234]).unwrap();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_refused_or_wrong_range_starts_over() {
    let wrong = [
        Step::Status(416),
        Step::Range("bytes 0-199999/200000"),
        Step::Range("bytes 1234-199999/300000"),
        Step::Range("bytes 1234-1999/200000"),
        Step::Range("bytes 1234-18446744073709551615/200000"),
        Step::Range("bytes */200000"),
        Step::Range("nonsense"),
    ];
    for step in wrong {
        let server = Server::start(content(), vec![step.clone(), Step::Serve]);
        let mut case = Case::new();
        fs::write(case.part(), &content()[..1234]).unwrap();
        case.fetch(&[&server])
            .unwrap_or_else(|e| panic!("{step:?}: {e}"));
        case.assert_complete();
        assert!(
            !server.requests()[1].contains("range:"),
            "{step:?}: {}",
            server.requests()[1]
        );
    }
}

#[test]
fn a_corrupt_file_is_deleted_and_named_and_the_next_mirror_asked() {
    let bad = Server::start(content(), vec![Step::Corrupt, Step::Corrupt]);
    let mut case = Case::new();
    let problems = tried(case.fetch(&[&bad]).unwrap_err());
    assert_eq!(
        problems.len(),
        1,
        "a fresh file is not asked for twice: {problems:?}"
    );
    assert!(problems[0].contains("corrupt (SHA-256 "), "{problems:?}");
    assert!(
        problems[0].contains("file.gz.part is deleted"),
        "{problems:?}"
    );
    assert!(!case.part().exists() && !case.path().exists());
    let good = Server::start(content(), vec![Step::Serve]);
    case.fetch(&[&bad, &good]).unwrap();
    case.assert_complete();
}

#[test]
fn statuses_send_to_the_next_mirror() {
    for status in [204, 206, 304, 403, 404, 416, 429, 500, 503] {
        let bad = Server::start(content(), vec![Step::Status(status)]);
        let good = Server::start(content(), vec![Step::Serve]);
        let mut case = Case::new();
        case.fetch(&[&bad, &good])
            .unwrap_or_else(|e| panic!("{status}: {e}"));
        case.assert_complete();
        let failed = case
            .log
            .iter()
            .find(|line| line.starts_with("Failed"))
            .unwrap();
        assert!(failed.contains(&status.to_string()), "{failed}");
        assert_eq!(bad.requests().len(), 1);
    }
}

#[test]
fn when_all_mirrors_fail_each_is_named_and_an_old_file_is_untouched() {
    let first = Server::start(content(), vec![Step::Status(404)]);
    let second = Server::start(content(), vec![Step::Status(500)]);
    let mut case = Case::new();
    fs::write(case.path(), b"an older file").unwrap();
    let error = case.fetch(&[&first, &second]).unwrap_err();
    let text = error.to_string();
    let problems = tried(error);
    assert_eq!(
        problems[0],
        format!("{}/file.gz: the mirror answered 404", first.url)
    );
    assert_eq!(
        problems[1],
        format!("{}/file.gz: the mirror answered 500", second.url)
    );
    assert!(
        text.contains("file.gz") && text.contains("ONEBIT_MIRROR"),
        "{text}"
    );
    assert_eq!(fs::read(case.path()).unwrap(), b"an older file");
    assert!(!case.part().exists());
}

#[test]
fn what_arrived_is_kept_for_the_next_run() {
    let etag = "\"v1\"";
    let cuts = [10_000, 20_000, 30_000].map(|n_bytes| Step::CutAfter { n_bytes, etag });
    let server = Server::start(content(), cuts.to_vec());
    let mut case = Case::new();
    assert_eq!(tried(case.fetch(&[&server]).unwrap_err()).len(), 3);
    assert_eq!(fs::read(case.part()).unwrap(), &content()[..60_000]);
    assert!(!case.path().exists());
    let good = Server::start(content(), vec![Step::Serve]);
    case.fetch(&[&good]).unwrap();
    case.assert_complete();
    assert!(good.requests()[0].contains("range: bytes=60000-\n"));
}

#[test]
fn redirects_are_followed_with_their_range() {
    let server = Server::start(
        content(),
        vec![Step::Redirect("/elsewhere/file.gz"), Step::Serve],
    );
    let mut case = Case::new();
    fs::write(case.part(), &content()[..1234]).unwrap();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    let second = &server.requests()[1];
    assert!(second.starts_with("get /elsewhere/file.gz "), "{second}");
    assert!(second.contains("range: bytes=1234-\n"), "{second}");
}

#[test]
fn endless_redirects_end() {
    let server = Server::start(content(), vec![Step::Redirect("/again"); 50]);
    let mut case = Case::new();
    let problems = tried(case.fetch(&[&server]).unwrap_err());
    assert!(problems[0].contains("redirect"), "{problems:?}");
    assert!(
        server.requests().len() < 10,
        "{} requests",
        server.requests().len()
    );
}

#[test]
fn a_silent_mirror_is_given_up_and_the_rest_continued() {
    let server = Server::start(content(), vec![Step::StallAfter(50_000), Step::Serve]);
    let mut case = Case::new();
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
    assert!(
        server.requests()[1].contains("range: bytes=50000-\n"),
        "{}",
        server.requests()[1]
    );
    assert!(
        case.log
            .iter()
            .any(|line| line.contains("per read") && line.contains("after 50000 bytes")),
        "{:?}",
        case.log
    );
}

#[test]
fn a_body_without_end_is_cut_and_deleted() {
    let server = Server::start(content(), vec![Step::Endless]);
    let mut case = Case::new();
    let problems = tried(case.fetch(&[&server]).unwrap_err());
    assert!(
        problems[0].contains("more than the 200000 bytes"),
        "{problems:?}"
    );
    assert!(!case.part().exists() && !case.path().exists());
}

#[test]
fn another_length_is_refused_before_the_body() {
    let server = Server::start(content(), vec![Step::Length(199_999)]);
    let mut case = Case::new();
    let problems = tried(case.fetch(&[&server]).unwrap_err());
    assert!(
        problems[0].contains("199999 bytes, the published one 200000"),
        "{problems:?}"
    );
}

#[test]
fn an_answer_that_is_not_http_and_a_closed_port_are_problems_of_the_mirror() {
    let garbage = Server::start(content(), vec![Step::Garbage]);
    let closed = Server::nobody();
    let good = Server::start(content(), vec![Step::Serve]);
    let mut case = Case::new();
    case.fetch(&[&garbage, &closed, &good]).unwrap();
    case.assert_complete();
    assert_eq!(
        case.log
            .iter()
            .filter(|line| line.starts_with("Failed"))
            .count(),
        2,
        "{:?}",
        case.log
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_so() {
    let server = Server::start(content(), vec![Step::Serve]);
    let mut case = Case::new();
    std::os::unix::fs::symlink("/dev/full", case.part()).unwrap();
    let error = case.fetch(&[&server]).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, DataError::Io { doing: "write", .. }),
        "{text}"
    );
    assert!(text.contains("free some space"), "{text}");
    assert!(!case.path().exists());
}

#[test]
fn two_downloads_of_one_file_do_not_mix() {
    let server = Server::start(content(), vec![Step::Serve]);
    let mut case = Case::new();
    let held = fs::File::create(case.part()).unwrap();
    held.lock().unwrap();
    let text = case.fetch(&[&server]).unwrap_err().to_string();
    assert!(
        text.contains("file.gz.part") && text.contains("another download"),
        "{text}"
    );
    drop(held);
    case.fetch(&[&server]).unwrap();
    case.assert_complete();
}

#[test]
fn unknown_names_and_impossible_folders_are_errors() {
    let folder = TempDir::new().unwrap();
    let text = get("cifar99", folder.path(), &quick(), &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("`cifar99`") && text.contains("mnist, fashion-mnist"),
        "{text}"
    );
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let text = get("mnist", &file, &quick(), &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(text.contains("cannot create"), "{text}");
}

#[test]
fn public_mirrors_and_pins_are_well_formed() {
    for set in super::KNOWN {
        assert!(set.bases.len() >= 2, "{} has one mirror only", set.name);
        assert!(
            set.bases
                .iter()
                .all(|base| base.starts_with("http") && base.ends_with('/'))
        );
        for file in set.files {
            assert_eq!(file.sha256.len(), 64, "{}", file.name);
            assert!(
                file.sha256
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            );
        }
    }
}

/// The pins are those of the sets themselves: both are fetched from a mirror that serves the originals.
#[test]
fn both_public_sets_are_fetched_and_open() {
    let Ok(shared) = std::env::var("ONEBIT_SHARED") else {
        assert!(std::env::var("CI").is_err(), "CI must set ONEBIT_SHARED");
        return println!("skipped: both_public_sets_are_fetched_and_open; set ONEBIT_SHARED");
    };
    let data = PathBuf::from(shared).join("data");
    let server = Server::start_with(vec![Step::Serve; 8], move |path| {
        fs::read(data.join(path.strip_prefix("/sets/")?)).ok()
    });
    let folder = TempDir::new().unwrap();
    let options = GetOptions {
        mirrors: vec![format!("{}/sets/", server.url)],
        ..quick()
    };
    for name in super::known_names() {
        let set = get(name, folder.path(), &options, &mut |_| {}).unwrap();
        let set = crate::open(set.to_str().unwrap()).unwrap();
        assert_eq!(
            (set.train.len(), set.test.len()),
            (60_000, 10_000),
            "{name}"
        );
    }
}
