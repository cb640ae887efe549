//! Role `ingress`: one target for each path, for probing from outside.

use model::{Labels, LabelsBuilder};

use super::View;
use crate::{
    discovery::kubernetes::{
        names::{add_object, set, set_if},
        objects::{Ingress, IngressRule},
    },
    targets::{ADDRESS, TargetGroup},
};

pub(super) fn group(view: &View<'_>, ingress: &Ingress) -> Option<TargetGroup> {
    let mut labels = LabelsBuilder::default();
    view.add_namespace(&mut labels, &ingress.metadata.namespace);
    set_if(&mut labels, "ingress_class_name", ingress.spec.ingress_class_name.as_deref());
    add_object(&mut labels, "ingress", &ingress.metadata);
    let targets = ingress.spec.rules.iter().flatten().flat_map(|rule| targets(ingress, rule)).collect();
    Some(TargetGroup { targets, labels: labels.build() })
}

fn targets(ingress: &Ingress, rule: &IngressRule) -> Vec<Labels> {
    let hosts = ingress.spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten());
    let is_tls = hosts.into_iter().any(|pattern| is_host_of(pattern, &rule.host));
    let scheme = if is_tls { "https" } else { "http" };
    let paths: Vec<&str> = match &rule.http {
        Some(http) => http.paths.iter().flatten().map(|path| path.path.as_str()).collect(),
        None => vec![""],
    };
    let target = |path: &str| {
        let mut target = LabelsBuilder::default();
        target.set(ADDRESS, &rule.host);
        set(&mut target, "ingress_scheme", scheme);
        set(&mut target, "ingress_host", &rule.host);
        set(&mut target, "ingress_path", if path.is_empty() { "/" } else { path });
        target.build()
    };
    paths.into_iter().map(target).collect()
}

/// A `*` stands for the first part of a name.
fn is_host_of(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return true;
    }
    let rest = pattern.strip_prefix("*.");
    rest.is_some_and(|rest| host.split_once('.').is_some_and(|(_, of_host)| of_host == rest))
}
