//! What a simulation found, for people and for programs.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Plan;
use super::history::History;
use super::judge::Check;
use crate::output::{
    BAD, FAINT, GOOD, Output, STRONG, compared, painted, print, print_fields, print_json, print_painted, print_table,
    printable,
};

/// What was simulated, what was seen, and what is to be said of it.
pub(super) struct Report {
    pub(super) sale: Uuid,
    pub(super) plan: Plan,
    pub(super) history: History,
    pub(super) checks: Vec<Check>,
    pub(super) settled_after: Duration,
}

impl Report {
    fn passes(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// Prints it; the exit code is the verdict's.
    pub(super) fn print(&self, output: Output) -> ExitCode {
        match output {
            Output::Json => print_json(&self.json()),
            Output::Table => self.print_table(),
        }
        if self.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn answers_per_second(&self) -> f64 {
        self.history.clicks.len() as f64 / self.history.clicking.as_secs_f64().max(0.001)
    }

    /// Milliseconds that so many of a hundred answers took at most.
    fn percentile(&self, percent: f64) -> f64 {
        self.history.latency.value_at_percentile(percent) as f64 / 1_000.0
    }

    fn latencies(&self) -> [(&'static str, f64); 4] {
        let max = self.history.latency.max() as f64 / 1_000.0;
        [("p50", self.percentile(50.0)), ("p95", self.percentile(95.0)), ("p99", self.percentile(99.0)), ("max", max)]
    }

    fn payments(&self) -> (usize, usize, usize) {
        let payments = &self.history.payments;
        let confirmed = payments.iter().filter(|paid| paid.is_confirmed()).count();
        let failed = payments.iter().filter(|paid| paid.has_failed()).count();
        let otherwise = |wanted: bool| move |paid: &&super::history::Paid| paid.wanted == Some(!wanted);
        let too_late = payments.iter().filter(|paid| paid.is_confirmed()).filter(otherwise(true)).count()
            + payments.iter().filter(|paid| paid.has_failed()).filter(otherwise(false)).count();
        (confirmed, failed, too_late)
    }

    fn print_table(&self) {
        let Plan { buyers, stock, quantity, duplicates, pays, seed, .. } = self.plan;
        let each = if quantity > 1 { format!(", {quantity} each") } else { String::new() };
        let clicks = if duplicates > 0 { format!(", {} clicks each", duplicates + 1) } else { String::new() };
        print_painted(&painted(STRONG, &format!("{buyers} buyers want {stock} units{each}{clicks}")));
        let answers = self.history.answers();
        let answers: Vec<String> = answers.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let latencies = self.latencies().map(|(name, ms)| format!("{name} {ms:.1} ms")).join(", ");
        let seconds = self.history.clicking.as_secs_f64();
        print_fields([
            ("sale", format!("Simulation {} ({})", &self.sale.simple().to_string()[..8], self.sale)),
            ("answers", answers.join(", ")),
            ("latency", latencies),
            ("speed", format!("{:.0} answers/s for {seconds:.2} s", self.answers_per_second())),
            ("books", format!("read {:.1} s after the last answer", self.settled_after.as_secs_f64())),
            ("seed", seed.to_string()),
        ]);
        if pays {
            let (confirmed, failed, too_late) = self.payments();
            let late = match too_late {
                0 => String::new(),
                late => format!("; {late} the provider decided otherwise, before it was told"),
            };
            print_fields([("payments", format!("{confirmed} succeeded, {failed} failed{late}"))]);
        }
        print("");
        let row = |check: &Check| {
            let mark = if check.ok { painted(GOOD, "ok") } else { painted(BAD, "BROKEN") };
            [mark, printable(&check.name), printable(&check.expected), compared(&check.expected, &check.actual)]
        };
        print_table(["", "INVARIANT", "EXPECTED", "ACTUAL"], self.checks.iter().map(row));
        for check in self.checks.iter().filter(|check| !check.culprits.is_empty()) {
            print_painted(&format!("\n{}", painted(FAINT, &check.name)));
            check.culprits.iter().for_each(|culprit| print(&format!("  {culprit}")));
        }
        let broken = self.checks.iter().filter(|check| !check.ok).count();
        print("");
        print_painted(&match broken {
            0 => painted(GOOD, "PASS"),
            1 => painted(BAD, "FAIL: 1 invariant is broken"),
            several => painted(BAD, &format!("FAIL: {several} invariants are broken")),
        });
    }

    fn json(&self) -> Value {
        let Plan { buyers, stock, quantity, duplicates, pay_failures, rate, connections, hold_seconds, seed, .. } =
            self.plan;
        let latencies: serde_json::Map<String, Value> =
            self.latencies().into_iter().map(|(name, ms)| (name.to_owned(), json!(ms))).collect();
        let (confirmed, failed, too_late) = self.payments();
        json!({
            "result": if self.passes() { "PASS" } else { "FAIL" },
            "saleId": self.sale,
            "plan": {
                "buyers": buyers, "stock": stock, "quantity": quantity, "duplicates": duplicates,
                "payFailuresPercent": pay_failures, "ratePerSecond": rate, "connections": connections,
                "holdSeconds": hold_seconds, "seed": seed,
            },
            "answers": self.history.answers(),
            "latencyMs": latencies,
            "answersPerSecond": self.answers_per_second(),
            "seconds": self.history.clicking.as_secs_f64(),
            "settledAfterSeconds": self.settled_after.as_secs_f64(),
            "payments": if self.plan.pays {
                json!({ "succeeded": confirmed, "failed": failed, "decidedOtherwise": too_late })
            } else {
                Value::Null
            },
            "checks": self.checks,
        })
    }
}
