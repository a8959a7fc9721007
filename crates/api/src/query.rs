//! What stands behind the question mark.

use std::str::FromStr;

use actix_web::{HttpRequest, web};

use crate::error::{Code, Problem};

const DEFAULT_LIMIT: i64 = 50;
const LARGEST_LIMIT: i64 = 200;

/// The fields of a query. One that is not known, or given twice, is a mistake and no wish for everything.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// The request's, of which only these fields are known.
    ///
    /// # Errors
    /// `BAD_REQUEST` where it cannot be read, `INVALID_FIELD` where another field is given, or one twice.
    pub(crate) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        Self::read(request.query_string(), known)
    }

    fn read(query: &str, known: &[&str]) -> Result<Self, Problem> {
        let fields = web::Query::<Vec<(String, String)>>::from_query(query);
        let fields = fields.map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?.into_inner();
        for (n, (name, _)) in fields.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Problem::field("query", &format_args!("may have {}", known.join(", "))));
            }
            if fields[..n].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::field(name, &"is given twice"));
            }
        }
        Ok(Self(fields))
    }

    /// A field as it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A field read by `parse`, which tells what is wrong with it.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.get(name).map(parse).transpose()
    }

    /// The field `limit`: how many rows a page has at most.
    pub(crate) fn limit(&self) -> Result<i64, Problem> {
        let limit = self.parsed("limit", |text| {
            let limit = i64::from_str(text).ok().filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
            limit.ok_or_else(|| {
                Problem::field("limit", &format_args!("must be a whole number from 1 to {LARGEST_LIMIT}"))
            })
        })?;
        Ok(limit.unwrap_or(DEFAULT_LIMIT))
    }
}

/// A page of `rows`, of which one more than `limit` was asked for: whether there are more shows by that one.
pub(crate) fn page<T>(mut rows: Vec<T>, limit: i64) -> (Vec<T>, bool) {
    let limit = usize::try_from(limit).unwrap_or_default();
    let more = rows.len() > limit;
    rows.truncate(limit);
    (rows, more)
}

/// What is wrong with a cursor that cannot be read.
pub(crate) fn bad_cursor() -> Problem {
    Problem::field("cursor", &"must be the nextCursor of another page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_known_or_given_twice_is_a_mistake() {
        let read = |query: &str| Query::read(query, &["limit", "cursor"]).map_err(|problem| problem.to_string());
        assert_eq!(read("limit=7").unwrap().limit().unwrap(), 7);
        assert_eq!(
            read("cursor=a%2Bb").map(|query| query.get("cursor").map(str::to_owned)),
            Ok(Some("a+b".to_owned()))
        );
        assert_eq!(read("").unwrap().limit().unwrap(), DEFAULT_LIMIT);
        assert_eq!(read("limt=7").unwrap_err(), "INVALID_FIELD: query may have limit, cursor");
        assert_eq!(read("limit=7&limit=7").unwrap_err(), "INVALID_FIELD: limit is given twice");
        for limit in ["0", "201", "-1", "", "1e2", "99999999999999999999"] {
            assert!(read(&format!("limit={limit}")).unwrap().limit().is_err(), "{limit}");
        }
    }
}
