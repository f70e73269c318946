//! Disks that are full, and disks that are read-only.
//!
//! Where the test may mount one, a small file system in memory is the disk; else a bound on the size of a file stands in
//! for a full one, and a folder without write permission for a read-only one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::emulator::Emulator;
use tests::program::{STREAM, assert_part, assert_whole, read, run, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_with_room_the_next_run_goes_on() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..6000).await;
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let disk = Disk::new(1024);
        // Two runs, as the first may get further than the second, which finds the disk full from its beginning.
        for run in 1..=2 {
            let output = disk.run(read(&disk.folder, &emulator.url, to).args(["--page-records", "100"]));
            let words = said(&output);
            assert_eq!(output.status.code(), Some(1), "{to}, run {run}: {words}");
            assert!(words.contains("error: cannot "), "{to}: {words}");
            assert!(words.contains("hint: ") && words.contains("room"), "{to}: {words}");
            let part = assert_part(&disk.folder, to);
            assert!(part < 6000, "{to}: it is all there");
            if to.starts_with("ndjson") {
                let state = std::fs::read_to_string(disk.folder.join("out.ndjson.state")).expect("a state");
                let length = std::fs::metadata(disk.folder.join("out.ndjson")).expect("the file").len();
                assert!(state.contains(&format!("\"length\":{length}")), "{length} bytes are left: {state}");
            }
        }
        disk.make_room();
        let output = run(&mut read(&disk.folder, &emulator.url, to));
        assert!(output.status.success(), "{to}: {}", said(&output));
        assert_whole(&disk.folder, to, 6000);
    }
}

/// The messages have room and their state has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_has_no_room_keeps_no_message_either() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..500).await;
    let disk = Disk::new(64);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let state = format!("file:{}", disk.folder.join("kept.state").display());
    let read = || {
        let mut command = read(elsewhere.path(), &emulator.url, "ndjson:out.ndjson");
        command.args(["--state", &state]);
        command
    };
    disk.fill("kept.state");
    let output = run(&mut read());
    let words = said(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("cannot write the state"), "{words}");
    assert!(words.contains("hint: make room") || !disk.is_mounted, "{words}");
    let left = std::fs::metadata(elsewhere.path().join("out.ndjson")).map_or(0, |file| file.len());
    assert_eq!(left, 0, "no message is left that no state accounts for");

    disk.make_room();
    let output = run(&mut read());
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(elsewhere.path().join("out.ndjson")).expect("the file");
    assert_eq!(text.lines().count(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_told_and_nothing_is_changed() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let mut whole = 0;
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let disk = Disk::new(16 << 10);
        let refused = |to: &str| {
            let output = run(&mut read(&disk.folder, &emulator.url, to));
            let words = said(&output);
            assert_eq!(output.status.code(), Some(1), "{to}: {words}");
            assert!(words.contains("error: cannot "), "{to}: {words}");
            assert!(words.contains("hint: make the file and its directory writable"), "{to}: {words}");
        };
        for is_new in [true, false] {
            emulator.put(STREAM, whole..whole + 300).await;
            whole += 300;
            if disk.set_writable(false) {
                let before = disk.listing();
                refused(to);
                assert_eq!(disk.listing(), before, "{to}, new: {is_new}");
            } else {
                // Who is root and may not mount anything still may not write here.
                refused(&to.replace(":", ":/sys/"));
            }
            disk.set_writable(true);
            let output = run(&mut read(&disk.folder, &emulator.url, to));
            assert!(output.status.success(), "{to}: {}", said(&output));
            assert_whole(&disk.folder, to, whole);
        }
    }
}

/// A disk of a few KiB.
struct Disk {
    folder: PathBuf,
    kib: u32,
    is_mounted: bool,
    _place: tempfile::TempDir,
}

impl Disk {
    fn new(kib: u32) -> Disk {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("disk");
        std::fs::create_dir(&folder).expect("a folder");
        let options = format!("size={kib}k");
        let is_mounted = does(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder));
        Disk { folder, kib, is_mounted, _place: place }
    }

    /// Runs the program with no more room than the disk has.
    fn run(&self, command: &mut Command) -> Output {
        if self.is_mounted {
            return run(command);
        }
        // In blocks of 512 bytes.
        let bound = format!("ulimit -f {}; exec \"$0\" \"$@\"", self.kib / 2);
        let mut bounded = Command::new("/bin/sh");
        bounded.arg("-c").arg(bound).arg(command.get_program()).args(command.get_args()).env_clear();
        bounded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bounded.current_dir(command.get_current_dir().expect("it is set"));
        run(&mut bounded)
    }

    /// Takes all the room that is left; or, where the disk has no bound, the name under which a new version of this
    /// file would be written.
    fn fill(&self, name: &str) {
        if !self.is_mounted {
            std::fs::create_dir(self.folder.join(format!(".{name}.new"))).expect("a folder");
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
            return assert!(self.remount("size=64m"), "it was mounted");
        }
        let _ = std::fs::remove_dir(self.folder.join(".kept.state.new"));
    }

    /// Whether it now is as it should be.
    fn set_writable(&self, is_writable: bool) -> bool {
        if self.is_mounted {
            return self.remount(if is_writable { "rw" } else { "ro" });
        }
        let mode = if is_writable { "u+w" } else { "a-w" };
        let probe = self.folder.join("probe");
        let is_set = does(Command::new("chmod").args(["-R", mode]).arg(&self.folder));
        let is_written = std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe)).is_ok();
        is_set && is_written == is_writable
    }

    fn remount(&self, options: &str) -> bool {
        does(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.folder))
    }

    /// Names and contents.
    fn listing(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entry = |path: PathBuf| (path.clone(), std::fs::read(path).expect("it can be read"));
        let entries = std::fs::read_dir(&self.folder).expect("a folder");
        let mut all: Vec<_> = entries.map(|file| entry(file.expect("an entry").path())).collect();
        all.sort();
        all
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let lazily = |folder: &Path| does(Command::new("umount").arg("--lazy").arg(folder));
            assert!(lazily(&self.folder) || std::thread::panicking(), "it was mounted");
        }
    }
}

fn does(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
