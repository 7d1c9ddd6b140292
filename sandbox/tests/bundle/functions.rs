//! Functions: folder, package, route, name, and the rows about them.

use std::collections::BTreeSet;

use connector::cleeng::webhook::Topic;

use crate::support::files::{camel_case, read, root};
use crate::support::template::section;
use crate::{
    NOTIFICATION, RECONCILIATION, event, folders, functions, is_front_end, names, route, samples, table, visit_sources, webhook_functions,
};

#[test]
fn every_folder_of_a_function_is_deployed_and_every_deployed_function_has_a_folder() {
    assert_eq!(folders("functions"), names());
}

#[test]
fn a_function_is_a_package_with_a_binary_of_its_folders_name() {
    for name in names() {
        let manifest = read(&format!("functions/{name}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}: the package has another name");
        assert!(root().join("functions").join(&name).join("src/main.rs").is_file(), "{name}: no src/main.rs");
        assert!(root().join("functions").join(&name).join("src/lib.rs").is_file(), "{name}: no src/lib.rs");
    }
}

#[test]
fn the_build_of_a_deployment_compiles_every_function_in_one_invocation_and_nothing_else() {
    let settings = read("CargoLambda.toml");
    let listed = settings.lines().filter_map(|line| line.strip_prefix("  \"")?.strip_suffix("\",")).map(str::to_owned);
    assert_eq!(listed.collect::<BTreeSet<_>>(), names());
}

/// Their manifests say `test = false`: a test that is written there would never run.
#[test]
fn functions_have_their_tests_in_the_sandbox() {
    for name in names() {
        let manifest = read(&format!("functions/{name}/Cargo.toml"));
        assert_eq!(manifest.matches("\ntest = false\n").count(), 2, "{name}: the library and the binary are linked to run no test");
        visit_sources(&root().join("functions").join(&name), &mut |source| assert!(!source.contains("#[test]"), "{name} has tests"));
    }
}

#[test]
fn every_function_has_one_route_with_its_name_and_one_row_in_the_documents() {
    let mut routes = BTreeSet::new();
    for (name, (_, entry)) in webhook_functions() {
        assert_eq!(entry.items("Path"), [route(&name)], "{name}");
        assert_eq!(entry.items("Method"), ["POST"], "{name}");
        assert_eq!(entry.value("PayloadFormatVersion"), Some("\"2.0\""), "{name}");
        routes.insert(entry.value("Path").unwrap().to_owned());
    }
    let rows = table("docs/routes.md", "route");
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<BTreeSet<_>>(), routes);
    assert_eq!(rows.len(), routes.len(), "a route stands twice in docs/routes.md");
    for row in rows.into_iter().filter(|row| row[0] != route(NOTIFICATION)) {
        let topic = Topic::parse(&row[1]).unwrap_or_else(|| panic!("{}: no topic of Cleeng", row[1]));
        let function = row[0].rsplit('/').next().unwrap();
        assert!(camel_case(function).eq_ignore_ascii_case(topic.as_str()), "{function} is not the function of {}", row[1]);
    }
}

#[test]
fn every_front_end_function_has_routes_of_both_styles_a_short_time_and_rows_in_the_documents() {
    let mut routes = BTreeSet::new();
    for (name, (_, entry)) in functions().into_iter().filter(|(_, (_, entry))| is_front_end(entry)) {
        let (paths, methods) = (entry.items("Path"), entry.items("Method"));
        let [start, finalize, tokens, came_back, gave_up, more @ ..] = paths.as_slice() else { panic!("{name}: {paths:?}") };
        assert_eq!(*finalize, format!("{start}/finalize"), "{name}");
        assert!(tokens.ends_with("/tokens"), "{name}");
        let (back, cancel) = (format!("{tokens}/return/{{reference}}"), format!("{tokens}/cancel/{{reference}}"));
        assert_eq!((came_back, gave_up), (&back, &cancel), "{name}");
        assert_eq!(methods.get(..5).unwrap(), ["POST", "POST", "POST", "GET", "GET"], "{name}");
        assert!(methods.iter().skip(5).all(|method| method == "POST") && more.iter().all(|path| !path.ends_with("}")), "{name}: {paths:?}");
        assert_eq!(entry.value("Timeout"), Some("29"), "{name}: an HTTP API cuts after 30 s");
        assert!(entry.value("QUEUE_URL").is_none(), "{name} has no queue");
        routes.extend(
            paths.iter().cloned().zip(methods).zip(samples(&name)).map(|((path, method), file)| (path, method, *file, name.clone())),
        );
    }
    let rows = table("docs/routes.md", "front-end call").into_iter().map(|row| (row[0].clone(), row[1].clone()));
    assert_eq!(rows.collect::<BTreeSet<_>>(), routes.iter().map(|(path, _, _, name)| (path.clone(), name.clone())).collect());
    let api = &section("Resources")["Api"];
    for (path, method, file, name) in &routes {
        assert!(api.0.iter().any(|line| line.trim() == format!("{method} {path}:")), "{name}: {path} has no limit of its own");
        let http = event(name, file);
        assert_eq!(
            (&http["routeKey"], &http["requestContext"]["http"]["method"]),
            (&format!("{method} {path}").into(), &method.as_str().into())
        );
        let reference = http["pathParameters"]["reference"].as_str().unwrap_or_default();
        assert_eq!(http["rawPath"], path.replace("{gateway}", "adyen").replace("{reference}", reference));
    }
}

#[test]
fn the_templates_mapping_lists_every_function_with_its_folder() {
    let listed = &section("Mappings")["Functions"].0;
    let listed: BTreeSet<_> = listed.iter().map(|line| line.trim().to_owned()).collect();
    assert_eq!(listed, names().iter().map(|name| format!("{}: {{Folder: {name}}}", camel_case(name))).collect());
}

#[test]
fn every_resource_of_a_function_is_named_after_it() {
    let all = section("Resources");
    for (name, (id, entry)) in functions().into_iter().filter(|(name, (_, entry))| is_front_end(entry) || name == RECONCILIATION) {
        let base = camel_case(&name);
        assert_eq!(id, format!("{base}Function"));
        assert_eq!(entry.value("Role"), Some(format!("!GetAtt {base}Role.Arn").as_str()), "{name}");
        assert_eq!(entry.value("LogGroup"), Some(format!("!Ref {base}Logs").as_str()), "{name}");
        for part in ["Role", "Logs", "ParkedAlarm"] {
            assert!(all.contains_key(&format!("{base}{part}")), "{name}: no {base}{part}");
        }
    }
    for (name, (id, entry)) in webhook_functions() {
        let base = camel_case(&name);
        assert_eq!(id, format!("{base}Function"));
        assert_eq!(entry.value("Role"), Some(format!("!GetAtt {base}Role.Arn").as_str()), "{name}");
        assert_eq!(entry.value("LogGroup"), Some(format!("!Ref {base}Logs").as_str()), "{name}");
        assert_eq!(entry.value("QUEUE_URL"), Some(format!("!Ref {base}Queue").as_str()), "{name}");
        let queue = entry.below("Events").below("Queue");
        assert_eq!(queue.value("Queue"), Some(format!("!GetAtt {base}Queue.Arn").as_str()), "{name}");
        assert_eq!(entry.value("BuildMethod"), Some("rust-cargolambda"), "{name}");
        assert_eq!(entry.value("BatchSize"), Some("1"), "{name}: one event of money at a time");
        assert_eq!(entry.items("FunctionResponseTypes"), ["ReportBatchItemFailures"], "{name}");
        for part in ["Queue", "QueuePolicy", "Role", "Logs", "ParkedAlarm"] {
            assert!(all.contains_key(&format!("{base}{part}")), "{name}: no {base}{part}");
        }
    }
}
