//! The public data sets: where they are and what their bytes must be.
//!
//! A table only. Sizes and checksums are those of the four original .gz files of each set, so a mirror can be
//! late, wrong or plain HTTP without doing harm.

/// A set that can be fetched.
pub(super) struct Known {
    pub name: &'static str,
    /// Base URLs, best first; a file is at `BASE` followed by its name.
    pub bases: &'static [&'static str],
    pub files: &'static [KnownFile],
}

/// One file of a set, as it is sent.
pub(super) struct KnownFile {
    pub name: &'static str,
    pub n_bytes: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: &'static str,
}

pub(super) const KNOWN: &[Known] = &[
    Known {
        name: "mnist",
        bases: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ],
        files: &[
            KnownFile {
                name: "train-images-idx3-ubyte.gz",
                n_bytes: 9_912_422,
                sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            },
            KnownFile {
                name: "train-labels-idx1-ubyte.gz",
                n_bytes: 28_881,
                sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            },
            KnownFile {
                name: "t10k-images-idx3-ubyte.gz",
                n_bytes: 1_648_877,
                sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            },
            KnownFile {
                name: "t10k-labels-idx1-ubyte.gz",
                n_bytes: 4_542,
                sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
        ],
    },
    Known {
        name: "fashion-mnist",
        bases: &[
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ],
        files: &[
            KnownFile {
                name: "train-images-idx3-ubyte.gz",
                n_bytes: 26_421_880,
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            },
            KnownFile {
                name: "train-labels-idx1-ubyte.gz",
                n_bytes: 29_515,
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            },
            KnownFile {
                name: "t10k-images-idx3-ubyte.gz",
                n_bytes: 4_422_102,
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            },
            KnownFile {
                name: "t10k-labels-idx1-ubyte.gz",
                n_bytes: 5_148,
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ],
    },
];
