//! The questions of which a flash sale is made, answered before anything is routed: a plain click, a sale's status, the
//! list of sales. Routing, extractors and wrappers cost more than these answers do (docs/PERFORMANCE.md).
//!
//! Nothing is decided here. Whatever needs more than the plain path (a key, another origin, a token, a limit, a body that
//! is late, a request that is wrong) goes on to the application as it came, and both call the same code.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use actix_http::{BoxedPayloadStream, HttpMessage, Payload, Request};
use actix_service::{Service, ServiceFactory};
use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Response, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use domain::SaleId;
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};
use futures_util::{FutureExt, StreamExt, stream};

use crate::app::Process;
use crate::batcher::Batcher;
use crate::body;
use crate::caller::Caller;
use crate::connections::Connection;
use crate::exchange::{self, finish};
use crate::routes::purchase::key::IDEMPOTENCY_KEY;
use crate::routes::purchase::{self, Click, Clicked};
use crate::routes::{PURCHASE, SALES, sales};
use crate::view::SaleView;

/// The application of one HTTP thread, with the front before it.
pub(crate) struct Front<A> {
    pub(crate) app: A,
    pub(crate) desk: Rc<Desk>,
}

/// What the front answers with.
pub(crate) struct Desk {
    process: Arc<Process>,
    batcher: Batcher,
    rendered: RefCell<Rendered>,
}

/// Answers to reads, of one millisecond: the next one may have another stock and has another time.
#[derive(Default)]
struct Rendered {
    at_ms: i64,
    /// `None`: the list.
    bodies: HashMap<Option<SaleId>, Bytes>,
}

/// What is answered here.
enum Question {
    Click,
    Status(SaleId),
    List,
}

impl Desk {
    pub(crate) fn new(process: Arc<Process>, batcher: Batcher) -> Self {
        Self { process, batcher, rendered: RefCell::default() }
    }

    fn question(&self, request: &Request) -> Option<Question> {
        let (head, headers) = (request.head(), request.headers());
        if head.uri.query().is_some() || headers.contains_key(header::ORIGIN) {
            return None;
        }
        let path = head.uri.path();
        if head.method == Method::POST && path == PURCHASE {
            let is_plain = self.process.tokens.is_none()
                && !self.process.limits.count_purchases()
                && !headers.contains_key(IDEMPOTENCY_KEY);
            return is_plain.then_some(Question::Click);
        }
        if head.method != Method::GET || self.process.limits.count_reads() {
            return None;
        }
        if path == SALES {
            return Some(Question::List);
        }
        let id = path.strip_prefix("/api/v1/sale/")?.strip_suffix("/status")?;
        Some(Question::Status(id.parse().ok()?))
    }

    /// `None` where the application has to look further.
    fn read(&self, sale: Option<SaleId>) -> Option<Bytes> {
        let (view, now_ms) = (&self.process.view, self.process.view.now_ms());
        let mut rendered = self.rendered.borrow_mut();
        if rendered.at_ms != now_ms {
            rendered.at_ms = now_ms;
            rendered.bodies.clear();
        }
        if let Some(body) = rendered.bodies.get(&sale) {
            return Some(body.clone());
        }
        let body = Bytes::from(match sale {
            Some(id) => sales::status_json(&*view.get(id)?, now_ms),
            None => sales::list_json(&view.list()?, now_ms),
        });
        rendered.bodies.insert(sale, body.clone());
        Some(body)
    }

    /// The answer to a click, or the request again, whole, for the application.
    async fn click(&self, mut request: Request) -> Result<Response<BoxBody>, Request> {
        let Some(body) = arrived(&mut request).await else { return Err(request) };
        let clicked = Clicked::now();
        let known = purchase::read(&body, &Caller::Trusted).ok().and_then(|click| {
            let refused = self.process.view.look(click.sale_id, |view| {
                purchase::refuse(&self.process, view, &click, clicked).ok_or_else(|| Arc::clone(view))
            })?;
            Some((refused, click))
        });
        match known {
            Some((Ok(refusal), _)) => Ok(answer_at_once(&request, refusal, clicked.at)),
            // Apart: a refusal does not pay for the room that a decision takes while it is waited for.
            Some((Err(view), click)) => Ok(Box::pin(self.buy(request, &view, click, clicked)).await),
            None => {
                *request.payload() = body.into();
                Err(request)
            }
        }
    }

    async fn buy(&self, request: Request, view: &SaleView, click: Click, clicked: Clicked) -> Response<BoxBody> {
        let connection = request.conn_data::<Rc<Connection>>();
        if let Some(connection) = connection {
            connection.begin();
        }
        let id = exchange::id_of(request.headers());
        let answer = match purchase::buy(&self.process, &self.batcher, view, click, clicked, (None, None)).await {
            Ok(answer) => answer,
            Err(problem) => problem.response(PURCHASE, id.to_str().unwrap_or_default()),
        };
        if let Some(connection) = connection {
            connection.answered(Instant::now());
        }
        exchange::log(&request.head().method, PURCHASE, answer.status(), clicked.at, &id, request.headers());
        let mut answer = Response::from(answer);
        finish(answer.headers_mut(), id);
        answer
    }
}

/// An answer that nobody had to wait for: JSON.
fn answer_at_once(request: &Request, body: Bytes, started: Instant) -> Response<BoxBody> {
    let id = exchange::id_of(request.headers());
    exchange::log(&request.head().method, request.path(), StatusCode::OK, started, &id, request.headers());
    if let Some(connection) = request.conn_data::<Rc<Connection>>() {
        connection.begin();
        connection.answered(started);
    }
    let mut answer = Response::with_body(StatusCode::OK, BoxBody::new(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    finish(answer.headers_mut(), id);
    answer
}

impl<A> ServiceFactory<Request> for Front<A>
where
    A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>,
    A::Service: 'static,
    A::Future: 'static,
{
    type Response = Response<BoxBody>;
    type Error = Error;
    type Config = AppConfig;
    type Service = FrontService<A::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let (app, desk) = (self.app.new_service(config), Rc::clone(&self.desk));
        async move { Ok(FrontService { app: Rc::new(app.await?), desk }) }.boxed_local()
    }
}

/// A [`Front`] at work.
pub(crate) struct FrontService<S> {
    app: Rc<S>,
    desk: Rc<Desk>,
}

type Answered = Result<Response<BoxBody>, Error>;

impl<S> Service<Request> for FrontService<S>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = Either<Ready<Answered>, LocalBoxFuture<'static, Answered>>;

    actix_service::forward_ready!(app);

    fn call(&self, request: Request) -> Self::Future {
        let asked = match self.desk.question(&request) {
            Some(Question::Click) => {
                let (app, desk) = (Rc::clone(&self.app), Rc::clone(&self.desk));
                return Either::Right(Box::pin(async move {
                    match desk.click(request).await {
                        Ok(answer) => Ok(answer),
                        // Apart for the same reason.
                        Err(request) => Ok(Box::pin(app.call(request)).await?.into()),
                    }
                }));
            }
            Some(Question::Status(sale)) => self.desk.read(Some(sale)),
            Some(Question::List) => self.desk.read(None),
            None => None,
        };
        if let Some(body) = asked {
            return Either::Left(ready(Ok(answer_at_once(&request, body, Instant::now()))));
        }
        let answer = self.app.call(request);
        Either::Right(Box::pin(async move { Ok(answer.await?.into()) }))
    }
}

/// The body, where all of it has come with the head and it is of an ordinary size; the request stays whole where not.
async fn arrived(request: &mut Request) -> Option<Bytes> {
    let length: usize = length_of(request.headers())?;
    if length > body::LARGEST {
        return None;
    }
    let mut payload = request.take_payload();
    // The first look comes before actix-http has read on; the second after it has taken what is there.
    let mut looks = 0;
    let first = std::future::poll_fn(|context| match payload.poll_next_unpin(context) {
        Poll::Pending if looks == 0 => {
            looks += 1;
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(None),
        Poll::Ready(chunk) => Poll::Ready(chunk.and_then(Result::ok)),
    });
    let rest: Payload = match first.await {
        Some(body) if body.len() == length => return Some(body),
        Some(begin) => {
            let stream: BoxedPayloadStream = Box::pin(stream::once(ready(Ok(begin))).chain(payload));
            stream.into()
        }
        None => payload,
    };
    *request.payload() = rest;
    None
}

fn length_of(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
