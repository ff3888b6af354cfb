//! Forwarding `/api` to the slot's own backend.

use std::sync::Arc;

use guard::diagnostic::{Code, Denial};
use guard::route::Hosts;
use guard::slot::SlotId;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response, StatusCode, Version};
use slot_runtime::lifecycle::Owner;
use tokio::time::Instant;

use super::body::{Reply, RequestBody, TooLarge, UpstreamBody};
use super::connection::{Client, Hold};
use super::headers::Own;
use super::pool::{Failure, Lease, Pool};
use super::refusal::Refusal;
use super::{limits, upgrade};

/// The way to the backend of one slot.
#[derive(Debug)]
pub(super) struct Api {
    slot: SlotId,
    pool: Arc<Pool>,
}

/// An answer of the backend, and the tunnel behind it if it is the beginning of a WebSocket.
pub(super) struct Answer {
    pub(super) response: Response<Reply>,
    pub(super) tunnel: Option<Tunnel>,
}

/// Both ends of a WebSocket to be.
pub(super) struct Tunnel {
    pub(super) client: hyper::upgrade::OnUpgrade,
    pub(super) backend: hyper::upgrade::OnUpgrade,
}

impl Api {
    /// Returns the way to a slot's own backend.
    pub(super) fn of(slot: SlotId, owner: Owner) -> Self {
        Self { slot, pool: Pool::of(slot, owner) }
    }

    /// Forwards a request whose path was judged.
    pub(super) async fn forward(
        &self,
        mut request: Request<Incoming>,
        client: Client,
        hosts: &Hosts,
        own: &Own,
    ) -> Result<Answer, Refusal> {
        let wants_upgrade = upgrade::is_asked_for(&request);
        let socket = wants_upgrade
            .then(|| upgrade::judge(&request, hosts).map(|()| hyper::upgrade::on(&mut request)))
            .transpose()?;
        own.rewrite_request(request.headers_mut(), client.address);
        *request.version_mut() = Version::HTTP_11;
        if wants_upgrade {
            upgrade::ask(request.headers_mut());
        }
        let (response, lease) = self.send(request.map(RequestBody::new), wants_upgrade).await?;
        self.answer(response, (lease, client.hold), socket, own)
    }

    fn answer(
        &self,
        mut response: Response<Incoming>,
        kept: (Lease, Hold),
        client: Option<hyper::upgrade::OnUpgrade>,
        own: &Own,
    ) -> Result<Answer, Refusal> {
        let granted = upgrade::is_granted(&response);
        let tunnel = match client {
            Some(client) if granted => {
                Some(Tunnel { client, backend: hyper::upgrade::on(&mut response) })
            }
            _ => None,
        };
        if tunnel.is_none() && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.failed("a change of protocol that nobody asked for"));
        }
        own.rewrite_response(response.headers_mut());
        if tunnel.is_some() {
            upgrade::ask(response.headers_mut());
            return Ok(Answer { response: response.map(|_| Reply::empty()), tunnel });
        }
        let response = response.map(|body| Reply::Upstream(UpstreamBody::new(body, kept)));
        Ok(Answer { response, tunnel: None })
    }

    /// Sends a request once; what was not sent at all is sent on another connection.
    async fn send(
        &self,
        mut request: Request<RequestBody>,
        alone: bool,
    ) -> Result<(Response<Incoming>, Lease), Refusal> {
        let may_wait = request.body().is_end_stream();
        let deadline = Instant::now() + limits::RESTART;
        loop {
            let kept = if alone { None } else { self.pool.kept() };
            let mut lease = match kept {
                Some(lease) => lease,
                None => self.connect(may_wait.then_some(deadline)).await?,
            };
            if lease.sender.ready().await.is_err() {
                if Instant::now() >= deadline {
                    return Err(self.failed("connections that end at once"));
                }
                tokio::task::yield_now().await;
                continue;
            }
            let sent = lease.sender.try_send_request(request);
            let Ok(outcome) = tokio::time::timeout(limits::FIRST_BYTE, sent).await else {
                return Err(self.slow());
            };
            match outcome {
                Ok(response) => return Ok((response, lease)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if Instant::now() < deadline => request = unsent,
                    _ => return Err(self.judge_failure(&error.into_error())),
                },
            }
        }
    }

    /// Connects; until the deadline, a backend that is not there, or not the slot's, is looked for
    /// again: one that starts may listen before it is known.
    async fn connect(&self, deadline: Option<Instant>) -> Result<Lease, Refusal> {
        loop {
            match self.pool.connect().await {
                Ok(lease) => return Ok(lease),
                Err(_) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {
                    tokio::time::sleep(limits::RESTART_LOOK).await;
                }
                Err(Failure::Foreign) => return Err(self.foreign()),
                Err(Failure::Connection(error)) => return Err(self.unavailable(&error)),
            }
        }
    }

    fn judge_failure(&self, error: &hyper::Error) -> Refusal {
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            if inner.is::<TooLarge>() {
                return too_large();
            }
            cause = inner.source();
        }
        self.failed(&error.to_string())
    }

    fn unavailable(&self, error: &std::io::Error) -> Refusal {
        let denial = Denial::new(
            Code::BackendUnavailable,
            format!("the backend of {} does not accept connections", self.slot),
            format!("127.0.0.1:{}: {error}", self.slot.backend_port()),
            "a backend that listens there",
        );
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, denial)
    }

    /// Who it is is not said to whoever looks at a page.
    fn foreign(&self) -> Refusal {
        let denial = Denial::new(
            Code::BackendForeign,
            format!("what listens on the backend port of {} is not its backend", self.slot),
            format!("another process on 127.0.0.1:{}", self.slot.backend_port()),
            "the backend that was started for the slot",
        );
        Refusal::new(StatusCode::BAD_GATEWAY, denial)
    }

    fn failed(&self, found: &str) -> Refusal {
        Refusal::new(StatusCode::BAD_GATEWAY, self.no_answer(found))
    }

    fn slow(&self) -> Refusal {
        let found = format!("nothing for {} seconds", limits::FIRST_BYTE.as_secs());
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, self.no_answer(&found))
    }

    fn no_answer(&self, found: &str) -> Denial {
        Denial::new(
            Code::BackendFailed,
            format!("the backend of {} did not answer", self.slot),
            guard::diagnostic::shown(found),
            "an answer in HTTP",
        )
    }
}

/// Refuses a body that is larger than the front accepts.
pub(super) fn too_large() -> Refusal {
    let denial = Denial::new(
        Code::RequestForm,
        "the body of the request is too large",
        format!("more than {} bytes", limits::BODY_BYTES),
        format!("at most {} bytes", limits::BODY_BYTES),
    );
    Refusal::ending(StatusCode::PAYLOAD_TOO_LARGE, denial)
}
