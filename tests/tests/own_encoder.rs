//! An encoder of the user's own: a manifest, a local checkpoint, a whitening fitted on their proteins, a search.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{is_ready, protext, some_proteins, stderr};

/// A configuration folder whose manifest `tiny` names the random ESM-2 of the registry's fixtures.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap() };
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/registry/tests/fixtures/tiny_esm");
        let hash = |name: &str| {
            let said = Command::new("sha256sum").arg(fixture.join(name)).output().unwrap().stdout;
            String::from_utf8(said[..64].to_vec()).unwrap()
        };
        let manifest = format!(
            "id = \"tiny\"\ntitle = \"Tiny\"\nmodality = \"protein\"\nfamily = \"esm2\"\nlicence = \"none\"\n\
             dim = 16\nwindow = 30\noverlap = 10\ntokenization = \"esm\"\npad_token = 1\n\
             pooling = \"mean_of_residues\"\nnormalize = false\nstatistics_layers = [1, 2, 3]\nlong = \"window\"\n\n\
             [[sources]]\nkind = \"local\"\npath = {:?}\nfiles = [\n\
             {{ role = \"weights\", path = \"model.safetensors\", sha256 = \"{}\" }},\n\
             {{ role = \"config\", path = \"config.json\", sha256 = \"{}\" }},\n]\n",
            fixture.display().to_string(),
            hash("model.safetensors"),
            hash("config.json")
        );
        std::fs::create_dir_all(lab.at("protext/models")).unwrap();
        std::fs::write(lab.at("protext/models/tiny.toml"), manifest).unwrap();
        std::fs::write(lab.at("proteins.fasta"), some_proteins(60)).unwrap();
        lab
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let mut command = protext(&arguments);
        command.env("XDG_CONFIG_HOME", self.folder.path()).current_dir(self.folder.path()).output().unwrap()
    }

    fn must(&self, arguments: &str) -> String {
        let ran = self.run(arguments);
        assert!(ran.status.success(), "{arguments}: {}", stderr(&ran));
        String::from_utf8(ran.stdout).unwrap()
    }
}

#[test]
fn an_own_encoder_is_pulled_whitened_indexed_and_searched() {
    if !is_ready("own_encoder") {
        return;
    }
    let lab = Lab::new();
    lab.must("models pull tiny");
    let build = "index build proteins.fasta --encoder tiny -o own.index";
    let refused = lab.run(build);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("protext train whitening --encoder tiny"), "{}", stderr(&refused));
    lab.must("train whitening --encoder tiny --proteins proteins.fasta -o own");
    lab.must(&format!("{build} --projection own"));
    let search = "search proteins.fasta --index own.index --encoder tiny --projection own -k 1 --format tsv";
    let found = lab.must(search);
    assert_eq!(found.lines().count(), 60);
    let first: Vec<&str> = found.lines().next().unwrap().split('\t').collect();
    assert_eq!(first[0], first[2], "a protein finds itself: {first:?}");
    // The same collection with the default encoder: another space, refused by name.
    let mixed = lab.run("search proteins.fasta --index own.index");
    assert_eq!(mixed.status.code(), Some(2));
    assert!(stderr(&mixed).contains("tiny-whitened"), "{}", stderr(&mixed));
    // Too few proteins for a whitening that was asked for.
    let few = lab.run("train whitening --encoder tiny --proteins proteins.fasta -o few --components 90");
    assert_eq!(few.status.code(), Some(2), "{}", stderr(&few));
    assert!(stderr(&few).contains("60 rows are too few"), "{}", stderr(&few));
}
