//! One request: judged by form, host and path, then answered by the release or the backend.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use guard::diagnostic::{Code, Denial, shown};
use guard::route::{Hosts, Target, classify};
use guard::slot::SlotId;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use slot_runtime::lifecycle::Owner;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::access_log::{AccessLog, Asked, Line};
use super::api::{self, Api, Tunnel};
use super::body::Reply;
use super::connection::{Client, Peer};
use super::headers::Own;
use super::page::{self, Wanted};
use super::refusal::Refusal;
use super::stopping::Stopping;
use super::watch::Shelf;
use super::{limits, upgrade};

/// Everything that a request needs.
#[derive(Debug)]
pub(super) struct Front {
    slot: SlotId,
    hosts: Hosts,
    shelf: Arc<Shelf>,
    api: Api,
    own: Own,
    is_logged: bool,
    log: Mutex<Option<AccessLog>>,
    /// Connections and tunnels that are open.
    pub(super) work: Mutex<JoinSet<()>>,
    pub(super) places: Arc<Semaphore>,
    tunnels: Arc<Semaphore>,
    pub(super) stopping: Stopping,
}

/// The answer to one request, or the way to it.
pub(super) enum Answer {
    /// Taken when it is asked for.
    Now(Option<Response<Reply>>),
    Later(Pin<Box<dyn Future<Output = Response<Reply>> + Send>>),
}

impl Future for Answer {
    type Output = Result<Response<Reply>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(response) => response.take().map_or(Poll::Pending, |r| Poll::Ready(Ok(r))),
            Self::Later(response) => response.as_mut().poll(context).map(Ok),
        }
    }
}

impl Front {
    /// Puts a front together.
    pub(super) fn new(
        slot: SlotId,
        hosts: Hosts,
        owner: Owner,
        shelf: Arc<Shelf>,
        log: Option<AccessLog>,
    ) -> Self {
        Self {
            slot,
            hosts,
            shelf,
            api: Api::of(slot, owner),
            own: Own::of(slot),
            is_logged: log.is_some(),
            log: Mutex::new(log),
            work: Mutex::default(),
            places: Arc::new(Semaphore::new(limits::CONNECTIONS)),
            tunnels: Arc::new(Semaphore::new(limits::TUNNELS)),
            stopping: Stopping::default(),
        }
    }

    /// Answers one request: for a page at once, so that nothing of the request outlives the call.
    pub(super) fn answer(self: &Arc<Self>, request: Request<Incoming>, peer: &Peer) -> Answer {
        let asked = self.is_logged.then(|| Asked::now(&request));
        if let Some(outcome) = self.judge_and_look(&request).transpose() {
            drop(request);
            return Answer::Now(Some(self.finish(outcome, asked)));
        }
        let (front, client) = (Arc::clone(self), peer.client());
        Answer::Later(Box::pin(async move {
            let outcome = front.forward(request, client).await;
            front.finish(outcome, asked)
        }))
    }

    /// Judges a request and answers it from the release; `None` is one for the backend.
    fn judge_and_look(
        &self,
        request: &Request<Incoming>,
    ) -> Result<Option<Response<Reply>>, Refusal> {
        judge_form(request)?;
        self.judge_host(request)?;
        let uri = request.uri();
        let target = classify(uri.path().as_bytes());
        match target.map_err(|fault| refuse_path(uri.path(), fault.found()))? {
            Target::Api => Ok(None),
            Target::Page(path) => {
                let wanted = Wanted {
                    method: request.method(),
                    headers: request.headers(),
                    raw_path: uri.path(),
                    query: uri.query(),
                };
                page::answer(&self.shelf.release(), &path, wanted).map(Some)
            }
        }
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        client: Client,
    ) -> Result<Response<Reply>, Refusal> {
        let answer = self.api.forward(request, client, &self.hosts, &self.own).await?;
        if let Some(tunnel) = answer.tunnel {
            self.open(tunnel)?;
        }
        Ok(answer.response)
    }

    fn finish(
        &self,
        outcome: Result<Response<Reply>, Refusal>,
        asked: Option<Asked>,
    ) -> Response<Reply> {
        let (mut response, code) = match outcome {
            Ok(response) => (response, None),
            Err(refusal) => (refusal.answer(self.slot), Some(refusal.code())),
        };
        self.own.mark(response.headers_mut());
        if let Some(asked) = asked {
            self.say(asked.answered(&response, code));
        }
        response
    }

    /// Opens a tunnel; its connections no longer count among those that are accepted.
    fn open(&self, tunnel: Tunnel) -> Result<(), Refusal> {
        let Ok(place) = Arc::clone(&self.tunnels).try_acquire_owned() else {
            return Err(upgrade::too_many());
        };
        self.lock_work().spawn(async move {
            upgrade::tunnel(tunnel.client, tunnel.backend).await;
            drop(place);
        });
        Ok(())
    }

    fn judge_host(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let found = match (hosts.next(), hosts.next()) {
            (Some(host), None) if self.hosts.accepts(host.as_bytes()) => return Ok(()),
            (Some(host), None) => format!("`{}`", shown(&String::from_utf8_lossy(host.as_bytes()))),
            (None, _) => "no `Host`".to_owned(),
            (Some(_), Some(_)) => "`Host` twice".to_owned(),
        };
        let own: Vec<&str> = self.hosts.iter().collect();
        let denial = Denial::new(
            Code::RequestHost,
            format!("the host is not one of {}", self.slot),
            found,
            own.join(", "),
        );
        Err(Refusal::ending(StatusCode::MISDIRECTED_REQUEST, denial))
    }

    fn say(&self, line: Line) {
        if let Some(log) = &*self.log.lock().unwrap_or_else(PoisonError::into_inner) {
            log.say(line);
        }
    }

    /// Takes the log out, to be finished.
    pub(super) fn take_log(&self) -> Option<AccessLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets open requests end; returns how many connections had to be cut.
    pub(super) async fn drain(&self) -> usize {
        self.stopping.begin();
        let mut work = std::mem::take(&mut *self.lock_work());
        let end = async { while work.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limits::DRAIN, end).await;
        // Tunnels that began meanwhile count as well.
        let late = std::mem::take(&mut *self.lock_work()).len();
        work.len() + late
    }

    pub(super) fn lock_work(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Judges what the request is before asking where it goes.
fn judge_form(request: &Request<Incoming>) -> Result<(), Refusal> {
    let uri = request.uri();
    let is_plain =
        uri.scheme().is_none() && uri.authority().is_none() && uri.path().starts_with('/');
    if !is_plain || *request.method() == Method::CONNECT {
        return Err(refuse_form(
            StatusCode::BAD_REQUEST,
            "a whole URL, an authority or `*`",
            "a path",
        ));
    }
    if *request.method() == Method::TRACE {
        return Err(refuse_form(
            StatusCode::METHOD_NOT_ALLOWED,
            "method `TRACE`",
            "another method",
        ));
    }
    let codings = request.headers().get_all(header::TRANSFER_ENCODING);
    if codings.iter().any(|value| !is_chunked(value)) || codings.iter().count() > 1 {
        let found = "another `Transfer-Encoding` than `chunked`";
        return Err(refuse_form(StatusCode::BAD_REQUEST, found, "`chunked`, once"));
    }
    if request.body().size_hint().lower() > limits::BODY_BYTES {
        return Err(api::too_large());
    }
    Ok(())
}

fn is_chunked(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"chunked")
}

fn refuse_form(status: StatusCode, found: &str, expected: &str) -> Refusal {
    let denial =
        Denial::new(Code::RequestForm, "the form of the request is not accepted", found, expected);
    Refusal::ending(status, denial)
}

fn refuse_path(path: &str, found: &str) -> Refusal {
    let denial = Denial::new(
        Code::RequestPath,
        "the path of the request has a second spelling",
        format!("{found}: `{}`", shown(path)),
        "the plain spelling",
    );
    Refusal::ending(StatusCode::BAD_REQUEST, denial)
}
