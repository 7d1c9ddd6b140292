//! A gateway's OpenAPI file, and what is wrong with calls and notifications by it. The files are third-party data and no part of the
//! project: `CONNECTOR_TEST_SPECS` says where they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sandbox::simulators::network::NetworkCall;
use serde_json::Value;

/// The folder with the specs; says so if there is none.
pub(crate) fn specs(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CONNECTOR_TEST_SPECS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED {test}: set CONNECTOR_TEST_SPECS to a folder with the gateways' OpenAPI files");
    }
    folder
}

/// Validators of one OpenAPI file, made once per schema.
pub(crate) struct Spec {
    file: Value,
    validators: BTreeMap<String, jsonschema::Validator>,
}

impl Spec {
    /// Reads a file of the folder.
    pub(crate) fn read(folder: &Path, file: &str) -> Self {
        let file = serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap();
        Self { file, validators: BTreeMap::new() }
    }

    /// What is wrong with an instance of a schema of this file.
    pub(crate) fn errors(&mut self, schema: &Value, instance: &Value) -> Vec<String> {
        let key = schema.to_string();
        if !self.validators.contains_key(&key) {
            let mut root = schema.clone();
            root["components"] = self.file["components"].clone();
            self.validators.insert(key.clone(), jsonschema::validator_for(&root).unwrap());
        }
        self.validators[&key].iter_errors(instance).map(|error| format!("{} at {}", error, error.instance_path())).collect()
    }

    /// The schema of what is posted for a webhook of this name.
    pub(crate) fn webhook(&self, name: &str) -> Option<Value> {
        schema(&self.file["webhooks"][name]["post"]["requestBody"])
    }

    /// The operation that a call is, its path behind this prefix.
    fn operation(&self, prefix: &str, call: &NetworkCall) -> Option<Value> {
        let path = call.path.strip_prefix(prefix)?;
        let segments: Vec<&str> = path.split('/').collect();
        let paths = self.file["paths"].as_object().unwrap();
        let fits = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == segments.len() && parts.iter().zip(&segments).all(|(part, segment)| part.starts_with('{') || part == segment)
        };
        // A literal path wins over a template.
        let template = paths.keys().find(|template| *template == path).or_else(|| paths.keys().find(|template| fits(template)))?;
        self.file["paths"][template].get(call.method.as_str().to_ascii_lowercase()).cloned()
    }

    /// Fails the test if anything of a call is not as the file has it: path, query, body, status, answer. The operation's id and the
    /// status.
    pub(crate) fn check(&mut self, prefix: &str, call: &NetworkCall) -> (String, u16) {
        let status = call.status.unwrap();
        let what = format!("{} {} {status}", call.method, call.path);
        let operation = self.operation(prefix, call).unwrap_or_else(|| panic!("{what} is no operation"));
        self.check_query(&operation, call, &what);
        match operation.get("requestBody").and_then(schema) {
            Some(schema) => {
                assert_eq!(self.errors(&schema, &call.request_body), Vec::<String>::new(), "request of {what}: {}", call.request_body)
            }
            None => assert!(call.request_body.is_null(), "{what} has no body: {}", call.request_body),
        }
        let answer = operation["responses"].get(status.to_string()).unwrap_or_else(|| panic!("{what}: never answered so"));
        if let Some(schema) = schema(answer) {
            assert_eq!(self.errors(&schema, &call.response_body), Vec::<String>::new(), "answer of {what}: {}", call.response_body);
        }
        (operation["operationId"].as_str().unwrap().to_owned(), status)
    }

    fn check_query(&self, operation: &Value, call: &NetworkCall, what: &str) {
        let none = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&none).iter().map(|parameter| match parameter["$ref"].as_str() {
            Some(place) => self.file.pointer(place.trim_start_matches('#')).unwrap(),
            None => parameter,
        });
        let parameters: Vec<&Value> = parameters.filter(|parameter| parameter["in"] == "query").collect();
        for (name, _) in &call.query {
            assert!(parameters.iter().any(|parameter| parameter["name"] == name.as_str()), "{what}: no parameter {name}");
        }
        for parameter in parameters.iter().filter(|parameter| parameter["required"] == true) {
            assert!(call.query.iter().any(|(name, _)| parameter["name"] == name.as_str()), "{what}: {} is missing", parameter["name"]);
        }
    }
}

fn schema(content: &Value) -> Option<Value> {
    content.pointer("/content/application~1json/schema").cloned()
}
