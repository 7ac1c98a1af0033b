use http::header::{HOST, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};

use super::error::{ClientError, ClientErrorKind};

/// The server of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    /// In lower case, without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    pub(super) fn of<B>(request: &Request<B>) -> Result<Origin, ClientError> {
        let invalid = |text: &str| ClientError::new(ClientErrorKind::InvalidRequest, text);
        if request.method() == Method::CONNECT {
            return Err(invalid("the method CONNECT is not supported"));
        }
        let uri = request.uri();
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(invalid("the scheme of the URI must be http or https")),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| invalid("the URI has no host"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Origin { is_tls, host: host.to_ascii_lowercase(), port })
    }

    /// Gives a request the form of HTTP/1.1: the host in a header, the path as the URI.
    pub(super) fn make_http1<B>(&self, request: &mut Request<B>, uri: &Uri) {
        *request.version_mut() = Version::HTTP_11;
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        if !request.headers().contains_key(HOST) {
            let host = uri.host().unwrap_or_default();
            let text = match uri.port_u16() {
                Some(port) if port != if self.is_tls { 443 } else { 80 } => {
                    format!("{host}:{port}")
                }
                Some(_) | None => host.to_owned(),
            };
            let host = HeaderValue::from_str(&text).expect("a host is a valid header");
            request.headers_mut().insert(HOST, host);
        }
    }

    /// Gives a request the form of HTTP/2: the host in the URI.
    pub(super) fn make_http2<B>(request: &mut Request<B>, uri: &Uri) {
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.clone();
        request.headers_mut().remove(HOST);
    }
}
