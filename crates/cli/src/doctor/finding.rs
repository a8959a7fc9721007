//! One thing that was looked at.

use serde::Serialize;

use crate::output::{BAD, FAINT, GOOD, WARNING, painted};

/// Clocks that are further apart than this show in windows and holds.
const APART_MS: i64 = 1_000;

/// How it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// A sale runs, and yet somebody should look at it.
    Warn,
    /// No sale should run like this.
    Fail,
    /// It could not be looked at.
    Skip,
}

impl Level {
    pub(super) fn painted(self) -> String {
        match self {
            Self::Ok => painted(GOOD, "OK  "),
            Self::Warn => painted(WARNING, "WARN"),
            Self::Fail => painted(BAD, "FAIL"),
            Self::Skip => painted(FAINT, "SKIP"),
        }
    }
}

/// What was found, and what mends it where something should be mended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) area: &'static str,
    pub(super) name: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    /// Commands or settings, one in a line.
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(area: &'static str, name: &'static str, found: impl Into<String>) -> Self {
        Self { area, name, level: Level::Ok, found: found.into(), fix: None }
    }

    pub(super) fn skip(area: &'static str, name: &'static str, why: impl Into<String>) -> Self {
        Self { area, name, level: Level::Skip, found: why.into(), fix: None }
    }

    pub(super) fn warn(
        area: &'static str,
        name: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { area, name, level: Level::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    pub(super) fn fail(
        area: &'static str,
        name: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { area, name, level: Level::Fail, found: found.into(), fix: Some(fix.into()) }
    }

    /// Fine, or failed with this fix.
    pub(super) fn of(
        area: &'static str,
        name: &'static str,
        is_fine: bool,
        found: impl Into<String>,
        fix: &str,
    ) -> Self {
        if is_fine { Self::ok(area, name, found) } else { Self::fail(area, name, found, fix) }
    }

    /// Fine, or to be looked at.
    pub(super) fn or_warn(
        area: &'static str,
        name: &'static str,
        is_fine: bool,
        found: impl Into<String>,
        fix: &str,
    ) -> Self {
        if is_fine { Self::ok(area, name, found) } else { Self::warn(area, name, found, fix) }
    }
}

/// What was found on a server that has a clock.
pub(super) struct Examined {
    pub(super) findings: Vec<Finding>,
    /// By how much its clock is ahead of this machine's, where it was read.
    pub(super) ahead_ms: Option<i64>,
}

/// By how much a clock that said `then_ms`, some time between these two, is ahead of this machine's.
pub(super) fn ahead(then_ms: i64, (asked_ms, answered_ms): (u64, u64)) -> i64 {
    let middle = asked_ms.midpoint(answered_ms);
    then_ms - i64::try_from(middle).unwrap_or(i64::MAX)
}

/// Redis's clock opens and closes windows, PostgreSQL's ends holds, and this machine's is what its people read.
pub(super) fn clocks(postgres_ms: Option<i64>, redis_ms: Option<i64>) -> Vec<Finding> {
    let fix = "sync all clocks: timedatectl set-ntp true, on each machine";
    let finding = |name, apart_ms: i64, whose: &str| {
        let found = format!("{} ms {whose}", apart_ms.abs());
        Finding::or_warn("Clocks", name, apart_ms.abs() <= APART_MS, found, fix)
    };
    let mut findings = Vec::new();
    if let Some(redis) = redis_ms {
        findings.push(finding("Redis and here", redis, if redis < 0 { "behind" } else { "ahead" }));
    }
    if let (Some(redis), Some(postgres)) = (redis_ms, postgres_ms) {
        findings.push(finding("Redis and PostgreSQL", redis - postgres, "apart"));
    }
    findings
}

/// Whether `version` is `major.minor` or later. Pure.
pub(super) fn is_at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, least, is_at_least) in [
            ("3.10.8", (3, 10), true),
            ("3.9.29", (3, 10), false),
            ("4.0.2", (3, 10), true),
            ("7.0.15", (7, 0), true),
            ("6.2", (7, 0), false),
            ("4.1.0-rc.1", (3, 10), true),
            ("", (3, 10), false),
        ] {
            assert_eq!(super::is_at_least(version, least), is_at_least, "{version}");
        }
    }

    #[test]
    fn clocks_that_are_apart_are_told_with_both_their_names() {
        let level = |postgres, redis| clocks(postgres, redis).iter().map(|one| one.level).collect::<Vec<_>>();
        assert_eq!(level(Some(0), Some(-900)), [Level::Ok, Level::Ok]);
        assert_eq!(level(Some(900), Some(-900)), [Level::Ok, Level::Warn]);
        assert_eq!(level(None, Some(60_000)), [Level::Warn]);
        assert_eq!(level(Some(60_000), None), []);
        assert_eq!(ahead(1_050, (1_000, 1_100)), 0);
    }
}
