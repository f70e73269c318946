//! The sandbox: when a component misbehaves during a read, the run ends with a clear error and nothing is lost.

use std::time::Duration;

use kinesis_reader::component::{Bounds, Error, Sandbox, wit};
use kinesis_reader::destination::{self, Batch, Destination, Written};
use test_support::emulator::Emulator;
use test_support::program::{STREAM, assert_complete, assert_consistent};
use wasm_encoder::{ComponentBuilder, ComponentExternName, ComponentTypeRef};

use crate::inside;
use crate::sabotage::{self, Sabotage};

/// Tighter than the program's bounds, so that the tests are quick.
const BOUNDS: Bounds = Bounds { memory: 64 << 20, call: Duration::from_secs(2) };

const MESSAGES: u32 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn a_sabotaged_component_ends_the_run_with_an_error_and_the_next_run_continues() {
    const SLOW: &str = "exceeded its time limit: 2s";
    const LARGE: &str = "exceeded its memory limit: 64 MiB";
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..MESSAGES).await;
    for (sabotage, export, calls, words) in [
        (Sabotage::Loop, "[method]reader.poll", 20, SLOW),
        (Sabotage::Loop, "[method]batch.lines", 3, SLOW),
        (Sabotage::Grow, "[method]reader.handle-response", 5, LARGE),
        (Sabotage::GrowForever, "[method]reader.checkpoint", 3, SLOW),
        (Sabotage::Recurse, "[method]reader.handle-delivered", 3, "the component failed: "),
        (Sabotage::Panic, "[method]batch.messages", 3, "the component failed: "),
        (Sabotage::Stray, "[method]reader.revision", 15, "the component failed: "),
        (Sabotage::TooLong, "[method]reader.checkpoint", 3, "the component failed: "),
        (Sabotage::TooLong, "[method]batch.lines", 3, "the component failed: "),
        (Sabotage::Amplified, "[method]batch.messages", 3, "too much data is being copied"),
        (Sabotage::Amplified, "[method]batch.lines", 3, "the component failed: "),
    ] {
        let what = format!("{sabotage:?} in {export}");
        let bytes = sabotage::component(sabotage, export, calls);
        let sandbox = Sandbox::new(BOUNDS, None).expect("a sandbox");
        let folder = tempfile::tempdir().expect("a temporary directory");
        // The database takes messages as records, the file takes them as lines.
        let to = if export.ends_with("messages") { inside::DATABASE } else { inside::FILE };
        let open = || -> Box<dyn Destination> {
            match to {
                inside::DATABASE => Box::new(inside::database(folder.path())),
                _ => Box::new(inside::file(folder.path())),
            }
        };
        let mut output = open();
        let loaded = sandbox.load(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        // At five pages per second, each page is committed before the next one is requested.
        let error = inside::drive(loaded, &emulator.url, output.as_mut(), |config| config.limits.page_records = 50);
        let error = error.await.expect_err(&what).to_string();
        assert!(error.contains(words), "{what}: {error}");
        drop(output);
        let part = assert_consistent(folder.path(), to);
        assert!((50..MESSAGES as usize).contains(&part) && part.is_multiple_of(50), "{what}: {part} messages are left");

        let mut output = open();
        let summary = inside::drive(inside::ours(), &emulator.url, output.as_mut(), |config| config.limits.pace = None);
        let summary = summary.await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(summary.written.messages, u64::from(MESSAGES) - part as u64, "{what}");
        drop(output);
        assert_complete(folder.path(), to, MESSAGES);
    }
}

#[test]
fn a_component_that_is_sabotaged_from_the_start_does_not_open() {
    for (sabotage, export) in [(Sabotage::Loop, "defaults"), (Sabotage::Grow, "[static]reader.open")] {
        let sandbox = Sandbox::new(Bounds { call: Duration::from_millis(200), ..BOUNDS }, None).expect("a sandbox");
        let mut loaded = sandbox.load(&sabotage::component(sabotage, export, 0)).expect("the component loads");
        // The bounds stay in force without the sandbox.
        drop(sandbox);
        let source = wit::Source::Name(STREAM.to_owned());
        match sabotage {
            Sabotage::Loop => {
                let error = loaded.defaults(&source).expect_err("the component loops");
                assert!(matches!(error, Error::TooSlow(_)), "{error:?}");
            }
            _ => {
                let config = loaded.defaults(&source).expect("defaults");
                let error = loaded.open(&config, None, 1, 0, 0).expect_err("the component takes all memory");
                assert!(matches!(error, Error::OutOfMemory(_)), "{error:?}");
            }
        }
    }
}

#[test]
fn files_that_are_not_components_or_have_imports_are_refused() {
    let sandbox = Sandbox::new(BOUNDS, None).expect("a sandbox");
    let mut with_import = ComponentBuilder::default();
    let kind = {
        let (index, mut kind) = with_import.type_function(None);
        kind.params([("", wasm_encoder::ComponentValType::Primitive(wasm_encoder::PrimitiveValType::U32)); 0]);
        kind.result(None);
        index
    };
    with_import.import(ComponentExternName::from("wasi:cli/run"), ComponentTypeRef::Func(kind));
    for (bytes, words) in [
        (b"no component".to_vec(), "cannot be loaded"),
        (wasm_encoder::Module::new().finish(), "cannot be loaded"),
        (ComponentBuilder::default().finish(), "kinesis:reader/reading"),
        (with_import.finish(), "wasi:cli/run"),
    ] {
        let error = sandbox.load(&bytes).err().expect("an error").to_string();
        assert!(error.contains("the component cannot be loaded") && error.contains(words), "{words}: {error}");
    }
}

/// The time limit is on the component's calls. A destination, such as a pipe to a slow reader, may take as long as it
/// needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_destination_does_not_use_up_the_component_s_time_limit() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..100).await;
    let bounds = Bounds { call: Duration::from_secs(1), ..BOUNDS };
    let sandbox = Sandbox::new(bounds, None).expect("a sandbox");
    let loaded = sandbox.load(kinesis_reader::component::COMPONENT).expect("the component loads");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut slow = Slow { output: inside::file(folder.path()), delay: Duration::from_millis(1500) };
    let done = inside::drive(loaded, &emulator.url, &mut slow, |_| ()).await;
    assert!(done.is_ok(), "{:?}", done.err());
    drop(slow);
    assert_complete(folder.path(), inside::FILE, 100);
}

/// A destination whose writes take longer than a call may.
struct Slow<D> {
    output: D,
    delay: Duration,
}

impl<D: Destination> Destination for Slow<D> {
    fn checkpoint(&mut self) -> Result<Option<String>, destination::Error> {
        self.output.checkpoint()
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, destination::Error> {
        let written = self.output.write(batch);
        std::thread::park_timeout(self.delay);
        written
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), destination::Error> {
        self.output.commit(checkpoint)
    }
}

#[test]
fn every_failure_of_a_component_has_a_hint() {
    for error in [Error::OutOfMemory(1 << 20), Error::TooSlow(Duration::from_secs(1)), Error::Trap("x".to_owned())] {
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("run again"), "{error}: {hint}");
        assert!(!error.is_usage_error());
    }
}
