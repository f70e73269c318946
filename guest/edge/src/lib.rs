//! Drains a Kinesis stream when it gets an HTTP request.
//!
//! - `POST /drain` takes the lease, reads what is new for a bounded time, delivers it, saves the checkpoint and gives
//!   the lease back.
//! - `GET /status` shows how far the stream is drained.
//! - `POST /lease/release` frees a lease that does not end by itself.
//!
//! This is a component for Spin and other wasi:http hosts, and it imports the reader's component. From the top down:
//! `handler` takes the request, `drain` does the work and `deliver` passes batches to the sink. `progress` is what is
//! kept between drains, and `store` is where. `fetch` sends requests, and `aws` signs them. `settings` come from the
//! operator, and `bounds` from the caller.

mod answer;
mod aws;
mod bindings;
mod bounds;
mod clock;
mod deliver;
mod drain;
mod fetch;
mod handler;
mod progress;
mod release;
mod setting_error;
mod settings;
mod status;
mod store;

struct Edge;

impl wasip2::exports::http::incoming_handler::Guest for Edge {
    fn handle(request: wasip2::http::types::IncomingRequest, out: wasip2::http::types::ResponseOutparam) {
        handler::handle(&request).send(out);
    }
}

wasip2::http::proxy::export!(Edge);
