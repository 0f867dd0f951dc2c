//! Which of the two formats a client asks for.
//!
//! Scrapers that know OpenMetrics name it. Who does not (an old Prometheus, a browser, `curl`) gets
//! Prometheus's own format, which every tool reads.

use hyper::{HeaderMap, header::ACCEPT};

use crate::views::metrics::Dialect;

pub fn dialect(headers: &HeaderMap) -> Dialect {
    let ranges: Vec<(String, f32)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(range)
        .collect();
    // Of several versions of a type, the one that is liked best.
    let liking = |wanted: &str| {
        ranges
            .iter()
            .filter(|(name, _)| name == wanted)
            .map(|(_, quality)| *quality)
            .fold(0.0, f32::max)
    };
    let open = liking("application/openmetrics-text");
    if open > 0.0 && open >= liking("text/plain") {
        Dialect::OpenMetrics
    } else {
        Dialect::Prometheus
    }
}

/// `type/subtype;parameters;q=0.5`: the type and how well it is liked.
fn range(text: &str) -> (String, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(1.0);
    (name, quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Dialect {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        dialect(&headers)
    }

    #[test]
    fn scrapers_get_what_they_like_best() {
        // Prometheus 2.42 and 3.5, as they ask.
        for accept in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text",
        ] {
            assert_eq!(of(accept), Dialect::OpenMetrics, "{accept}");
        }
        for accept in [
            "*/*",
            "text/plain;version=0.0.4",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.5",
            "",
        ] {
            assert_eq!(of(accept), Dialect::Prometheus, "{accept}");
        }
        assert_eq!(dialect(&HeaderMap::new()), Dialect::Prometheus);
    }
}
