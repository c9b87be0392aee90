//! The description of the API is about this API.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn description(served: &Served) -> Value {
    serde_json::from_str(body(&served.get("/api/v1/openapi.json"))).unwrap()
}

/// Where a value is not what the schema says; nothing when it is.
fn contradictions(value: &Value, schema: &Value, all: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        let schema = all.pointer(pointer).unwrap_or(&Value::Null);
        return contradictions(value, schema, all, at);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[key].as_array() {
            let fits = |choice| contradictions(value, choice, all, at).is_empty();
            return if choices.iter().any(fits) {
                Vec::new()
            } else {
                vec![format!("{at}: {value} is none of {choices:?}")]
            };
        }
    }
    let types: BTreeSet<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Object(_)) => one.as_str().into_iter().collect(),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(is) && (is != "integer" || !types.contains("number")) {
        return vec![format!("{at}: {value} is {is}, not {types:?}")];
    }
    let mut found = Vec::new();
    if let (Some(known), Some(text)) = (schema["enum"].as_array(), value.as_str())
        && !known.iter().any(|one| one == text)
    {
        found.push(format!("{at}: {text} is none of {known:?}"));
    }
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            found.extend(contradictions(
                item,
                &schema["items"],
                all,
                &format!("{at}[{index}]"),
            ));
        }
    }
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            match schema["properties"].get(name) {
                Some(schema) => {
                    found.extend(contradictions(field, schema, all, &format!("{at}.{name}")));
                }
                None => found.push(format!("{at}.{name} is not described")),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if name.as_str().is_none_or(|name| !fields.contains_key(name)) {
                found.push(format!("{at} has no {name}"));
            }
        }
    }
    found
}

#[test]
fn every_route_for_machines_is_described_and_every_described_one_is_there() {
    let served = Served::start();
    let described = description(&served);
    let described: BTreeSet<&str> = described["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let source = include_str!("../routes.rs");
    let for_people = [
        "/",
        "/page.css",
        "/page.js",
        "/icon.svg",
        "/api/v1/openapi.json",
    ];
    let routed: BTreeSet<&str> = source
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| !for_people.contains(path))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn the_status_is_as_described() {
    let served = Served::start();
    let all = description(&served);
    let schema = &all["paths"]["/api/v1/status"]["get"]["responses"]["200"]["content"]["application/json"]
        ["schema"];
    let status: Value = serde_json::from_str(body(&served.get("/api/v1/status"))).unwrap();
    assert_eq!(contradictions(&status, schema, &all, "status"), [""; 0]);
    let mut wrong = status.clone();
    wrong["pid"] = "4711".into();
    wrong["redirects"][0]["pool"]["nodes"][0]["health"] = "fine".into();
    wrong["flows"]["more"] = 1.into();
    wrong.as_object_mut().unwrap().remove("version");
    assert_eq!(contradictions(&wrong, schema, &all, "status").len(), 4);
}

#[test]
fn a_refusal_is_as_described() {
    let served = Served::start();
    let all = description(&served);
    let schema = &all["components"]["schemas"]["Refusal"];
    let refusal: Value = serde_json::from_str(body(&served.get("/nothing"))).unwrap();
    assert_eq!(contradictions(&refusal, schema, &all, "refusal"), [""; 0]);
}
