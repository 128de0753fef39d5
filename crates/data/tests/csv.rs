//! CSV tables: where the label is found, what becomes pixels, and where errors point.

mod common;

use std::path::Path;

use common::assert_error;
use onebit_data::csv::parse_csv;
use onebit_data::{DataError, Dataset, Features, OpenOptions, Opened, Place};

fn open(train: &str) -> Result<Opened, DataError> {
    parse_csv(
        Path::new("t.csv"),
        train.as_bytes(),
        None,
        &OpenOptions::default(),
    )
}

fn open_both(train: &str, test: &str) -> Result<Dataset, DataError> {
    let test = (Path::new("test.csv"), test.as_bytes());
    let opened = parse_csv(
        Path::new("t.csv"),
        train.as_bytes(),
        Some(test),
        &OpenOptions::default(),
    )?;
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    Ok(opened.dataset)
}

/// The set of a table that is its own test file, so that every row is in `train` in the table's order.
fn whole(table: &str) -> Dataset {
    let set = open_both(table, table).unwrap_or_else(|e| panic!("{e}: {table}"));
    assert_eq!(set.train, set.test);
    set
}

#[test]
fn the_label_is_found_by_name_first_last_or_by_its_values() {
    for (table, labels) in [
        ("a,Label,b\n1.5,x,2\n2.5,y,3\n", ["x", "y"]),
        ("0,1,target\n1.5,2,0\n2.5,3,1\n", ["0", "1"]),
        ("CLASS,b\ny,2.5\nx,3\n", ["x", "y"]),
        (
            "5.1,3.5,setosa\n4.9,3.0,virginica\n",
            ["setosa", "virginica"],
        ),
        (
            "setosa,5.1,3.5\nvirginica,4.9,3.0\n",
            ["setosa", "virginica"],
        ),
        ("0,13,250\n1,77,3\n1,5,9\n", ["0", "1"]),
        ("13.5,7,2\n250.1,9,1\n", ["1", "2"]),
    ] {
        assert_eq!(whole(table).class_names, labels, "{table}");
    }
}

#[test]
fn a_constant_column_is_no_label() {
    // As in MNIST without a header: the last pixel is always 0, the first column holds the digit.
    let set = whole("2,9,0\n0,8,0\n1,7,0\n0,6,0\n");
    assert_eq!(set.train.labels, [2, 0, 1, 0]);
    assert_eq!(
        set.train.features,
        Features::U8(vec![9, 0, 8, 0, 7, 0, 6, 0])
    );
}

#[test]
fn an_unclear_label_is_asked_for() {
    for table in ["0,1.5,0\n1,2.5,1\n", "a,1,b\nc,2,d\n"] {
        assert_error(
            open(table),
            "t.csv",
            Place::Whole,
            &["both the first and the last", "`label`"],
        );
    }
    for table in ["5,1.5\n7,2.5\n", "1.5,2.5\n3.5,4.5\n", "3,9\n3,9\n"] {
        assert_error(
            open(table),
            "t.csv",
            Place::Whole,
            &["neither the first nor the last", "`label`"],
        );
    }
}

#[test]
fn classes_are_sorted_by_number_or_by_text() {
    let set = whole("label,v\n10,0.5\n9,0.5\n 9.0 ,0.5\n010,0.5\n-1,0.5\n");
    assert_eq!(set.class_names, ["-1", "9", "10"]);
    assert_eq!(set.train.labels, [2, 1, 1, 2, 0]);
    let set = whole("label,v\n10,0.5\n9,0.5\ncat,0.5\n\"dog, wet\",0.5\n");
    assert_eq!(set.class_names, ["10", "9", "cat", "dog, wet"]);
    assert_eq!(set.train.labels, [0, 1, 2, 3]);
    assert_eq!(set.n_classes, 4);
}

#[test]
fn integers_of_a_byte_are_pixels_in_both_parts_or_in_neither() {
    let bytes = "label,a,b\n0,0,255\n1,7,12.0\n";
    assert_eq!(
        whole(bytes).train.features,
        Features::U8(vec![0, 255, 7, 12])
    );
    for other in [
        "label,a,b\n0,0,256\n",
        "label,a,b\n0,0,-1\n",
        "label,a,b\n0,0,0.5\n",
        "label,a,b\n0,0,1e3\n",
    ] {
        let set = open_both(bytes, other).unwrap();
        assert_eq!(
            set.train.features,
            Features::F32(vec![0.0, 255.0, 7.0, 12.0]),
            "{other}"
        );
        assert!(matches!(set.test.features, Features::F32(_)), "{other}");
    }
}

#[test]
fn spaces_quotes_line_ends_and_marks_are_tolerated() {
    let set = whole("\u{feff}label, a ,b\r\n cat , 1.5 ,\"2\"\r\n\r\ndog,-2.5e1,3");
    assert_eq!(set.class_names, ["cat", "dog"]);
    assert_eq!(
        set.train.features,
        Features::F32(vec![1.5, 2.0, -25.0, 3.0])
    );
    assert_eq!(
        (set.shape.as_slice(), set.name.as_str()),
        (&[2usize][..], "t")
    );
}

#[test]
fn bad_cells_are_located() {
    for (text, word) in [
        ("", "is missing"),
        ("NaN", "is missing"),
        ("NA", "is missing"),
        ("?", "is missing"),
        ("abc", "`abc` is not a number"),
        ("1,5", "columns"),
        ("inf", "is not a number"),
        ("1e99", "does not fit"),
        ("0x10", "`0x10` is not a number"),
        ("\u{7}", "`\\u{7}` is not a number"),
    ] {
        let error = open(&format!("label,a,b\nx,1,2\ny,3,{text}\n")).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.starts_with("t.csv, line 3") && shown.contains(word),
            "{text}: {shown}"
        );
        if word != "columns" {
            assert_eq!(
                error.place(),
                Some(&Place::Cell { line: 3, column: 3 }),
                "{text}"
            );
        }
    }
    let result = open("label,a\nx,1\n,2\n");
    assert_error(
        result,
        "t.csv",
        Place::Cell { line: 3, column: 1 },
        &["the label is missing"],
    );
}

#[test]
fn a_missing_value_in_the_first_row_does_not_make_it_a_header() {
    let result = open("5.1,,setosa\n4.9,3.0,virginica\n");
    assert_error(
        result,
        "t.csv",
        Place::Cell { line: 1, column: 2 },
        &["the value is missing"],
    );
}

#[test]
fn a_row_inside_quotes_counts_its_lines() {
    let result = open("label,a\n\"x\ny\",1\nz,bad\n");
    assert_error(
        result,
        "t.csv",
        Place::Cell { line: 4, column: 2 },
        &["`bad`"],
    );
}

#[test]
fn tables_without_examples_or_columns_are_refused() {
    assert_error(open(""), "t.csv", Place::Byte(0), &["the file is empty"]);
    assert_error(
        open("\n\n"),
        "t.csv",
        Place::Byte(0),
        &["the file is empty"],
    );
    assert_error(
        open("label,a\n"),
        "t.csv",
        Place::Whole,
        &["there are no examples"],
    );
    assert_error(
        open("1\n2\n"),
        "t.csv",
        Place::Line(1),
        &["one column", "commas"],
    );
    assert_error(
        open("1;2;x\n3;4;y\n"),
        "t.csv",
        Place::Line(1),
        &["one column", "commas"],
    );
    assert_error(
        open("label,a\nx,1\n"),
        "t.csv",
        Place::Whole,
        &["no test file and 1 example"],
    );
}

#[test]
fn labels_must_be_classes() {
    let result = open("label,a\n0.5,1\n1.5,2\n");
    assert_error(
        result,
        "t.csv",
        Place::Cell { line: 2, column: 1 },
        &["neither an integer nor text"],
    );
    let mut many = "label,a\n".to_owned();
    (0..=65_536).for_each(|class| many.push_str(&format!("c{class},1\n")));
    let place = Place::Cell {
        line: 65_538,
        column: 1,
    };
    assert_error(open(&many), "t.csv", place, &["more than 65536 classes"]);
}

#[test]
fn bytes_that_are_not_text_are_located() {
    let read = |bytes: &[u8]| parse_csv(Path::new("t.csv"), bytes, None, &OpenOptions::default());
    let place = |line, column| Place::Cell { line, column };
    assert_error(
        read(b"label,a\n\xff,1\n"),
        "t.csv",
        place(2, 1),
        &["not UTF-8"],
    );
    assert_error(
        read(b"label,a\nx,\xff\n"),
        "t.csv",
        place(2, 2),
        &["is not a number"],
    );
}

#[test]
fn the_test_file_must_match() {
    let train = "label,a,b\nx,1,2\ny,3,4\n";
    assert_error(
        open_both(train, "label,a\nx,1\n"),
        "test.csv",
        Place::Line(1),
        &["2 columns", "t.csv has 3"],
    );
    let swapped = open_both(train, "label,b,a\nx,1,2\n");
    assert_error(
        swapped,
        "test.csv",
        Place::Cell { line: 1, column: 2 },
        &["`b`", "`a`"],
    );
    let unknown = open_both(train, "label,a,b\nx,1,2\nz,1,2\n");
    assert_error(
        unknown,
        "test.csv",
        Place::Cell { line: 3, column: 1 },
        &["`z` does not occur"],
    );
    let set = open_both(train, "y,8,9\n").unwrap();
    assert_eq!(
        (set.test.len(), set.test.labels[0]),
        (1, 1),
        "a test file may leave the header out"
    );
}

#[test]
fn without_a_test_file_a_fifth_is_held_out_and_said() {
    let mut table = "label,a\n".to_owned();
    (0..100).for_each(|i| table.push_str(&format!("{},{i}\n", if i % 4 == 0 { "x" } else { "y" })));
    let opened = open(&table).unwrap();
    assert_eq!(
        opened.notes,
        [
            "t.csv: no test file, so 20 of 100 examples (20 %, seed 0) are held out as the test split"
        ]
    );
    let set = &opened.dataset;
    assert_eq!((set.train.len(), set.test.len()), (80, 20));
    assert_eq!(
        set.test.labels.iter().filter(|&&label| label == 0).count(),
        5,
        "stratified"
    );
    assert_eq!(open(&table).unwrap(), opened, "the same rows again");
    let other = OpenOptions {
        test_percent: 50,
        seed: 1,
    };
    let other = parse_csv(Path::new("t.csv"), table.as_bytes(), None, &other).unwrap();
    assert_eq!(other.dataset.test.len(), 50);
}
