//! `ec2_sd_configs`: instances of Amazon EC2.
//!
//! docs.aws.amazon.com/AWSEC2/latest/APIReference: `DescribeInstances` and `DescribeAvailabilityZones`.

use std::{collections::HashMap, path::Path, sync::Arc};

use model::{Labels, LabelsBuilder};
use roxmltree::{Document, Node};

use super::{
    AwsError, Named as _, QueryApi,
    credentials::{self, Credentials},
    text_of,
};
use crate::{
    config::prometheus::discovery::Ec2Sd,
    discovery::{
        json_api::{host_port, label_name},
        poll::Refresh,
    },
    http_client::Client,
    targets::{ADDRESS, TargetGroup},
};

const VERSION: &str = "2016-11-15";

pub(in crate::discovery) struct Ec2Discovery {
    config: Ec2Sd,
    asking: Option<Asking>,
}

/// What is kept between two times.
struct Asking {
    api: QueryApi,
    credentials: Credentials,
    /// Ids of availability zones by their names.
    zones: Option<HashMap<String, String>>,
}

impl Ec2Discovery {
    pub(in crate::discovery) fn new(config: Ec2Sd, folder: &Path) -> Self {
        let client = config.client.seen_from(folder);
        Self { config: Ec2Sd { client, ..config }, asking: None }
    }

    async fn asking(&mut self) -> Result<&mut Asking, AwsError> {
        let asking = match self.asking.take() {
            Some(asking) if asking.credentials.is_fresh() => asking,
            Some(asking) => {
                let credentials = credentials::credentials(&self.config, &asking.api.region).await?;
                Asking { credentials, ..asking }
            }
            None => {
                let region = credentials::region(&self.config).await?;
                let credentials = credentials::credentials(&self.config, &region).await?;
                let api = QueryApi::new(
                    Arc::new(Client::new(&self.config.client)),
                    self.url(&region),
                    ("ec2", VERSION),
                    &region,
                );
                Asking { api, credentials, zones: None }
            }
        };
        Ok(self.asking.insert(asking))
    }

    fn url(&self, region: &str) -> String {
        let endpoint = self.config.endpoint.clone().filter(|endpoint| !endpoint.is_empty());
        match endpoint {
            Some(endpoint) if endpoint.contains("://") => endpoint,
            Some(endpoint) => format!("https://{endpoint}"),
            None => format!("https://ec2.{region}.amazonaws.com/"),
        }
    }

    fn filters(&self) -> Vec<(String, String)> {
        let mut parameters = Vec::new();
        for (number, filter) in (1..).zip(&self.config.filters) {
            parameters.push((format!("Filter.{number}.Name"), filter.name.clone()));
            for (place, value) in (1..).zip(&filter.values) {
                parameters.push((format!("Filter.{number}.Value.{place}"), value.clone()));
            }
        }
        parameters
    }
}

impl Refresh for Ec2Discovery {
    type Error = AwsError;

    const MECHANISM: &'static str = "ec2";

    fn place(&self) -> String {
        let region = self.asking.as_ref().map_or("", |asking| asking.api.region.as_str());
        self.config.region.as_deref().unwrap_or(region).to_owned()
    }

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, AwsError> {
        let (filters, port) = (self.filters(), self.config.port);
        let asking = self.asking().await?;
        let Asking { api, credentials, zones } = asking;
        if zones.is_none() {
            // Without the right to ask for them targets have all but their zones' ids.
            match api.ask(credentials, "DescribeAvailabilityZones", &[]).await.and_then(|answer| zones_of(&answer)) {
                Ok(found) => *zones = Some(found),
                Err(error) => tracing::debug!(%error, "no ids of availability zones"),
            }
        }
        let (mut targets, mut parameters) = (Vec::new(), filters.clone());
        loop {
            let answer = api.ask(credentials, "DescribeInstances", &parameters).await?;
            let page = Page { region: &api.region, port, zones: zones.as_ref() };
            let next = page.read(&answer, &mut targets)?;
            let Some(next) = next else { break };
            parameters = filters.clone();
            parameters.push(("NextToken".to_owned(), next));
        }
        Ok(vec![TargetGroup { targets, labels: Labels::empty() }])
    }
}

fn document<'a>(action: &str, answer: &'a str) -> Result<Document<'a>, AwsError> {
    let wrong = |error: roxmltree::Error| AwsError::Answer { action: action.to_owned(), reason: error.to_string() };
    Document::parse(answer).map_err(wrong)
}

fn zones_of(answer: &str) -> Result<HashMap<String, String>, AwsError> {
    let document = document("DescribeAvailabilityZones", answer)?;
    let zones = document.descendants().filter(|node| node.is_called("availabilityZoneInfo"));
    let items = zones.flat_map(|zones| zones.children().filter(|node| node.is_called("item")));
    Ok(items.filter_map(|item| Some((text_of(item, "zoneName")?, text_of(item, "zoneId")?))).collect())
}

/// What a page's targets have in common.
struct Page<'a> {
    region: &'a str,
    port: u16,
    zones: Option<&'a HashMap<String, String>>,
}

impl Page<'_> {
    /// Adds the targets of a page; returns the next one's token.
    fn read(&self, answer: &str, targets: &mut Vec<Labels>) -> Result<Option<String>, AwsError> {
        let document = document("DescribeInstances", answer)?;
        let root = document.root_element();
        for reservation in root.children().filter(|node| node.is_called("reservationSet")).flat_map(items) {
            let owner = child_text(reservation, "ownerId");
            let instances = reservation.children().filter(|node| node.is_called("instancesSet"));
            targets.extend(instances.flat_map(items).filter_map(|instance| self.target(instance, owner)));
        }
        Ok(child_text(root, "nextToken").map(str::to_owned))
    }

    /// `None`: it has no address, as one that is not there any more.
    fn target(&self, instance: Node<'_, '_>, owner: Option<&str>) -> Option<Labels> {
        let text = |name: &str| child_text(instance, name);
        let address = text("privateIpAddress")?;
        let mut labels = LabelsBuilder::default();
        labels.set(ADDRESS, &host_port(address, self.port)).set("__meta_ec2_region", self.region);
        let zone = child(instance, "placement").and_then(|placement| child_text(placement, "availabilityZone"));
        let state = child(instance, "instanceState").and_then(|state| child_text(state, "name"));
        let zone_id = self.zones.zip(zone).and_then(|(zones, zone)| zones.get(zone)).map(String::as_str);
        let public = text("ipAddress");
        let all = [
            ("instance_id", text("instanceId")),
            ("owner_id", owner),
            ("private_ip", Some(address)),
            ("private_dns_name", text("privateDnsName")),
            ("platform", text("platform")),
            ("public_ip", public),
            ("public_dns_name", text("dnsName").filter(|_| public.is_some())),
            ("ami", text("imageId")),
            ("availability_zone", zone),
            ("availability_zone_id", zone_id),
            ("instance_state", state),
            ("instance_type", text("instanceType")),
            ("instance_lifecycle", text("instanceLifecycle")),
            ("architecture", text("architecture")),
            ("default_ipv6_address", text("ipv6Address")),
        ];
        for (name, value) in all {
            labels.set(&format!("__meta_ec2_{name}"), value.unwrap_or_default());
        }
        if let Some(network) = text("vpcId") {
            labels.set("__meta_ec2_vpc_id", network);
            labels.set("__meta_ec2_primary_subnet_id", text("subnetId").unwrap_or_default());
            add_interfaces(instance, &mut labels);
        }
        for tag in child(instance, "tagSet").into_iter().flat_map(items) {
            if let (Some(key), Some(value)) = (child_text(tag, "key"), child_text(tag, "value")) {
                labels.set(&format!("__meta_ec2_tag_{}", label_name(key)), value);
            }
        }
        Some(labels.build())
    }
}

fn add_interfaces(instance: Node<'_, '_>, labels: &mut LabelsBuilder) {
    let (mut subnets, mut addresses, mut primary) = (Vec::new(), Vec::new(), Vec::new());
    for interface in child(instance, "networkInterfaceSet").into_iter().flat_map(items) {
        let Some(subnet) = child_text(interface, "subnetId") else { continue };
        if !subnets.contains(&subnet) {
            subnets.push(subnet);
        }
        for address in child(interface, "ipv6AddressesSet").into_iter().flat_map(items) {
            let Some(text) = child_text(address, "ipv6Address") else { continue };
            addresses.push(text);
            if child_text(address, "isPrimaryIpv6") == Some("true") {
                // Each stands in the place of its interface's number.
                let index = child(interface, "attachment").and_then(|attached| child_text(attached, "deviceIndex"));
                let index =
                    index.and_then(|index| index.parse().ok()).filter(|index| *index < MAX_INTERFACES).unwrap_or(0);
                primary.resize(primary.len().max(index + 1), "");
                primary[index] = text;
            }
        }
    }
    labels.set("__meta_ec2_subnet_id", &between_commas(&subnets));
    if !addresses.is_empty() {
        labels.set("__meta_ec2_ipv6_addresses", &between_commas(&addresses));
    }
    if !primary.is_empty() {
        labels.set("__meta_ec2_primary_ipv6_addresses", &between_commas(&primary));
    }
}

/// More than any instance can have.
const MAX_INTERFACES: usize = 1024;

fn between_commas(all: &[&str]) -> String {
    format!(",{},", all.join(","))
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|node| node.is_called(name))
}

fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim).filter(|text| !text.is_empty())
}

fn items<'a, 'input>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(|node| node.is_called("item"))
}
