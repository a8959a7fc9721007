//! A load of our own, for what wrk cannot do: so many clicks a second whatever is answered, and a look at each answer.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::SaleId;
use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::wrk::per_second;

/// So long a load has to form; counted is what comes after it.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longest wait for the last answers: the API's own bound is 10 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that are opened at the same time.
const AT_ONCE: usize = 100;

/// Clicks of new buyers, over connections that stay open.
pub(crate) struct Crowd {
    /// `http://host:port`
    pub(crate) url: String,
    pub(crate) sale: SaleId,
    /// Makes the buyers new.
    pub(crate) run: String,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// How long is counted.
    pub(crate) time: Duration,
}

/// When the next click is due.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// On each connection, as soon as the one before it is answered.
    AtOnce,
    /// So many times a second, on any connection that is free.
    PerSecond(f64),
}

/// What a crowd has seen.
pub(crate) struct Told {
    /// Clicks a second.
    pub(crate) offered: f64,
    /// Successes a second.
    pub(crate) won: f64,
    /// All successes, those before and after the counted time too.
    pub(crate) successes: u64,
    /// How long those waited who were told to try again, in microseconds.
    pub(crate) shed_us: Histogram<u64>,
}

impl Crowd {
    /// Clicks until the time is over and everybody is answered.
    ///
    /// # Errors
    /// A connection broke, or was told something else than SUCCESS or to try again in a while.
    pub(crate) async fn send(self) -> Result<Told> {
        // A thread of its own: a proxy on the caller's one has other things to do than to wait for a crowd.
        let send = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, self.click())
        };
        tokio::task::spawn_blocking(send).await?
    }

    async fn click(self) -> Result<Told> {
        let address = self.url.trim_start_matches("http://");
        let wires = stream::iter(0..self.connections).map(|_| Wire::to(address)).buffer_unordered(AT_ONCE);
        let wires: Vec<Wire> = wires.try_collect().await?;
        let (began, time) = (Instant::now(), self.time);
        let counted = began + WARM_UP..began + WARM_UP + time;
        let seen = Seen { clicks: 0, won: 0, successes: 0, shed_us: Histogram::new(3)? };
        let course = Course { crowd: self, began, counted, turns: Cell::new(0), seen: RefCell::new(seen) };
        let course = Rc::new(course);
        let mut connections = JoinSet::new();
        for wire in wires {
            connections.spawn_local(Rc::clone(&course).keep_clicking(wire));
        }
        let all = async {
            while let Some(ended) = connections.join_next().await {
                ended??;
            }
            Ok(())
        };
        timeout(WARM_UP + time + PATIENCE, all).await.context("not everybody was answered").flatten()?;
        let seen = Rc::into_inner(course).context("all connections have ended")?.seen.into_inner();
        let (offered, won) = (per_second(seen.clicks, time), per_second(seen.won, time));
        Ok(Told { offered, won, successes: seen.successes, shed_us: seen.shed_us })
    }
}

/// A crowd at work.
struct Course {
    crowd: Crowd,
    began: Instant,
    counted: Range<Instant>,
    /// Clicks that somebody has taken on.
    turns: Cell<u32>,
    seen: RefCell<Seen>,
}

struct Seen {
    /// Within the counted time, as the two after the next.
    clicks: u64,
    won: u64,
    successes: u64,
    shed_us: Histogram<u64>,
}

impl Course {
    /// Each free connection has a turn of its own and waits until it is due. So a click is late only where none is
    /// free, and then fewer are offered than were asked for, which shows.
    async fn keep_clicking(self: Rc<Self>, mut wire: Wire) -> Result<()> {
        while let Some((number, due)) = self.next_turn() {
            sleep_until(due).await;
            let clicked = Instant::now();
            if clicked >= self.counted.end {
                break;
            }
            let answer = wire.ask(&self.request(number)).await?;
            self.note(answer, clicked, Instant::now())?;
        }
        Ok(())
    }

    /// The next click's number, and when it is due; `None` once the time is over.
    fn next_turn(&self) -> Option<(u32, Instant)> {
        let number = self.turns.replace(self.turns.get() + 1);
        let due = match self.crowd.pace {
            Pace::AtOnce => Instant::now(),
            Pace::PerSecond(rate) => self.began + Duration::from_secs_f64(1.0 / rate) * number,
        };
        (due < self.counted.end).then_some((number, due))
    }

    fn request(&self, number: u32) -> Vec<u8> {
        let Crowd { sale, run, .. } = &self.crowd;
        let body = format!(r#"{{"saleId":"{sale}","userId":"{run}-{number}"}}"#);
        let head = "POST /api/v1/sale/purchase HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn note(&self, answer: Answer, clicked: Instant, answered: Instant) -> Result<()> {
        let mut seen = self.seen.borrow_mut();
        let (click_counts, answer_counts) = (self.counted.contains(&clicked), self.counted.contains(&answered));
        seen.clicks += u64::from(click_counts);
        match answer {
            Answer::Success => {
                seen.successes += 1;
                seen.won += u64::from(answer_counts);
            }
            Answer::TryAgain if click_counts => {
                seen.shed_us.record(u64::try_from((answered - clicked).as_micros())?)?;
            }
            Answer::TryAgain => {}
        }
        Ok(())
    }
}

/// What a click was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Success,
    /// 503, and when to come back.
    TryAgain,
}

impl Answer {
    /// The answer at the beginning of `said`; `None` where a part of it is still to come.
    fn of(said: &[u8]) -> Result<Option<Self>> {
        let Some(end) = said.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
        let (head, body) = (str::from_utf8(&said[..end])?, &said[end + 4..]);
        let header = |wanted: &str| {
            let headers = head.lines().filter_map(|line| line.split_once(':'));
            headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        let length: usize = header("content-length").with_context(|| format!("a length: {head}"))?.parse()?;
        if body.len() < length {
            return Ok(None);
        }
        match head.split(' ').nth(1) {
            Some("200") if body.windows(9).any(|bytes| bytes == br#""SUCCESS""#) => Ok(Some(Self::Success)),
            Some("503") if header("retry-after").is_some() => Ok(Some(Self::TryAgain)),
            _ => bail!("a buyer was told {}", String::from_utf8_lossy(said)),
        }
    }
}

/// One connection.
struct Wire {
    stream: TcpStream,
    said: Vec<u8>,
}

impl Wire {
    async fn to(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect to the API")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, said: Vec::with_capacity(1_024) })
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.said.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.said).await? > 0, "the API closed a connection");
            if let Some(answer) = Answer::of(&self.said)? {
                return Ok(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_all_of_it_is_there() {
        let success = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"SUCCESS\"}";
        assert_eq!(Answer::of(success).unwrap(), Some(Answer::Success));
        for part in [20, 40, success.len() - 1] {
            assert_eq!(Answer::of(&success[..part]).unwrap(), None, "{part} bytes");
        }
        let busy = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(Answer::of(busy).unwrap(), Some(Answer::TryAgain));
    }

    #[test]
    fn whoever_is_told_something_else_is_an_error() {
        for said in [
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"status\":\"SOLD_OUT\"}",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert!(Answer::of(said.as_bytes()).is_err(), "{said}");
        }
    }
}
