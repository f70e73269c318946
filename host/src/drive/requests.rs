//! The requests in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::clock::Clock;
use crate::bindings::wit;
use crate::component::{self, Reader};
use crate::transport::{self, Transport};

/// A body of this size is a page, and is delivered before the reader is given another body. The reader's memory never
/// shrinks, so it should not hold many of them at once.
const LARGE_BODY: usize = 1 << 20;

/// The requests in flight.
pub(crate) struct Requests<T> {
    transport: Arc<T>,
    clock: Clock,
    started: u64,
    answered: u64,
    sender: UnboundedSender<Ended>,
    receiver: UnboundedReceiver<Ended>,
}

struct Ended {
    id: u64,
    result: Result<wit::Response, wit::Failure>,
}

/// Reports how a request ended, even if its task panics.
struct Reporter {
    id: u64,
    /// `None` once reported.
    sender: Option<UnboundedSender<Ended>>,
}

impl Reporter {
    fn report(mut self, result: Result<wit::Response, wit::Failure>) {
        self.send(result);
    }

    fn send(&mut self, result: Result<wit::Response, wit::Failure>) {
        if let Some(sender) = self.sender.take() {
            // The receiver is gone once the run has ended.
            let _ = sender.send(Ended { id: self.id, result });
        }
    }
}

impl Drop for Reporter {
    /// A panic is a bug in the transport and would happen again, so the reader should neither wait nor retry.
    fn drop(&mut self) {
        self.send(Err(wit::Failure::Permanent("a bug in the transport ended the request".to_owned())));
    }
}

impl<T: Transport> Requests<T> {
    pub(crate) fn new(transport: Arc<T>, clock: Clock) -> Requests<T> {
        // Unbounded, because the reader limits the number of requests in flight.
        let (sender, receiver) = mpsc::unbounded_channel();
        Requests { transport, clock, started: 0, answered: 0, sender, receiver }
    }

    /// The number of requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        (self.started - self.answered) as usize
    }

    /// The number of requests whose result the reader has received.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    pub(crate) fn start(&mut self, request: wit::Request) {
        self.started += 1;
        let transport = self.transport.clone();
        let reporter = Reporter { id: request.id, sender: Some(self.sender.clone()) };
        let timeout = Duration::from_millis(request.deadline.saturating_sub(self.clock.now()));
        tracing::trace!(id = request.id, target = %request.target, shard = request.shard, "sending");
        tokio::spawn(async move {
            let body = match request.body {
                wit::Body::Json(text) => transport::Body::Json(text),
                wit::Body::Cbor(bytes) => transport::Body::Cbor(bytes),
            };
            let request = transport::Request { target: request.target, body, timeout };
            let result = match transport.send(request).await {
                Ok(response) => Ok(to_wit(response)),
                Err(transport::Failure::Transient(why)) => Err(wit::Failure::Transient(why)),
                Err(transport::Failure::Permanent(why)) => Err(wit::Failure::Permanent(why)),
            };
            reporter.report(result);
        });
    }

    /// Waits for a response or until `until`, and passes it to the reader. Responses that are already there are passed
    /// on too, up to the first large one.
    pub(crate) async fn wait(&mut self, reader: &mut Reader, until: Option<u64>) -> Result<(), component::Error> {
        let timer = async {
            match until {
                Some(until) => tokio::time::sleep_until(self.clock.at(until)).await,
                None => std::future::pending().await,
            }
        };
        let mut received = tokio::select! {
            // `self` holds a sender, so the channel never closes.
            received = self.receiver.recv() => received,
            () = timer => {
                return reader.handle_timeout(self.clock.now());
            }
        };
        while let Some(Ended { id, result }) = received {
            self.answered += 1;
            let mut size = 0;
            match result {
                Ok(response) => {
                    size = match &response.body {
                        wit::Body::Json(text) => text.len(),
                        wit::Body::Cbor(bytes) => bytes.len(),
                    };
                    reader.handle_response(id, &response, self.clock.now())?;
                }
                Err(failure) => reader.handle_failure(id, &failure, self.clock.now())?,
            }
            if size >= LARGE_BODY {
                break;
            }
            received = self.receiver.try_recv().ok();
        }
        Ok(())
    }
}

fn to_wit(response: transport::Response) -> wit::Response {
    let transport::Response { status, body, aws_request_id, date, signed } = response;
    let body = match body {
        transport::Body::Json(text) => wit::Body::Json(text),
        transport::Body::Cbor(bytes) => wit::Body::Cbor(bytes),
    };
    wit::Response { status, body, aws_request_id, date, signed }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Transport for Panics {
        async fn send(&self, _: transport::Request) -> Result<transport::Response, transport::Failure> {
            panic!("a bug")
        }
    }

    #[tokio::test]
    async fn a_panic_in_the_transport_is_reported_as_a_failure() {
        let mut requests = Requests::new(Arc::new(Panics), Clock::start());
        requests.start(wit::Request {
            id: 7,
            operation: wit::Operation::GetRecords,
            shard: None,
            target: "Kinesis_20131202.GetRecords".to_owned(),
            body: wit::Body::Json("{}".to_owned()),
            deadline: 30_000,
        });
        let Ended { id, result } = requests.receiver.recv().await.expect("`requests` holds a sender");
        assert_eq!(id, 7);
        let Err(wit::Failure::Permanent(why)) = result else { panic!("{result:?}") };
        assert!(why.contains("a bug in the transport"), "{why}");
        assert_eq!(
            (requests.in_flight(), requests.answered()),
            (1, 0),
            "an answer counts once the reader has received it"
        );
    }
}
