//! Files that are not what they should be: links and pipes in the place of files, one file for two purposes, and outputs
//! that are removed, replaced or changed while the program is at work.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tests::emulator::Emulator;
use tests::program::{STREAM, assert_part, assert_whole, bare, messages, read, run, said};
use tests::proxy::{Fault, Mood, Proxy};

use crate::signals::until;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_place_of_a_lock_is_told_and_left_alone() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    for (lock, to, more) in [
        (".out.db.orders.lock", "sqlite:out.db", &[][..]),
        (".out.ndjson.state.lock", "ndjson:out.ndjson", &[]),
        (".s.lock", "ndjson:-", &["--state", "file:s"]),
    ] {
        for kind in ["link", "dangling link", "pipe", "file", "hard link"] {
            let folder = tempfile::tempdir().expect("a folder");
            let at = |name: &str| folder.path().join(name);
            fs::write(at("precious"), "").expect("room");
            match kind {
                "link" => symlink("precious", at(lock)).expect("a link"),
                "dangling link" => symlink("nowhere", at(lock)).expect("a link"),
                "pipe" => pipe(&at(lock)),
                "file" => fs::write(at(lock), "precious").expect("room"),
                _ => fs::hard_link(at("precious"), at(lock)).expect("a link"),
            }
            let before = fs::read_dir(folder.path()).expect("a folder").count();
            let output = run(read(folder.path(), &emulator.url, to).args(more));
            let words = said(&output);
            assert_eq!(output.status.code(), Some(2), "{kind}: {words}");
            assert!(words.contains("cannot take the lock") && words.contains(lock), "{kind}: {words}");
            assert!(words.contains("hint: remove"), "{kind}: {words}");
            assert_eq!(fs::read_to_string(at("precious")).expect("it is there"), "");
            assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), before, "{kind}: something was made");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_written_through_a_link_that_nobody_named() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..50).await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (link, target) in [(".out.ndjson.state.new", "precious"), ("report", "precious"), ("recording", "other")] {
        fs::write(at(target), target).expect("room");
        symlink(target, at(link)).expect("a link");
    }
    let outlets = ["--report", "report", "--recording", "recording"];
    let output = run(read(folder.path(), &emulator.url, "ndjson:out.ndjson").args(outlets));
    assert!(output.status.success(), "{}", said(&output));
    assert_whole(folder.path(), "ndjson:out.ndjson", 50);
    for target in ["precious", "other"] {
        assert_eq!(fs::read_to_string(at(target)).expect("it is there"), target);
    }
    for name in ["report", "recording", "out.ndjson.state"] {
        assert!(fs::symlink_metadata(at(name)).expect("it is there").is_file(), "{name}");
    }
    // SQLite's own files.
    for ending in ["-wal", "-shm", "-journal"] {
        symlink("precious", at(&format!("out.db{ending}"))).expect("a link");
        let output = run(&mut read(folder.path(), &emulator.url, "sqlite:out.db"));
        assert_eq!(output.status.code(), Some(2), "{ending}: {}", said(&output));
        assert!(said(&output).contains("it is a symbolic link"), "{ending}: {}", said(&output));
        fs::remove_file(at(&format!("out.db{ending}"))).expect("it is ours");
    }
    assert_eq!(fs::read_to_string(at("precious")).expect("it is there"), "precious");
}

/// Whoever names a link means the file that it leads to, which need not be there yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_named_is_followed() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("data")).expect("a folder");
    for name in ["out.db", "out.ndjson", "out.ndjson.state"] {
        symlink(Path::new("data").join(name), at(name)).expect("a link");
    }
    for (from, to) in [(0, 20), (20, 40)] {
        emulator.put(STREAM, from..to).await;
        for out in ["sqlite:out.db", "ndjson:out.ndjson"] {
            let output = run(&mut read(folder.path(), &emulator.url, out));
            assert!(output.status.success(), "{out}: {}", said(&output));
            assert_whole(&at("data"), out, to);
        }
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 4);
    assert!(["out.db", "out.ndjson", "out.ndjson.state"].iter().all(|name| at(name).is_symlink()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_has_one_purpose() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..50).await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for out in ["sqlite:out.db", "ndjson:out.ndjson"] {
        assert!(run(&mut read(folder.path(), &emulator.url, out)).status.success());
    }
    fs::hard_link(at("out.db"), at("hard")).expect("a link");
    symlink("out.ndjson", at("soft")).expect("a link");
    fs::write(at("certificates.pem"), "").expect("room");
    fs::create_dir(at(".aws")).expect("a folder");
    fs::write(at(".aws/credentials"), "").expect("room");
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
        ("ndjson:-", "--recording t --report ../../../../../../../../{}/t", "--report and --recording are the same file"),
    ] {
        let mut command = read(folder.path(), &emulator.url, to);
        command.env("AWS_CA_BUNDLE", "certificates.pem");
        let more = more.replace("{}", folder.path().to_str().expect("text"));
        let output = run(command.args(more.split(' ')));
        let told = said(&output);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{to} {more}: {told}");
        assert!(told.contains(words) && told.contains("hint: give each a path of its own"), "{to} {more}: {told}");
        assert_eq!(listing(folder.path()), before, "{to} {more}: something was written");
    }
    // What the shell has put on stdout or stderr counts too.
    for (stream, to, more) in [
        ("stdout", "ndjson:-", "--state file:out.ndjson.state"),
        ("stdout", "ndjson:-", "--report out.ndjson"),
        ("stderr", lines, "--recording out.log"),
    ] {
        let mut command = read(folder.path(), &emulator.url, to);
        command.args(more.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        let name = more.rsplit([' ', ':']).next().expect("a name");
        let file = fs::File::options().append(true).create(true).open(at(name)).expect("room");
        let length = file.metadata().expect("it is ours").len();
        if stream == "stdout" {
            command.stdout(file)
        } else {
            command.stderr(file)
        };
        assert_eq!(command.status().expect("it starts").code(), Some(2), "{stream} {more}");
        let text = fs::read_to_string(at(name)).expect("text");
        assert!(text[length as usize..].lines().all(|line| line.starts_with("error: ") || line.starts_with("hint: ")));
    }
    fs::remove_file(at("out.log")).expect("it is ours");
    assert_eq!(listing(folder.path()), before);
    let outlets =
        ["--report", "/dev/null", "--recording", "/dev/null", "--invalid-records", "bad", "--payload", "json"];
    let output = run(read(folder.path(), &emulator.url, db).args(outlets));
    assert!(output.status.success(), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_kind_is_not_given_up_for_a_report_or_a_trace() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let with = |flag: &str, path: &str| run(read(folder.path(), &emulator.url, "sqlite:out.db").args([flag, path]));
    for flag in ["--report", "--recording"] {
        fs::write(at("precious"), "precious").expect("room");
        let output = with(flag, "precious");
        assert_eq!(output.status.code(), Some(2), "{flag}: {}", said(&output));
        assert!(said(&output).contains("precious: it holds something else"), "{flag}: {}", said(&output));
        assert!(said(&output).contains("hint: "), "{flag}: {}", said(&output));
        assert_eq!(fs::read_to_string(at("precious")).expect("it is there"), "precious");
        assert!(!at("out.db").exists());
    }
    for (flag, mode) in [("--report", 0o640), ("--recording", 0o600)] {
        fs::write(at(flag), "").expect("room");
        fs::set_permissions(at(flag), fs::Permissions::from_mode(0o640)).expect("it is ours");
        for _ in 0..2 {
            let output = with(flag, &at(flag).to_string_lossy());
            assert!(output.status.success(), "{flag}: {}", said(&output));
            assert_eq!(fs::metadata(at(flag)).expect("it is there").mode() & 0o777, mode, "{flag}");
        }
    }
    // A recording is not played into a report either.
    assert_eq!(with("--report", "--recording").status.code(), Some(2));
    assert_eq!(with("--recording", "--report").status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_and_sockets_are_refused_without_waiting_for_them() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).expect("a folder");
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
            assert_eq!(output.status.code(), Some(2), "{to} {more}: {}", said(&output));
            assert!(said(&output).contains("hint: "), "{to} {more}: {}", said(&output));
            assert!(!at("new.db").exists(), "{to} {more}");
        }
    }
    let refused = |command: &mut Command| {
        let output = run(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", said(&output));
        assert!(said(&output).contains("it is not a regular file"), "{}", said(&output));
    };
    refused(&mut read(folder.path(), &emulator.url, "sqlite:out.db"));
    refused(bare(folder.path()).args(["show", "pipe"]));
    fs::File::create(at("out.db")).expect("room");
    refused(bare(folder.path()).args(["show", "out.db"]));
    for kept in [["--state", "file:pipe"], ["--to", "sqlite:pipe"]] {
        let ask = ["shards", STREAM, "--endpoint-url", &emulator.url, "--region", tests::emulator::REGION];
        refused(bare(folder.path()).args(ask).args(kept));
    }
}

/// The run is slow, so that it is at work when something happens to its files.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_removed_or_replaced_in_mid_run_is_told_and_nothing_is_lost() {
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
        let folder = tempfile::tempdir().expect("a folder");
        let [path, away] = [name, "away"].map(|name| folder.path().join(name));
        let what = format!("{to}: {name} is {}", if is_replaced { "replaced" } else { "removed" });
        let disturbed = at_work(folder.path(), &proxy, to, &[], || {
            fs::rename(&path, &away).expect("it is there");
            if is_replaced {
                fs::write(&path, "").expect("room");
            }
        });
        let ended = disturbed.await;
        let told = said(&ended);
        assert_eq!(ended.status.code(), Some(1), "{what}: {told}");
        assert!(told.contains(words) && told.contains(name.trim_end_matches("-wal")), "{what}: {told}");
        assert!(told.contains("hint: "), "{what}: {told}");
        // What was put aside is whole, and with it back the next run goes on.
        if name != "out.db-wal" {
            fs::rename(&away, &path).expect("it is there");
        }
        assert!(assert_part(folder.path(), to) < 2000, "{what}: it was done before");
        let output = run(&mut read(folder.path(), &emulator.url, to));
        assert!(output.status.success(), "{what}: {}", said(&output));
        assert_whole(folder.path(), to, 2000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_another_program_writes_to_in_mid_run_is_told_and_nothing_is_lost() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..2000).await;
    let proxy = Proxy::start(&emulator.url, 1, Mood::of(100, &[Fault::Delay])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (to, path) = ("ndjson:out.ndjson", folder.path().join("out.ndjson"));
    let disturbed = at_work(folder.path(), &proxy, to, &[], || {
        let file = fs::File::options().append(true).open(&path);
        file.and_then(|mut file| file.write_all(b"{\"n\":1,\"by\":\"another\"}\n")).expect("room");
    });
    let ended = disturbed.await;
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
    assert!(said(&ended).contains("another program changed the output during the run: "), "{}", said(&ended));
    let output = run(&mut read(folder.path(), &emulator.url, to));
    assert!(output.status.success(), "{}", said(&output));
    assert_whole(folder.path(), to, 2000);

    // Cut, as by a rotation that copies: the state does not say that what is gone is there.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.ndjson");
    let disturbed = at_work(folder.path(), &proxy, to, &[], || {
        fs::File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("it is there");
    });
    let ended = disturbed.await;
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
    assert!(said(&ended).contains("another program changed the output"), "{}", said(&ended));
    assert_eq!(fs::metadata(&path).expect("it is there").len(), 0, "it is left as it was made");
    let output = run(&mut read(folder.path(), &emulator.url, to));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("the file is shorter than its state says, 0 of"), "{}", said(&output));
}

/// Beside a database whose checkpoint is elsewhere, what is in an unlinked file must not count as kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_elsewhere_is_not_told_of_a_database_that_is_gone() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..2000).await;
    let proxy = Proxy::start(&emulator.url, 1, Mood::of(100, &[Fault::Delay])).await;
    for (name, more) in [("out.db", &[][..]), ("bad", &["--invalid-records", "bad"])] {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, away] = [name, "away"].map(|name| folder.path().join(name));
        if name == "bad" {
            fs::write(&path, "").expect("room");
        }
        let more = [&["--state", "file:s"], more].concat();
        let ended = at_work(folder.path(), &proxy, "sqlite:out.db", &more, || {
            fs::rename(&path, &away).expect("it is there");
        });
        let ended = ended.await;
        assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
        assert!(said(&ended).contains("the output was removed or replaced"), "{}", said(&ended));
        fs::rename(&away, &path).expect("it is there");
        let output = run(read(folder.path(), &emulator.url, "sqlite:out.db").args(&more));
        assert!(output.status.success(), "{}", said(&output));
        assert_whole(folder.path(), "sqlite:out.db", 2000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_is_used_only_if_nobody_else_can_have_written_it() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).expect("a folder");
    let compiled = cache.join("kinesis-reader/compiled");
    let starts = || {
        let mut command = read(folder.path(), &emulator.url, "ndjson:-");
        let output = run(command.arg("-v").env("XDG_CACHE_HOME", &cache));
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let file = || {
        let files = fs::read_dir(&compiled).expect("a folder").map(|entry| entry.expect("an entry").path());
        let files: Vec<PathBuf> = files.collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    };
    let inode = || fs::metadata(file()).expect("it is there").ino();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    assert!(!starts().contains("cach"));
    let first = inode();
    assert!(!starts().contains("cach"));
    assert_eq!(inode(), first, "it is used, and not made again");

    let whole = fs::read(file()).expect("it is there");
    let last = whole.len() - 1;
    for damaged in [whole[..last].to_vec(), [&whole[..last], &[whole[last] ^ 1]].concat(), vec![0; 4096], vec![]] {
        fs::write(file(), damaged).expect("room");
        assert!(starts().contains("cached code is damaged, compiling again"));
        assert!(fs::read(file()).expect("it is there") == whole);
    }
    mode(&file(), 0o666);
    assert!(starts().contains("others can write to it"));
    assert_eq!(fs::metadata(file()).expect("it is there").mode() & 0o777, 0o600);
    assert!(!starts().contains("cach"));
    for folder in [&*compiled, compiled.parent().expect("a folder")] {
        mode(folder, 0o777);
        assert!(starts().contains("not caching compiled code"));
        mode(folder, 0o700);
    }
    assert!(!starts().contains("cach"));
}

/// Starts to read, lets something happen once there are messages, and gives the end.
async fn at_work(folder: &Path, proxy: &Proxy, to: &str, more: &[&str], happen: impl FnOnce()) -> Output {
    let mut command = read(folder, &proxy.url, to);
    command.args(["--page-records", "10"]).args(more).stderr(Stdio::piped()).stdout(Stdio::piped());
    let child = command.spawn().expect("it starts");
    until(|| !messages(folder, to).is_empty()).await;
    happen();
    tokio::task::spawn_blocking(|| child.wait_with_output().expect("it is our child")).await.expect("it ends")
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().is_ok_and(|status| status.success()), "mkfifo");
}

/// Names, contents and rights.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let look = |path: &Path| (fs::metadata(path).expect("it is there").mode(), fs::read(path).unwrap_or_default());
    entries.map(|path| (path.clone(), look(&path))).collect()
}
