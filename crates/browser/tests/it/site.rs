//! A small site of a test's own: somebody else's pages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves its pages until it is dropped.
pub(crate) struct Site {
    /// `http://host:port`
    pub(crate) origin: String,
    /// Whole answers, by their path.
    answers: Arc<Mutex<HashMap<String, String>>>,
    serving: JoinHandle<()>,
}

impl Site {
    /// Serves these pages: path, more headers (each with its line end), HTML.
    pub(crate) async fn start<const N: usize>(pages: [(&str, &str, String); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let answers: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let served = Arc::clone(&answers);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 8_192];
                // A request without a body: what comes first is all of it.
                let Ok(length) = stream.read(&mut head).await else { continue };
                let head = String::from_utf8_lossy(&head[..length]);
                let answer = served.lock().unwrap().get(head.split(' ').nth(1).unwrap_or_default()).cloned();
                let none = || "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned();
                let _ = stream.write_all(answer.unwrap_or_else(none).as_bytes()).await;
            }
        });
        let site = Self { origin, answers, serving };
        for (path, headers, html) in pages {
            site.serve_with(path, headers, &html);
        }
        site
    }

    /// Serves one more page.
    pub(crate) fn serve(&self, path: &str, html: &str) {
        self.serve_with(path, "", html);
    }

    fn serve_with(&self, path: &str, headers: &str, html: &str) {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n{headers}content-length: {}\r\n\
             connection: close\r\n\r\n{html}",
            html.len()
        );
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
