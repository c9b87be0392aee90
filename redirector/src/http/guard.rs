//! Which requests are refused before anything else is looked at.
//!
//! A page of another site can make its visitor's browser send requests here. It can read the answers if it has its
//! own name resolve to this address (DNS rebinding); the `Host` of such requests is that name, so names must be
//! configured. And it can send requests without reading the answers; these have an `Origin` of its own.

use std::net::IpAddr;

use axum::Json;
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Longest path with its query, in bytes.
const MAX_PATH: usize = 1024;

/// Says where a request comes from (Fetch Metadata); a page cannot forge it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// An answer that something is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct Refusal {
    /// Why not and what to do, for people.
    pub(super) error: String,
}

/// A refusal with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        let mut response = (status, Json(Refusal { error })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"redirector\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Result<(), Refused> {
    Err(Refused(status, error.into()))
}

/// Checks a request's method, target, host, origin and body; `hosts` are the names that are configured.
pub(super) fn admit(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    hosts: &[String],
) -> Result<(), Refused> {
    if ![Method::GET, Method::HEAD, Method::POST].contains(method) {
        return refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{method} is not a method here"),
        );
    }
    if uri
        .path_and_query()
        .is_some_and(|path| path.as_str().len() > MAX_PATH)
    {
        return refuse(
            StatusCode::URI_TOO_LONG,
            format!("the path is longer than {MAX_PATH} bytes"),
        );
    }
    let host = host(headers)?;
    if !is_known(host, hosts) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "the name in `Host` is not known here; use the address, or list the name as `hosts` in [http]",
        );
    }
    let is_foreign = match headers.get(ORIGIN) {
        Some(origin) => !is_own(origin.as_bytes(), host),
        None => headers
            .get(FETCH_SITE)
            .is_some_and(|site| method == Method::POST && site != "same-origin" && site != "none"),
    };
    if is_foreign {
        return refuse(
            StatusCode::FORBIDDEN,
            "requests from pages of other sites are refused",
        );
    }
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    if headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0") {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body");
    }
    Ok(())
}

/// The one `Host` that a request must have (RFC 9112, section 3.2).
fn host(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut all = headers.get_all(HOST).iter();
    match (all.next().map(HeaderValue::to_str), all.next()) {
        (Some(Ok(host)), None) => Ok(host),
        (Some(Ok(_)), Some(_)) | (Some(Err(_)) | None, _) => Err(Refused(
            StatusCode::BAD_REQUEST,
            "a request must have exactly one Host".to_owned(),
        )),
    }
}

/// Addresses cannot be rebound, nor can `localhost` by a browser that heeds RFC 6761.
fn is_known(host: &str, hosts: &[String]) -> bool {
    let name = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, _)) = rest.split_once(']') else {
            return false;
        };
        return address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_ipv6());
    } else {
        host.rsplit_once(':').map_or(host, |(name, _)| name)
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.parse::<IpAddr>().is_ok() || hosts.contains(&name)
}

/// Whether an origin is this server, as the request names it. A proxy may speak TLS in front of it.
fn is_own(origin: &[u8], host: &str) -> bool {
    [b"http://".as_slice(), b"https://"]
        .iter()
        .filter_map(|scheme| origin.strip_prefix(*scheme))
        .any(|authority| authority.eq_ignore_ascii_case(host.as_bytes()))
}

/// Checks the token of a request that changes something, or that is told what others are not.
pub(super) fn authorise(headers: &HeaderMap, token: Option<&Secret>) -> Result<(), Refused> {
    let Some(token) = token else {
        return refuse(
            StatusCode::FORBIDDEN,
            "nothing that takes a token is allowed here; name a `token-file` in [http]",
        );
    };
    let given = headers
        .get(AUTHORIZATION)
        .map(HeaderValue::as_bytes)
        .and_then(|value| value.split_at_checked(b"Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, given)| given);
    match given {
        Some(given) if is_same(given, token.bytes()) => Ok(()),
        Some(_) => refuse(StatusCode::UNAUTHORIZED, "the token is wrong"),
        None => refuse(
            StatusCode::UNAUTHORIZED,
            "send the token of token-file: Authorization: Bearer TOKEN",
        ),
    }
}

/// Compares in a time that depends on the lengths only.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differing = |(one, other): (&u8, &u8)| one ^ other;
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .map(differing)
            .fold(0, |all, d| all | d)
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1:9180";

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn status(method: &Method, list: &[(&'static str, &str)]) -> Option<u16> {
        let uri = Uri::from_static("/api/v1/status");
        let hosts = ["relay.example.net".to_owned()];
        let admitted = admit(method, &uri, &headers(list), &hosts);
        admitted.err().map(|refused| refused.0.as_u16())
    }

    #[test]
    fn names_that_are_not_configured_are_refused_and_addresses_are_not() {
        for host in [
            HERE,
            "10.0.0.1",
            "[::1]:9180",
            "[2001:db8::1]",
            "localhost:9180",
            "relay.example.net:9180",
            "RELAY.example.net.",
        ] {
            assert_eq!(status(&Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9180",
            "relay.example.net.evil",
            "[::1",
            "",
        ] {
            assert_eq!(status(&Method::GET, &[("host", host)]), Some(421), "{host}");
        }
        assert_eq!(status(&Method::GET, &[]), Some(400));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:9181",
            "http://127.0.0.1",
        ] {
            let list = [("host", HERE), ("origin", origin)];
            assert_eq!(status(&Method::GET, &list), Some(403), "{origin}");
        }
        for origin in ["http://127.0.0.1:9180", "https://127.0.0.1:9180"] {
            assert_eq!(
                status(&Method::POST, &[("host", HERE), ("origin", origin)]),
                None
            );
        }
        let foreign = [("host", HERE), ("sec-fetch-site", "cross-site")];
        assert_eq!(status(&Method::POST, &foreign), Some(403));
        assert_eq!(
            status(&Method::GET, &foreign),
            None,
            "a link to the page works"
        );
        let own = [("host", HERE), ("sec-fetch-site", "same-origin")];
        assert_eq!(status(&Method::POST, &own), None);
    }

    #[test]
    fn bodies_long_paths_and_other_methods_are_refused() {
        assert_eq!(
            status(&Method::POST, &[("host", HERE), ("content-length", "1")]),
            Some(413)
        );
        assert_eq!(
            status(
                &Method::GET,
                &[("host", HERE), ("transfer-encoding", "chunked")]
            ),
            Some(413)
        );
        assert_eq!(
            status(&Method::POST, &[("host", HERE), ("content-length", "0")]),
            None
        );
        assert_eq!(status(&Method::DELETE, &[("host", HERE)]), Some(405));
        let long = format!("/{}", "a".repeat(MAX_PATH)).parse().unwrap();
        let refused = admit(&Method::GET, &long, &headers(&[("host", HERE)]), &[]).unwrap_err();
        assert_eq!(refused.0, StatusCode::URI_TOO_LONG);
    }

    #[test]
    fn only_the_token_itself_allows_actions() {
        let with = |value: &str| {
            authorise(
                &headers(&[("authorization", value)]),
                Some(&Secret::new("the token")),
            )
        };
        assert_eq!(with("Bearer the token"), Ok(()));
        assert_eq!(with("bearer the token"), Ok(()));
        for wrong in [
            "Bearer the toke",
            "Bearer the tokens",
            "Bearer ",
            "Basic the token",
            "the token",
            "",
        ] {
            assert_eq!(
                with(wrong).unwrap_err().0,
                StatusCode::UNAUTHORIZED,
                "{wrong}"
            );
        }
        assert_eq!(
            authorise(&HeaderMap::new(), Some(&Secret::new("t")))
                .unwrap_err()
                .0,
            StatusCode::UNAUTHORIZED
        );
        let off = authorise(&headers(&[("authorization", "Bearer ")]), None).unwrap_err();
        assert_eq!(off.0, StatusCode::FORBIDDEN);
    }
}
