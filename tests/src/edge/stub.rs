//! Services that answer what a test wants.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An answer.
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

    /// An error of AWS's.
    pub fn error(name: &str, message: &str) -> Reply {
        Reply::new(400, serde_json::json!({"__type": name, "message": message}).to_string())
    }

    /// With this header, in the place of another of its name.
    pub fn with(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status");
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value.parse().expect("it fits a header"));
        }
        response
    }
}

/// A service of AWS that answers an operation so. Gives its URL.
pub async fn service(answer: impl Fn(&str, &[u8]) -> Reply + Clone + Send + Sync + 'static) -> String {
    serve(move |headers, body| {
        let reply = answer(operation(&headers), &body);
        async move { reply }
    })
    .await
}

/// Stands before a service and changes what it answers. Gives its URL.
pub async fn before(service: &str, change: impl Fn(&str, Reply) -> Reply + Clone + Send + Sync + 'static) -> String {
    let service = service.to_owned();
    serve(move |headers, body| {
        let (service, change) = (service.clone(), change.clone());
        async move {
            let mut request = hyper::Request::post(service);
            // Also the name of the host, which is signed.
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            let client = Client::builder(TokioExecutor::new()).build_http();
            let answer = client.request(request.body(Full::new(body)).expect("a request")).await.expect("it answers");
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.expect("it answers whole").to_bytes();
            let mut reply = Reply::new(parts.status.as_u16(), body);
            if let Some(date) = parts.headers.get("date") {
                reply = reply.with("date", date.to_str().expect("it is text"));
            }
            change(operation(&headers), reply)
        }
    })
    .await
}

/// A server that reads the head of a request and nothing else, says this, and keeps the connection.
pub async fn deaf(says: &'static str) -> String {
    // With small segments and a small buffer the kernel takes less than 100 KB that nothing has read, instead of megabytes.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket is free");
    socket.set_tcp_mss(536).expect("the size is valid");
    socket.set_recv_buffer_size(4096).expect("the size is valid");
    socket.set_nonblocking(true).expect("it is a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    socket.listen(64).expect("it is bound");
    let listener = tokio::net::TcpListener::from_std(socket.into()).expect("it is a listener");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
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
            let _ = client.write_all(says.as_bytes()).await;
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
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// The operation that a request is of.
fn operation(headers: &HeaderMap) -> &str {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    target.and_then(|target| target.rsplit('.').next()).unwrap_or_default()
}
