//! Files that are not what they should be: links and pipes in place of files, one file for two purposes, and outputs
//! that are removed, replaced or changed while the program runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use test_support::emulator::Emulator;
use test_support::program::{STREAM, assert_complete, assert_consistent, bare, messages, read, run, stderr};
use test_support::proxy::{Fault, Mood, Proxy};

use crate::signals::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn anything_else_in_place_of_a_lock_is_an_error_and_left_alone() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    for (lock, to, more) in [
        (".out.db.orders.lock", "sqlite:out.db", &[][..]),
        (".out.ndjson.state.lock", "ndjson:out.ndjson", &[]),
        (".s.lock", "ndjson:-", &["--state", "file:s"]),
    ] {
        for kind in ["link", "dangling link", "pipe", "file", "hard link"] {
            let folder = tempfile::tempdir().expect("a temporary directory");
            let at = |name: &str| folder.path().join(name);
            fs::write(at("precious"), "").expect("a writable directory");
            match kind {
                "link" => symlink("precious", at(lock)).expect("a link"),
                "dangling link" => symlink("nowhere", at(lock)).expect("a link"),
                "pipe" => pipe(&at(lock)),
                "file" => fs::write(at(lock), "precious").expect("a writable directory"),
                _ => fs::hard_link(at("precious"), at(lock)).expect("a link"),
            }
            let before = fs::read_dir(folder.path()).expect("a directory").count();
            let output = run(read(folder.path(), &emulator.url, to).args(more));
            let words = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{kind}: {words}");
            assert!(words.contains("cannot take the lock") && words.contains(lock), "{kind}: {words}");
            assert!(words.contains("hint: remove"), "{kind}: {words}");
            assert_eq!(fs::read_to_string(at("precious")).expect("the file exists"), "");
            assert_eq!(fs::read_dir(folder.path()).expect("a directory").count(), before, "{kind}: a file was created");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_written_through_an_unexpected_link() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..50).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    for (link, target) in [(".out.ndjson.state.new", "precious"), ("report", "precious"), ("recording", "other")] {
        fs::write(at(target), target).expect("a writable directory");
        symlink(target, at(link)).expect("a link");
    }
    let outlets = ["--report", "report", "--recording", "recording"];
    let output = run(read(folder.path(), &emulator.url, "ndjson:out.ndjson").args(outlets));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), "ndjson:out.ndjson", 50);
    for target in ["precious", "other"] {
        assert_eq!(fs::read_to_string(at(target)).expect("the file exists"), target);
    }
    for name in ["report", "recording", "out.ndjson.state"] {
        assert!(fs::symlink_metadata(at(name)).expect("the file exists").is_file(), "{name}");
    }
    // SQLite's own files.
    for ending in ["-wal", "-shm", "-journal"] {
        symlink("precious", at(&format!("out.db{ending}"))).expect("a link");
        let output = run(&mut read(folder.path(), &emulator.url, "sqlite:out.db"));
        assert_eq!(output.status.code(), Some(2), "{ending}: {}", stderr(&output));
        assert!(stderr(&output).contains("it is a symbolic link"), "{ending}: {}", stderr(&output));
        fs::remove_file(at(&format!("out.db{ending}"))).expect("our own file");
    }
    assert_eq!(fs::read_to_string(at("precious")).expect("the file exists"), "precious");
}

/// If the user names a link, its target is meant, which need not exist yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_the_user_names_is_followed() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("data")).expect("a directory");
    for name in ["out.db", "out.ndjson", "out.ndjson.state"] {
        symlink(Path::new("data").join(name), at(name)).expect("a link");
    }
    for (from, to) in [(0, 20), (20, 40)] {
        emulator.put(STREAM, from..to).await;
        for out in ["sqlite:out.db", "ndjson:out.ndjson"] {
            let output = run(&mut read(folder.path(), &emulator.url, out));
            assert!(output.status.success(), "{out}: {}", stderr(&output));
            assert_complete(&at("data"), out, to);
        }
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a directory").count(), 4);
    assert!(["out.db", "out.ndjson", "out.ndjson.state"].iter().all(|name| at(name).is_symlink()));
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
async fn one_file_has_one_purpose() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..50).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    for out in ["sqlite:out.db", "ndjson:out.ndjson"] {
        assert!(run(&mut read(folder.path(), &emulator.url, out)).status.success());
    }
    fs::hard_link(at("out.db"), at("hard")).expect("a link");
    symlink("out.ndjson", at("soft")).expect("a link");
    fs::write(at("certificates.pem"), "").expect("a writable directory");
    fs::create_dir(at(".aws")).expect("a directory");
    fs::write(at(".aws/credentials"), "").expect("a writable directory");
    let before = listing(folder.path());
    let (db, lines) = ("sqlite:out.db", "ndjson:out.ndjson");
    for (to, more, words) in [
        (db, "--recording out.db", "--to and --recording are the same file: out.db"),
        (db, "--report ./out.db", "--to and --report are the same file"),
        (db, "--recording hard", "--to and --recording are the same file"),
        (db, "--invalid-records hard", "--to and --invalid-records are the same file"),
        (db, "--state file:out.db", "--to and --state are the same file"),
        (db, "--recording out.db-wal", "the write-ahead log of --to and --recording are the same file: "),
        (db, "--report out.db-shm", "the shared memory of --to and --report"),
        (db, "--invalid-records out.db-journal", "the journal of --to and --invalid-records"),
        (db, "--report .out.db.orders.lock", "the lock of --to and --report"),
        (db, "--state file:out.db.orders", "the lock of --to and the lock of --state"),
        (db, "--recording certificates.pem", "--recording and AWS_CA_BUNDLE are the same file"),
        (db, "--report .aws/credentials", "--report and AWS_SHARED_CREDENTIALS_FILE are the same file"),
        (lines, "--report out.ndjson", "--to and --report are the same file"),
        (lines, "--recording soft", "--to and --recording are the same file"),
        (lines, "--recording out.ndjson.state", "--state and --recording are the same file: out.ndjson.state"),
        (lines, "--report out.ndjson.state", "--state and --report are the same file"),
        (lines, "--invalid-records out.ndjson", "--to and --invalid-records are the same file"),
        (lines, "--report .out.ndjson.state.new", "the draft of --state and --report"),
        ("ndjson:-", "--recording t --report t", "--report and --recording are the same file: t"),
        (
            "ndjson:-",
            "--recording t --report ../../../../../../../../{}/t",
            "--report and --recording are the same file",
        ),
    ] {
        let mut command = read(folder.path(), &emulator.url, to);
        command.env("AWS_CA_BUNDLE", "certificates.pem");
        let more = more.replace("{}", folder.path().to_str().expect("text"));
        let output = run(command.args(more.split(' ')));
        let errors = stderr(&output);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{to} {more}: {errors}");
        assert!(
            errors.contains(words) && errors.contains("hint: give each a path of its own"),
            "{to} {more}: {errors}"
        );
        assert_eq!(listing(folder.path()), before, "{to} {more}: something was written");
    }
    // The same applies if the shell redirects stdout or stderr to such a file.
    for (stream, to, more) in [
        ("stdout", "ndjson:-", "--state file:out.ndjson.state"),
        ("stdout", "ndjson:-", "--report out.ndjson"),
        ("stderr", lines, "--recording out.log"),
    ] {
        let mut command = read(folder.path(), &emulator.url, to);
        command.args(more.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        let name = more.rsplit([' ', ':']).next().expect("a name");
        let file = fs::File::options().append(true).create(true).open(at(name)).expect("a writable directory");
        let length = file.metadata().expect("our own file").len();
        if stream == "stdout" {
            command.stdout(file)
        } else {
            command.stderr(file)
        };
        assert_eq!(command.status().expect("the program starts").code(), Some(2), "{stream} {more}");
        let text = fs::read_to_string(at(name)).expect("text");
        assert!(text[length as usize..].lines().all(|line| line.starts_with("error: ") || line.starts_with("hint: ")));
    }
    fs::remove_file(at("out.log")).expect("our own file");
    assert_eq!(listing(folder.path()), before);
    let outlets =
        ["--report", "/dev/null", "--recording", "/dev/null", "--invalid-records", "bad", "--payload", "json"];
    let output = run(read(folder.path(), &emulator.url, db).args(outlets));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_or_recording_does_not_overwrite_other_files() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    let with = |flag: &str, path: &str| run(read(folder.path(), &emulator.url, "sqlite:out.db").args([flag, path]));
    for flag in ["--report", "--recording"] {
        fs::write(at("precious"), "precious").expect("a writable directory");
        let output = with(flag, "precious");
        assert_eq!(output.status.code(), Some(2), "{flag}: {}", stderr(&output));
        assert!(stderr(&output).contains("precious: it holds something else"), "{flag}: {}", stderr(&output));
        assert!(stderr(&output).contains("hint: "), "{flag}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(at("precious")).expect("the file exists"), "precious");
        assert!(!at("out.db").exists());
    }
    for (flag, mode) in [("--report", 0o640), ("--recording", 0o600)] {
        fs::write(at(flag), "").expect("a writable directory");
        fs::set_permissions(at(flag), fs::Permissions::from_mode(0o640)).expect("our own file");
        for _ in 0..2 {
            let output = with(flag, &at(flag).to_string_lossy());
            assert!(output.status.success(), "{flag}: {}", stderr(&output));
            assert_eq!(fs::metadata(at(flag)).expect("the file exists").mode() & 0o777, mode, "{flag}");
        }
    }
    // A report does not overwrite a recording, nor the other way around.
    assert_eq!(with("--report", "--recording").status.code(), Some(2));
    assert_eq!(with("--recording", "--report").status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_and_sockets_are_refused_without_waiting_for_them() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).expect("a directory");
    for name in ["pipe", "out.db-journal", "out.db-wal"] {
        pipe(&at(name));
    }
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
    for name in ["pipe", "socket", "folder", "/dev/zero"] {
        for (to, more) in [
            (format!("sqlite:{name}"), String::new()),
            (format!("ndjson:{name}"), String::new()),
            ("ndjson:-".to_owned(), format!("--state file:{name}")),
            ("sqlite:new.db".to_owned(), format!("--invalid-records {name}")),
            ("sqlite:new.db".to_owned(), format!("--report {name}")),
            ("sqlite:new.db".to_owned(), format!("--recording {name}")),
        ] {
            if name == "/dev/zero" && (more.starts_with("--report") || more.starts_with("--recording")) {
                continue;
            }
            let output = run(read(folder.path(), &emulator.url, &to).args(more.split_whitespace()));
            assert_eq!(output.status.code(), Some(2), "{to} {more}: {}", stderr(&output));
            assert!(stderr(&output).contains("hint: "), "{to} {more}: {}", stderr(&output));
            assert!(!at("new.db").exists(), "{to} {more}");
        }
    }
    let refused = |command: &mut Command| {
        let output = run(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("it is not a regular file"), "{}", stderr(&output));
    };
    refused(&mut read(folder.path(), &emulator.url, "sqlite:out.db"));
    refused(bare(folder.path()).args(["show", "pipe"]));
    fs::File::create(at("out.db")).expect("a writable directory");
    refused(bare(folder.path()).args(["show", "out.db"]));
    for more in [["--state", "file:pipe"], ["--to", "sqlite:pipe"]] {
        let shards = ["shards", STREAM, "--endpoint-url", &emulator.url, "--region", test_support::emulator::REGION];
        refused(bare(folder.path()).args(shards).args(more));
    }
}

/// The proxy slows the run down, so that it is not finished when something happens to its files.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_removed_or_replaced_during_the_run_is_an_error_and_nothing_is_lost() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..2000).await;
    let proxy = Proxy::start(&emulator.url, 1, Mood::of(100, &[Fault::Delay])).await;
    let (db, lines) = ("sqlite:out.db", "ndjson:out.ndjson");
    let state = "the state was removed or replaced during the run: ";
    let output = "the output was removed or replaced during the run: ";
    for (to, name, is_replaced, words) in [
        (db, "out.db", false, output),
        (db, "out.db", true, output),
        (db, "out.db-wal", false, output),
        (lines, "out.ndjson", false, output),
        (lines, "out.ndjson", true, output),
        (lines, "out.ndjson.state", false, state),
        (lines, "out.ndjson.state", true, state),
    ] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let [path, away] = [name, "away"].map(|name| folder.path().join(name));
        let what = format!("{to}: {name} is {}", if is_replaced { "replaced" } else { "removed" });
        let disturbed = read_and_disturb(folder.path(), &proxy, to, &[], || {
            fs::rename(&path, &away).expect("the file exists");
            if is_replaced {
                fs::write(&path, "").expect("a writable directory");
            }
        });
        let output = disturbed.await;
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{what}: {errors}");
        assert!(errors.contains(words) && errors.contains(name.trim_end_matches("-wal")), "{what}: {errors}");
        assert!(errors.contains("hint: "), "{what}: {errors}");
        // The moved file is intact. Once it is back, the next run continues.
        if name != "out.db-wal" {
            fs::rename(&away, &path).expect("the file exists");
        }
        assert!(assert_consistent(folder.path(), to) < 2000, "{what}: the run was already finished");
        let output = run(&mut read(folder.path(), &emulator.url, to));
        assert!(output.status.success(), "{what}: {}", stderr(&output));
        assert_complete(folder.path(), to, 2000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_changed_by_another_program_is_an_error_and_nothing_is_lost() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..2000).await;
    let proxy = Proxy::start(&emulator.url, 1, Mood::of(100, &[Fault::Delay])).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (to, path) = ("ndjson:out.ndjson", folder.path().join("out.ndjson"));
    let disturbed = read_and_disturb(folder.path(), &proxy, to, &[], || {
        let file = fs::File::options().append(true).open(&path);
        file.and_then(|mut file| file.write_all(b"{\"n\":1,\"by\":\"another\"}\n")).expect("a writable file");
    });
    let output = disturbed.await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("another program changed the output during the run: "), "{}", stderr(&output));
    let output = run(&mut read(folder.path(), &emulator.url, to));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), to, 2000);

    // If the file is truncated, as by log rotation with `copytruncate`, the state must not claim what is gone.
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("out.ndjson");
    let disturbed = read_and_disturb(folder.path(), &proxy, to, &[], || {
        fs::File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("the file exists");
    });
    let output = disturbed.await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("another program changed the output"), "{}", stderr(&output));
    assert_eq!(fs::metadata(&path).expect("the file exists").len(), 0, "the file was written to");
    let output = run(&mut read(folder.path(), &emulator.url, to));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("the file is shorter than its state says, 0 of"), "{}", stderr(&output));
}

/// If the checkpoint is not in the output itself, messages in an unlinked file must not count as durable.
#[tokio::test(flavor = "multi_thread")]
async fn a_separate_state_does_not_claim_what_was_in_a_removed_output() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..2000).await;
    let proxy = Proxy::start(&emulator.url, 1, Mood::of(100, &[Fault::Delay])).await;
    for (name, more) in [("out.db", &[][..]), ("bad", &["--invalid-records", "bad"])] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let [path, away] = [name, "away"].map(|name| folder.path().join(name));
        if name == "bad" {
            fs::write(&path, "").expect("a writable directory");
        }
        let more = [&["--state", "file:s"], more].concat();
        let disturbed = read_and_disturb(folder.path(), &proxy, "sqlite:out.db", &more, || {
            fs::rename(&path, &away).expect("the file exists");
        });
        let output = disturbed.await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("the output was removed or replaced"), "{}", stderr(&output));
        fs::rename(&away, &path).expect("the file exists");
        let output = run(read(folder.path(), &emulator.url, "sqlite:out.db").args(&more));
        assert!(output.status.success(), "{}", stderr(&output));
        assert_complete(folder.path(), "sqlite:out.db", 2000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_code_is_used_only_if_no_other_user_can_have_written_it() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).expect("a directory");
    let compiled = cache.join("kinesis-reader/compiled");
    let starts = || {
        let mut command = read(folder.path(), &emulator.url, "ndjson:-");
        let output = run(command.arg("-v").env("XDG_CACHE_HOME", &cache));
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let file = || {
        let files = fs::read_dir(&compiled).expect("a directory").map(|entry| entry.expect("an entry").path());
        let files: Vec<PathBuf> = files.collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    };
    let inode = || fs::metadata(file()).expect("the file exists").ino();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
    assert!(!starts().contains("cach"));
    let first = inode();
    assert!(!starts().contains("cach"));
    assert_eq!(inode(), first, "the cached code was replaced instead of used");

    let whole = fs::read(file()).expect("the file exists");
    let last = whole.len() - 1;
    for damaged in [whole[..last].to_vec(), [&whole[..last], &[whole[last] ^ 1]].concat(), vec![0; 4096], vec![]] {
        fs::write(file(), damaged).expect("a writable directory");
        assert!(starts().contains("cached code is damaged, compiling again"));
        assert!(fs::read(file()).expect("the file exists") == whole);
    }
    mode(&file(), 0o666);
    assert!(starts().contains("others can write to it"));
    assert_eq!(fs::metadata(file()).expect("the file exists").mode() & 0o777, 0o600);
    assert!(!starts().contains("cach"));
    for folder in [&*compiled, compiled.parent().expect("a directory")] {
        mode(folder, 0o777);
        assert!(starts().contains("not caching compiled code"));
        mode(folder, 0o700);
    }
    assert!(!starts().contains("cach"));
}

/// Starts the program, calls `disturb` once the output has messages, and waits for the program to end.
async fn read_and_disturb(folder: &Path, proxy: &Proxy, to: &str, more: &[&str], disturb: impl FnOnce()) -> Output {
    let mut command = read(folder, &proxy.url, to);
    command.args(["--page-records", "10"]).args(more).stderr(Stdio::piped()).stdout(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    wait_until(|| !messages(folder, to).is_empty()).await;
    disturb();
    tokio::task::spawn_blocking(|| child.wait_with_output().expect("a child process")).await.expect("the run ends")
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().is_ok_and(|status| status.success()), "mkfifo");
}

/// Returns the names, modes and contents of all files.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a directory").map(|entry| entry.expect("an entry").path());
    let content =
        |path: &Path| (fs::metadata(path).expect("the file exists").mode(), fs::read(path).unwrap_or_default());
    entries.map(|path| (path.clone(), content(&path))).collect()
}
