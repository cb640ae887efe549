//! Labels of objects.

use model::LabelsBuilder;

use super::objects::{Metadata, Texts};
use crate::discovery::json_api::label_name;

pub(super) const NAMESPACE: &str = "__meta_kubernetes_namespace";

/// `__meta_kubernetes_` and what follows.
pub(super) fn meta(name: &str) -> String {
    format!("__meta_kubernetes_{name}")
}

pub(super) fn set(labels: &mut LabelsBuilder, name: &str, value: &str) {
    labels.set(&meta(name), value);
}

pub(super) fn set_if(labels: &mut LabelsBuilder, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        set(labels, name, value);
    }
}

/// An object's name, labels and annotations.
pub(super) fn add_object(labels: &mut LabelsBuilder, role: &str, metadata: &Metadata) {
    set(labels, &format!("{role}_name"), &metadata.name);
    add_texts(labels, role, metadata);
}

/// Its labels and annotations, each also as being there, for those that are empty.
pub(super) fn add_texts(labels: &mut LabelsBuilder, role: &str, metadata: &Metadata) {
    add_pairs(labels, &format!("{role}_label"), &format!("{role}_labelpresent"), &metadata.labels);
    add_pairs(labels, &format!("{role}_annotation"), &format!("{role}_annotationpresent"), &metadata.annotations);
}

pub(super) fn add_pairs(labels: &mut LabelsBuilder, value: &str, presence: &str, pairs: &Texts) {
    for (name, text) in pairs.iter().flatten() {
        let name = label_name(name);
        set(labels, &format!("{value}_{name}"), text);
        set(labels, &format!("{presence}_{name}"), "true");
    }
}
