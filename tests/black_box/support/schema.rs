//! Holds what a program printed against the schema that it names.
//!
//! Knows the keywords that our schemas use and panics on any other, so that none is passed over.

use serde_json::Value;

/// Checks every line that is an object of ours.
pub(crate) fn check_lines(text: &str) {
    for line in text.lines() {
        let object: Option<Value> = serde_json::from_str(line).ok();
        let object = object.filter(|object| object["schema"].is_string());
        object.iter().for_each(check);
    }
}

fn check(object: &Value) {
    let title = object["schema"].as_str().unwrap_or_default();
    let name = title.trim_start_matches("slotguard.").trim_end_matches("/1");
    let Some(schema) = step_report::schema::find(name) else {
        panic!("no schema is called {title}");
    };
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    if let Err(problem) = matches(object, &schema) {
        panic!("not as {title} says: {problem}\n{object}");
    }
}

/// Checks a value against a schema.
pub(crate) fn matches(value: &Value, schema: &Value) -> Result<(), String> {
    let Value::Object(rules) = schema else { return Err(format!("no schema: {schema}")) };
    for (rule, with) in rules {
        let holds = match rule.as_str() {
            "$schema" | "title" | "description" => true,
            "const" => value == with,
            "enum" => with.as_array().is_some_and(|all| all.contains(value)),
            "type" => has_type(value, with),
            // As in every schema, this speaks of objects only.
            "required" => !value.is_object() || names(with).all(|name| value.get(name).is_some()),
            "additionalProperties" => *with == Value::Bool(true) || declared(value, schema),
            "properties" => {
                for (name, part) in with.as_object().into_iter().flatten() {
                    value.get(name).map_or(Ok(()), |value| {
                        matches(value, part).map_err(|problem| format!("`{name}`: {problem}"))
                    })?;
                }
                true
            }
            "items" => {
                let mut items = value.as_array().into_iter().flatten();
                items.try_for_each(|item| matches(item, with))?;
                true
            }
            other => return Err(format!("an unknown keyword `{other}`")),
        };
        if !holds {
            return Err(format!("`{rule}` does not hold"));
        }
    }
    Ok(())
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn declared(value: &Value, schema: &Value) -> bool {
    let mut keys = value.as_object().into_iter().flat_map(|object| object.keys());
    keys.all(|key| schema["properties"].get(key).is_some())
}

fn has_type(value: &Value, types: &Value) -> bool {
    let has = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        _ => false,
    };
    types.as_str().map_or_else(|| names(types).any(has), has)
}

#[test]
fn what_differs_from_its_schema_is_found() {
    let good = r#"{"schema":"slotguard.migration-run/1","slot":"s","database":"d","canonical":"c","layout":"refinery","outcome":"applied","applied":[1],"exempted":[],"warnings":[]}"#;
    check_lines(good);
    check_lines("not an object of ours\n{\"a\":1}");
    for (from, to) in [
        ("\"outcome\":\"applied\"", "\"outcome\":\"done\""),
        ("\"applied\":[1]", "\"applied\":[\"1\"]"),
        ("\"slot\":\"s\",", ""),
        ("\"warnings\":[]", "\"warnings\":[],\"more\":1"),
        ("migration-run/1", "migration-rum/1"),
    ] {
        let worse = good.replace(from, to);
        assert_ne!(worse, good);
        assert!(std::panic::catch_unwind(|| check_lines(&worse)).is_err(), "{worse}");
    }
}
