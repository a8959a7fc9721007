//! `docker-compose.yml` as Compose understands it: merge keys are merged, variables are put in.

use std::collections::{BTreeMap, HashMap};

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use crate::repository;

/// The file, with these variables in the environment.
///
/// # Errors
/// A required variable is missing; the text names it.
pub(crate) fn load(variables: &[(&str, &str)]) -> Result<Yaml, String> {
    let documents = YamlLoader::load_from_str(&repository::read("docker-compose.yml")).unwrap();
    resolve(&documents[0], &variables.iter().copied().collect())
}

/// The file in an environment that has no more than it must have.
pub(crate) fn loaded() -> Yaml {
    load(&[("FLASHSALE_ADMIN_TOKEN", "a-token-of-the-operator")]).unwrap()
}

/// The keys of a mapping; none where `node` is not there.
pub(crate) fn keys(node: &Yaml) -> Vec<&str> {
    node.as_hash().into_iter().flatten().map(|(key, _)| key.as_str().unwrap()).collect()
}

/// The texts of a list; none where `node` is not there.
pub(crate) fn texts(node: &Yaml) -> Vec<&str> {
    node.as_vec().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// What a service finds in its environment.
pub(crate) fn environment(service: &Yaml) -> HashMap<String, String> {
    let variables = service["environment"].as_hash().unwrap();
    let text = |node: &Yaml| node.as_str().expect("a text: anything else reads differently in YAML").to_owned();
    variables.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// What a service waits for, each with the condition.
pub(crate) fn depends_on(service: &Yaml) -> BTreeMap<&str, &str> {
    let needed = &service["depends_on"];
    keys(needed).into_iter().map(|name| (name, needed[name]["condition"].as_str().unwrap())).collect()
}

fn resolve(node: &Yaml, variables: &HashMap<&str, &str>) -> Result<Yaml, String> {
    match node {
        Yaml::Hash(map) => Ok(Yaml::Hash(resolve_map(map, variables)?)),
        Yaml::Array(items) => {
            Ok(Yaml::Array(items.iter().map(|item| resolve(item, variables)).collect::<Result<_, _>>()?))
        }
        Yaml::String(text) => Ok(Yaml::String(interpolate(text, variables)?)),
        scalar => Ok(scalar.clone()),
    }
}

/// What stands under `<<` first: the map's own entries win.
fn resolve_map(map: &Hash, variables: &HashMap<&str, &str>) -> Result<Hash, String> {
    let merge = Yaml::String("<<".to_owned());
    let mut resolved = match map.get(&merge) {
        Some(inherited) => resolve_map(inherited.as_hash().expect("<< names one mapping"), variables)?,
        None => Hash::new(),
    };
    for (key, value) in map.iter().filter(|(key, _)| **key != merge) {
        resolved.insert(key.clone(), resolve(value, variables)?);
    }
    Ok(resolved)
}

/// Puts in `${NAME:-default}` and `${NAME:?message}`; `$$` is a dollar.
fn interpolate(text: &str, variables: &HashMap<&str, &str>) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
            continue;
        }
        let braces = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (expression, after) = braces.ok_or_else(|| format!("not in braces: {text}"))?;
        result.push_str(value(expression, variables)?);
        rest = after;
    }
    Ok(result + rest)
}

fn value<'a>(expression: &'a str, variables: &HashMap<&str, &'a str>) -> Result<&'a str, String> {
    let (name, otherwise) = expression.split_once(':').ok_or_else(|| format!("{expression} has no default"))?;
    match (variables.get(name), otherwise.split_at(1)) {
        (Some(given), _) => Ok(given),
        (None, ("-", default)) => Ok(default),
        (None, (_, message)) => Err(format!("{name} is missing: {message}")),
    }
}
