//! What is answered to one request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, VARY},
};

use super::{accept, scrape::Scrapes};

const ROOT: &str = "memmon-ebpf: the metrics are at /metrics\n";
const PLAIN: &str = "text/plain; charset=utf-8";

/// The body of a request, if it has one, is not looked at.
pub async fn answer<B>(request: Request<B>, scrapes: &Scrapes) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let dialect = accept::dialect(request.headers());
            let Some(text) = scrapes.text(dialect).await else {
                return plain(StatusCode::SERVICE_UNAVAILABLE, "memmon-ebpf is ending\n");
            };
            let mut response = Response::new(Full::new(text));
            let headers = response.headers_mut();
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static(dialect.content_type()),
            );
            headers.insert(VARY, HeaderValue::from_static("accept"));
            response
        }
        "/" => plain(StatusCode::OK, ROOT),
        _ => plain(
            StatusCode::NOT_FOUND,
            "nothing is here; the metrics are at /metrics\n",
        ),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static(PLAIN);
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
