//! A disk that is full: commands say so and how much is missing, nothing is lost, and deleting helps.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tenon_tests::{
    Room, component,
    models::{Folder, Tensor, gpt2, prefixed, pytorch, safetensors},
    ready_to_train, train,
};

/// A small disk in memory, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    /// Nothing where this user may not mount one.
    fn mount(at: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|out| out.status.success());
        if !mounted {
            eprintln!("SKIPPED: this user may not mount a small disk");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills all but `left` bytes.
fn fill(disk: &Disk, left: u64) -> PathBuf {
    let path = disk.0.join("ballast");
    let stat = rustix::fs::statvfs(&disk.0).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let bytes = vec![1_u8; usize::try_from(free.saturating_sub(left)).unwrap()];
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn an_import_that_does_not_fit() {
    let room = Room::new();
    let Some(disk) = Disk::mount(&room.data(), 128) else {
        return;
    };
    let small = room.file("small.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
    room.ok(&["data", "import", "small", &small]);
    // Numbers that no compression makes small.
    let mut number = 1_u64;
    let rows: String = (0..1_500_000)
        .map(|_| {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            format!(
                "{{\"text\": \"{number:x}{:x}\"}}\n",
                number.rotate_left(32) ^ 0x5555
            )
        })
        .collect();
    let large = room.file("large.jsonl", rows);
    let ballast = fill(&disk, 40 << 20);
    let said = room.fails(1, &["data", "import", "large", &large]);
    assert!(said.contains("full") || said.contains("space"), "{said}");
    assert!(said.contains("free space"), "the remedy: {said}");
    // What was there is there, what was not finished is not.
    assert!(
        room.ok(&["data", "show", "small", "--json"])
            .contains("\"rows\"")
    );
    room.fails(2, &["data", "show", "large"]);
    // Deleting works on the full disk, and with room again the import does too.
    room.ok(&["data", "delete", "small"]);
    fs::remove_file(ballast).unwrap();
    room.ok(&["data", "import", "small", &small]);
    room.ok(&["store", "verify"]);
}

#[test]
fn a_training_whose_disk_fills_up() {
    let room = Room::new();
    let Some(disk) = Disk::mount(&room.data(), 160) else {
        return;
    };
    let source = ready_to_train();
    // The same folder, on the small disk.
    for entry in fs::read_dir(source.data()).unwrap() {
        let path = entry.unwrap().path();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&path)
            .arg(room.data())
            .status()
            .unwrap();
        assert!(copied.success());
    }
    let ballast = fill(&disk, 24 << 20);
    let done = room.run(&train(&[
        "--steps",
        "20",
        "--checkpoint-every",
        "2",
        "--register",
        "poet",
    ]));
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("full") || done.stderr.contains("space"),
        "{}",
        done.stderr
    );
    fs::remove_file(ballast).unwrap();
    assert!(!room.json(&["model", "list"]).to_string().contains("poet"));
    room.ok(&train(&["--steps", "20", "--register", "poet"]));
    assert!(room.json(&["model", "list"]).to_string().contains("poet"));
}

#[test]
fn a_model_that_does_not_fit() {
    let room = Room::new();
    let Some(disk) = Disk::mount(&room.data(), 192) else {
        return;
    };
    room.ok(&["plugin", "install", &component("recipe-gpt")]);
    // Names that are not the recipe's: the weights are written a second time under others.
    let mut tensors = prefixed("transformer.", &gpt2());
    tensors.push(Tensor::f32("ballast.weight", &[9, 1 << 20]));
    let folder = Folder::gpt2(room.path("large"));
    folder.put("model.safetensors", safetensors(&tensors, pytorch()));
    let import = ["model", "import", folder.text(), "--name", "large"];
    // Not even the upload: refused before a byte is sent.
    let ballast = fill(&disk, 30 << 20);
    let said = room.fails(1, &import);
    assert!(said.contains("full") || said.contains("space"), "{said}");
    assert!(said.contains("free space"), "the remedy: {said}");
    let left = |room: &Room| {
        let files = fs::read_dir(room.data().join("tmp")).unwrap().count();
        let models = room.json(&["model", "list"]);
        assert_eq!(models["models"], serde_json::json!([]));
        files
    };
    assert_eq!(left(&room), 0);
    fs::remove_file(&ballast).unwrap();
    room.ok(&import);
    assert_eq!(
        room.json(&["store", "verify"])["damage"],
        serde_json::json!([])
    );
}
