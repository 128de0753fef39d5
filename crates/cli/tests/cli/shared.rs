//! Tests on real data, which a machine may lack.

use crate::common::{onebit, ran, shared_data};

#[test]
fn mnist_has_its_full_splits() {
    let Some(data) = shared_data("mnist") else {
        return;
    };
    let ran = ran(onebit()
        .env("ONEBIT_DATA", data)
        .args(["data", "show", "mnist"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout
            .contains("60,000 training and 10,000 test examples of shape [28, 28, 1]"),
        "{}",
        ran.stdout
    );
}
