//! HTTP servers that answer as a test asks.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: vec![("content-type", "application/x-amz-json-1.1".to_owned())], body: body.into() }
    }

    /// An error in AWS's format.
    pub fn error(name: &str, message: &str) -> Reply {
        Reply::new(400, serde_json::json!({"__type": name, "message": message}).to_string())
    }

    /// Sets a header.
    pub fn with(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("the status is valid");
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value.parse().expect("the header is valid"));
        }
        response
    }
}

/// Starts an AWS service that answers each operation with this function. Returns its URL.
pub async fn service(answer: impl Fn(&str, &[u8]) -> Reply + Clone + Send + Sync + 'static) -> String {
    serve(move |headers, body| {
        let reply = answer(operation(&headers), &body);
        async move { reply }
    })
    .await
}

/// Starts a proxy that changes the answers of a service. Returns its URL.
pub async fn intercept(service: &str, change: impl Fn(&str, Reply) -> Reply + Clone + Send + Sync + 'static) -> String {
    let service = service.to_owned();
    serve(move |headers, body| {
        let (service, change) = (service.clone(), change.clone());
        async move {
            let mut request = hyper::Request::post(service);
            // This includes the host, which is signed.
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            let client = Client::builder(TokioExecutor::new()).build_http();
            let request = request.body(Full::new(body)).expect("the request is valid");
            let answer = client.request(request).await.expect("the service answers");
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.expect("the answer is complete").to_bytes();
            let mut reply = Reply::new(parts.status.as_u16(), body);
            if let Some(date) = parts.headers.get("date") {
                reply = reply.with("date", date.to_str().expect("a date is ASCII"));
            }
            change(operation(&headers), reply)
        }
    })
    .await
}

/// Starts a server that reads only the headers of a request, sends this answer, and keeps the connection open. Returns
/// its URL.
pub async fn header_only_server(answer: &'static str) -> String {
    // With small segments and a small buffer, the kernel accepts less than 100 KB that nothing has read, not megabytes.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket is free");
    socket.set_tcp_mss(536).expect("the size is valid");
    socket.set_recv_buffer_size(4096).expect("the size is valid");
    socket.set_nonblocking(true).expect("the socket is new");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    socket.listen(64).expect("the socket is bound");
    let listener = tokio::net::TcpListener::from_std(socket.into()).expect("the socket listens");
    let url = format!("http://{}/", listener.local_addr().expect("the listener is bound"));
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match client.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let _ = client.write_all(answer.as_bytes()).await;
            open.push(client);
        }
    });
    url
}

async fn serve<F>(answer: impl Fn(HeaderMap, Bytes) -> F + Clone + Send + Sync + 'static) -> String
where
    F: Future<Output = Reply> + Send,
{
    let app = axum::Router::new().fallback(async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap_or_default();
        answer(parts.headers, body).await.into_response()
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("the listener is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// The operation that a request asks for.
fn operation(headers: &HeaderMap) -> &str {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    target.and_then(|target| target.rsplit('.').next()).unwrap_or_default()
}
