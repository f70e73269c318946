//! Full and read-only disks.
//!
//! If the test is allowed to mount one, the disk is a small file system in memory. Otherwise a limit on the size of
//! files replaces a full disk, and a directory without write permission replaces a read-only one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use test_support::emulator::Emulator;
use test_support::program::{STREAM, assert_complete, assert_consistent, read, run, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_the_next_run_continues_once_there_is_room() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..6000).await;
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let disk = Disk::new(1024);
        // The first run fills the disk, and the second finds it full.
        for run in 1..=2 {
            let output = disk.run(read(&disk.folder, &emulator.url, to).args(["--page-records", "100"]));
            let words = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{to}, run {run}: {words}");
            assert!(words.contains("error: cannot "), "{to}: {words}");
            assert!(words.contains("hint: ") && words.contains("room"), "{to}: {words}");
            let part = assert_consistent(&disk.folder, to);
            assert!(part < 6000, "{to}: the disk was not full");
            if to.starts_with("ndjson") {
                let state = std::fs::read_to_string(disk.folder.join("out.ndjson.state")).expect("a state");
                let length = std::fs::metadata(disk.folder.join("out.ndjson")).expect("the file").len();
                assert!(state.contains(&format!("\"length\":{length}")), "the file has {length} bytes: {state}");
            }
        }
        disk.make_room();
        let output = run(&mut read(&disk.folder, &emulator.url, to));
        assert!(output.status.success(), "{to}: {}", stderr(&output));
        assert_complete(&disk.folder, to, 6000);
    }
}

/// There is room for the messages but not for the state.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_the_state_no_message_is_kept() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..500).await;
    let disk = Disk::new(64);
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let state = format!("file:{}", disk.folder.join("kept.state").display());
    let read = || {
        let mut command = read(elsewhere.path(), &emulator.url, "ndjson:out.ndjson");
        command.args(["--state", &state]);
        command
    };
    disk.fill("kept.state");
    let output = run(&mut read());
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("cannot write the state"), "{words}");
    assert!(words.contains("hint: make room") || !disk.is_mounted, "{words}");
    let left = std::fs::metadata(elsewhere.path().join("out.ndjson")).map_or(0, |file| file.len());
    assert_eq!(left, 0, "messages are left that the state does not account for");

    disk.make_room();
    let output = run(&mut read());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(elsewhere.path().join("out.ndjson")).expect("the file");
    assert_eq!(text.lines().count(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_an_error_and_nothing_changes() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let mut count = 0;
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let disk = Disk::new(16 << 10);
        let refused = |to: &str| {
            let output = run(&mut read(&disk.folder, &emulator.url, to));
            let words = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{to}: {words}");
            assert!(words.contains("error: cannot "), "{to}: {words}");
            assert!(words.contains("hint: make the file and its directory writable"), "{to}: {words}");
        };
        for is_new in [true, false] {
            emulator.put(STREAM, count..count + 300).await;
            count += 300;
            if disk.set_writable(false) {
                let before = disk.listing();
                refused(to);
                assert_eq!(disk.listing(), before, "{to}, new: {is_new}");
            } else {
                // Permissions do not stop root, but even root cannot write here.
                refused(&to.replace(":", ":/sys/"));
            }
            disk.set_writable(true);
            let output = run(&mut read(&disk.folder, &emulator.url, to));
            assert!(output.status.success(), "{to}: {}", stderr(&output));
            assert_complete(&disk.folder, to, count);
        }
    }
}

/// A disk of a few KiB.
struct Disk {
    folder: PathBuf,
    kib: u32,
    is_mounted: bool,
    _parent: tempfile::TempDir,
}

impl Disk {
    fn new(kib: u32) -> Disk {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let folder = parent.path().join("disk");
        std::fs::create_dir(&folder).expect("a directory");
        let options = format!("size={kib}k");
        let is_mounted = succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder));
        Disk { folder, kib, is_mounted, _parent: parent }
    }

    /// Runs the program with the room that the disk has.
    fn run(&self, command: &mut Command) -> Output {
        if self.is_mounted {
            return run(command);
        }
        // In blocks of 512 bytes.
        let script = format!("ulimit -f {}; exec \"$0\" \"$@\"", self.kib / 2);
        let mut bounded = Command::new("/bin/sh");
        bounded.arg("-c").arg(script).arg(command.get_program()).args(command.get_args()).env_clear();
        bounded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bounded.current_dir(command.get_current_dir().expect("the directory is set"));
        run(&mut bounded)
    }

    /// Uses up all the room. If the disk is not mounted, blocks the name under which a new version of this file would
    /// be written instead.
    fn fill(&self, name: &str) {
        if !self.is_mounted {
            std::fs::create_dir(self.folder.join(format!(".{name}.new"))).expect("a directory");
            return;
        }
        let mut size = 1 << 16;
        while size > 0 {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("ballast"));
            let written = file.as_mut().map(|file| std::io::Write::write_all(file, &vec![0; size]));
            if !matches!(written, Ok(Ok(()))) {
                size /= 2;
            }
        }
    }

    fn make_room(&self) {
        if self.is_mounted {
            return assert!(self.remount("size=64m"), "cannot remount");
        }
        let _ = std::fs::remove_dir(self.folder.join(".kept.state.new"));
    }

    /// Makes the disk writable or read-only. Returns whether that worked.
    fn set_writable(&self, is_writable: bool) -> bool {
        if self.is_mounted {
            return self.remount(if is_writable { "rw" } else { "ro" });
        }
        let mode = if is_writable { "u+w" } else { "a-w" };
        let probe = self.folder.join("probe");
        let is_set = succeeds(Command::new("chmod").args(["-R", mode]).arg(&self.folder));
        let is_written = std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe)).is_ok();
        is_set && is_written == is_writable
    }

    fn remount(&self, options: &str) -> bool {
        succeeds(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.folder))
    }

    /// Returns the names and contents of all files.
    fn listing(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entry = |path: PathBuf| (path.clone(), std::fs::read(path).expect("a readable file"));
        let entries = std::fs::read_dir(&self.folder).expect("a directory");
        let mut all: Vec<_> = entries.map(|file| entry(file.expect("an entry").path())).collect();
        all.sort();
        all
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let unmount = |folder: &Path| succeeds(Command::new("umount").arg("--lazy").arg(folder));
            assert!(unmount(&self.folder) || std::thread::panicking(), "cannot unmount");
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
