//! A blocking HTTP/2 client, without TLS.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, runtime, time::timeout};

use super::PATIENCE;

/// A connection.
#[derive(Debug)]
pub(crate) struct H2 {
    runtime: runtime::Runtime,
    sender: http2::SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

// === impl H2 ===

impl H2 {
    pub(crate) fn open(address: SocketAddr) -> Outcome<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = runtime.block_on(async {
            let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Outcome::Ok(sender)
        })?;
        Ok(Self { runtime, sender, address })
    }

    /// Does nothing for so long, but hear what the server says.
    pub(crate) fn idle(&self, pause: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(pause).await });
    }

    /// False once the server has said goodbye: a further request belongs on another connection.
    pub(crate) fn is_open(&mut self) -> bool {
        self.runtime.block_on(self.sender.ready()).is_ok() && !self.sender.is_closed()
    }

    /// Status and body of the answer to one request.
    pub(crate) fn send(&mut self, method: &str, target: &str, body: Vec<u8>) -> Outcome<(u16, Vec<u8>)> {
        let response = self.ask(method, target, body)?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    /// The answer to one request, which is sent once: when the server's goodbye comes before the request has gone, it goes over another
    /// connection.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: Vec<u8>) -> Outcome<Response<Vec<u8>>> {
        let request = Request::builder().method(method).uri(format!("http://{}{target}", self.address));
        let mut request = request.body(Full::new(Bytes::from(body)))?;
        loop {
            let sent = async { timeout(PATIENCE, self.sender.try_send_request(request)).await };
            let mut error = match self.runtime.block_on(sent)? {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = async { timeout(PATIENCE, body.collect()).await };
                    return Ok(Response::from_parts(head, self.runtime.block_on(body)??.to_bytes().to_vec()));
                }
                Err(error) => error,
            };
            request = match error.take_message() {
                Some(unsent) => unsent,
                None => return Err(error.into_error().into()),
            };
            *self = Self::open(self.address)?;
        }
    }
}
