//! A host that creates an instance of the component for each request, as `wasmtime serve` and Spin do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Cache, CacheConfig, Config, Engine, Store};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, default_send_request,
};

use super::events::{Event, Events};
use super::store::{self, Database};
use super::{Build, Options};

/// A loaded component, ready for requests.
pub struct Host {
    pre: ProxyPre<State>,
    options: Options,
    variables: Arc<BTreeMap<String, String>>,
    pub database: Arc<Database>,
    pub events: Arc<Events>,
}

/// An engine with a cache of compiled code, which all tests and their processes share.
pub fn engine() -> Engine {
    let mut config = Config::new();
    let mut settings = CacheConfig::new();
    settings.with_directory(std::env::temp_dir().join("kinesis-reader-tests/compiled"));
    config.cache(Cache::new(settings).ok());
    Engine::new(&config).expect("this platform is supported")
}

impl Host {
    /// Loads the component that includes the reader.
    pub fn new(engine: &Engine, options: Options) -> Host {
        let path = options.build.composed();
        let component = Component::from_file(engine, &path).unwrap_or_else(|error| panic!("{error:#}"));
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("wasi can be linked");
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).expect("wasi:http can be linked");
        // The other build must run without stores.
        if options.build == Build::Kv {
            store::add_to_linker(&mut linker, State::stores).expect("wasi:keyvalue and wasi:config can be linked");
        }
        let pre = linker.instantiate_pre(&component).and_then(ProxyPre::new);
        let events = Arc::new(Events::new(options.die_at));
        let variables = options.settings.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        Host {
            pre: pre.unwrap_or_else(|error| panic!("{}: {error:#}", path.display())),
            variables: Arc::new(variables.collect()),
            database: Arc::new(Database::open(&options.store, options.quirk, options.seed)),
            events,
            options,
        }
    }

    /// Serves on a free local port, and returns the URL.
    pub async fn serve(self: &Arc<Host>) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("the listener is bound"));
        let host = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let host = host.clone();
                let service = service_fn(move |request| {
                    let host = host.clone();
                    async move { Ok::<_, std::convert::Infallible>(host.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(client), service));
            }
        });
        url
    }

    /// Creates an instance and its state, and drops both.
    pub async fn instantiate(&self) {
        let mut store = Store::new(self.pre.engine(), self.state());
        self.pre.instantiate_async(&mut store).await.expect("all imports are linked");
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<HyperOutgoingBody> {
        match self.handle(request).await {
            Ok(response) => response,
            Err(error) => {
                eprintln!("the component failed: {error:?}");
                let body = Full::new(Bytes::from(format!("{error:?}"))).map_err(|infallible| match infallible {});
                let mut response = Response::new(body.boxed_unsync());
                *response.status_mut() = hyper::StatusCode::IM_A_TEAPOT;
                response
            }
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> wasmtime::Result<Response<HyperOutgoingBody>> {
        let mut store = Store::new(self.pre.engine(), self.state());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let out = store.data_mut().http().new_response_outparam(sender)?;
        let pre = self.pre.clone();
        // The component keeps running after it has sent its first bytes.
        let task = tokio::spawn(async move {
            let proxy = pre.instantiate_async(&mut store).await?;
            proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
        });
        match receiver.await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                task.await??;
                wasmtime::bail!("the component ended without an answer")
            }
        }
    }

    fn state(&self) -> State {
        let mut wasi = WasiCtx::builder();
        if self.options.build == Build::Http {
            for (name, value) in &self.options.settings {
                wasi.env(name, value);
            }
        }
        if let Some(file) = self.options.clock.clone() {
            wasi.wall_clock(Calendar(file));
        }
        if let Some(file) = self.options.monotonic.clone() {
            wasi.monotonic_clock(Monotonic(file, Instant::now()));
        }
        State {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks { events: self.events.clone() },
            table: ResourceTable::new(),
            variables: self.variables.clone(),
            database: self.database.clone(),
            events: self.events.clone(),
        }
    }
}

/// A calendar clock that is ahead by what a file says, so that a test can set the clock of several processes.
struct Calendar(PathBuf);

impl HostWallClock for Calendar {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        let ahead = std::fs::read_to_string(&self.0).ok().and_then(|text| text.parse::<i64>().ok());
        let (now, ahead) = (SystemTime::now().duration_since(UNIX_EPOCH), ahead.expect("the file is replaced at once"));
        let (now, offset) = (now.unwrap_or_default(), Duration::from_millis(ahead.unsigned_abs()));
        // WASI has no times before 1970.
        if ahead < 0 { now.saturating_sub(offset) } else { now + offset }
    }
}

/// A monotonic clock that is ahead by what a file says, so that a test can let time pass without waiting.
struct Monotonic(PathBuf, Instant);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        let ahead = std::fs::read_to_string(&self.0).ok().and_then(|text| text.parse::<u64>().ok());
        let elapsed = u64::try_from(self.1.elapsed().as_nanos()).expect("a test does not run for centuries");
        elapsed + ahead.expect("the file is replaced at once") * 1_000_000
    }
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
    variables: Arc<BTreeMap<String, String>>,
    database: Arc<Database>,
    events: Arc<Events>,
}

impl State {
    fn stores(&mut self) -> store::View<'_> {
        store::View {
            database: &self.database,
            events: &self.events,
            variables: &self.variables,
            table: &mut self.table,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Sends requests as wasmtime does, and records them.
struct Hooks {
    events: Arc<Events>,
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        let target = request.headers().get("x-amz-target").map(|target| target.as_bytes().starts_with(b"Kinesis"));
        let recorded = match target {
            Some(true) => Some((Event::KinesisAsked, Event::KinesisAnswered)),
            Some(false) => None,
            None => Some((Event::SinkAsked, Event::SinkAnswered)),
        };
        let events = self.events.clone();
        Box::new(async move {
            recorded.inspect(|(asked, _)| events.record(*asked));
            let (response, io) = default_send_request(request, options).await?;
            recorded.inspect(|(_, answered)| events.record(*answered));
            Ok((response.map(BodyExt::boxed_unsync), Box::new(io) as Io))
        })
    }
}
