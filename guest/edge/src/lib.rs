//! Drains a Kinesis stream from an HTTP request: `POST /drain` takes the lease, reads what is new for a bounded time,
//! hands it on, keeps the checkpoint and gives the lease back; `GET /status` shows how far it is; `POST /lease/release`
//! frees a lease that does not end by itself.
//!
//! A component for Spin and any host of wasi:http, with the reader's component beside it. Top down: `handler` takes the
//! request, `drain` does the work, `deliver` hands on, `progress` is what is kept, `store` where; `fetch` sends requests
//! and `aws` signs them; `settings` and `bounds` are what was asked.

mod answer;
mod aws;
mod bounds;
mod clock;
mod deliver;
mod drain;
mod fetch;
mod handler;
mod progress;
mod release;
mod settings;
mod status;
mod store;

#[cfg(feature = "keyvalue")]
wit_bindgen::generate!({ path: ["../../../wit", "../wit"], world: "kinesis:edge/edge-keyvalue", generate_all });

#[cfg(feature = "dynamodb")]
wit_bindgen::generate!({ path: ["../../../wit", "../wit"], world: "kinesis:edge/edge-dynamodb", generate_all });

#[cfg(not(any(feature = "keyvalue", feature = "dynamodb")))]
compile_error!("choose a store: --features keyvalue, or --features dynamodb");

#[cfg(all(feature = "keyvalue", feature = "dynamodb"))]
compile_error!("choose one store: what a component imports cannot be optional");

use kinesis::reader::reading;

struct Edge;

impl wasip2::exports::http::incoming_handler::Guest for Edge {
    fn handle(request: wasip2::http::types::IncomingRequest, out: wasip2::http::types::ResponseOutparam) {
        handler::handle(&request).send(out);
    }
}

wasip2::http::proxy::export!(Edge);
