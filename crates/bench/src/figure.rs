//! What was measured: the values of a figure's rounds, and how good they should be.

use serde::Serialize;

/// One figure of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The middle one of the rounds' values.
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wanted: Option<Wanted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

/// How good a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    /// A figure of these rounds.
    ///
    /// # Panics
    /// There was none.
    pub(crate) fn new(name: &'static str, unit: &'static str, mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let (min, max) = (rounds[0], rounds[rounds.len() - 1]);
        let middle = rounds.len() / 2;
        let median =
            if rounds.len() % 2 == 1 { rounds[middle] } else { f64::midpoint(rounds[middle - 1], rounds[middle]) };
        Self { name, unit, median, min, max, wanted: None, met: None }
    }

    /// The ratio of two figures, round by round: what slowed down the machine in one round slowed down both.
    pub(crate) fn ratio(name: &'static str, ours: &[f64], limit: &[f64]) -> Self {
        Self::new(name, "ratio", ours.iter().zip(limit).map(|(ours, limit)| ours / limit).collect())
    }

    pub(crate) fn wanted(mut self, wanted: Wanted) -> Self {
        self.met = Some(match wanted {
            Wanted::AtLeast(least) => self.median >= least,
            Wanted::AtMost(most) => self.median <= most,
        });
        self.wanted = Some(wanted);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_of_its_rounds_and_a_ratio_is_made_round_by_round() {
        let figure = Figure::new("x", "s", vec![3.0, 1.0, 2.0]);
        assert_eq!((figure.median, figure.min, figure.max), (2.0, 1.0, 3.0));
        assert_eq!(Figure::new("x", "s", vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        let ratio = Figure::ratio("x", &[1.0, 9.0, 2.0], &[2.0, 10.0, 4.0]);
        assert_eq!((ratio.median, ratio.min, ratio.max), (0.5, 0.5, 0.9));
    }

    #[test]
    fn a_figure_is_met_from_its_bound_on() {
        let is_met = |value, wanted| Figure::new("x", "s", vec![value]).wanted(wanted).met == Some(true);
        assert!(is_met(0.85, Wanted::AtLeast(0.85)) && !is_met(0.849, Wanted::AtLeast(0.85)));
        assert!(is_met(40.0, Wanted::AtMost(40.0)) && !is_met(40.1, Wanted::AtMost(40.0)));
    }
}
