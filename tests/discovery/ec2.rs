//! Discovery of EC2 instances, beside a real Prometheus that asks the same server of our own.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use super::{discovering_with, failures, found};
use crate::harness::{
    eventually, peer,
    responder::{self, Request},
    server::folder,
};

fn instance(id: &str, address: &str, more: &str) -> String {
    format!(
        "<item><instanceId>{id}</instanceId><imageId>ami-1</imageId><instanceState><code>16</code><name>running</name></instanceState>\
         <privateDnsName>{id}.internal</privateDnsName>{address}<instanceType>t3.micro</instanceType>\
         <placement><availabilityZone>eu-1a</availabilityZone><tenancy>default</tenancy></placement>{more}</item>"
    )
}

fn page(instances: &[String], next: &str) -> String {
    let next = if next.is_empty() { String::new() } else { format!("<nextToken>{next}</nextToken>") };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>r</requestId><reservationSet><item><reservationId>r-1</reservationId><ownerId>12345</ownerId>\
         <instancesSet>{}</instancesSet></item></reservationSet>{next}</DescribeInstancesResponse>",
        instances.concat()
    )
}

fn pages() -> [String; 2] {
    let interfaces = "<architecture>x86_64</architecture><dnsName>web.example</dnsName><ipAddress>203.0.113.9</ipAddress>\
        <platform>windows</platform><vpcId>vpc-1</vpcId><subnetId>subnet-1</subnetId><instanceLifecycle>spot</instanceLifecycle>\
        <networkInterfaceSet><item><subnetId>subnet-1</subnetId><attachment><deviceIndex>0</deviceIndex></attachment>\
        <ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address><isPrimaryIpv6>false</isPrimaryIpv6></item></ipv6AddressesSet></item>\
        <item><subnetId>subnet-2</subnetId><attachment><deviceIndex>2</deviceIndex></attachment>\
        <ipv6AddressesSet><item><ipv6Address>2001:db8::2</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item>\
        <item><subnetId>subnet-1</subnetId></item></networkInterfaceSet>\
        <tagSet><item><key>Name</key><value>web &amp; more</value></item><item><key>a:b/c</key><value>d</value></item></tagSet>";
    let address = |last: u8| format!("<privateIpAddress>192.0.2.{last}</privateIpAddress>");
    [
        page(&[instance("i-1", &address(1), interfaces), instance("i-gone", "", "")], "more"),
        page(&[instance("i-2", &address(2), "<architecture>arm64</architecture>")], ""),
    ]
}

const ZONES: &str = "<DescribeAvailabilityZonesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><availabilityZoneInfo>\
    <item><zoneName>eu-1a</zoneName><zoneId>euz1-az3</zoneId></item></availabilityZoneInfo></DescribeAvailabilityZonesResponse>";

const ASSUMED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
    <AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>token</SessionToken>\
    <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

type Form = BTreeMap<String, String>;

/// Who signed which form.
type Asked = Arc<Mutex<Vec<(String, Form)>>>;

fn answer(request: &Request, out: &mut dyn Write, asked: &Asked) -> io::Result<()> {
    if request.path.starts_with("/latest/") {
        return instance_metadata(request, out);
    }
    let form: Form = form_urlencoded::parse(&request.body).into_owned().collect();
    let authorization = request.headers.get("authorization").cloned().unwrap_or_default();
    let signer = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=").and_then(|text| text.split('/').next());
    let Some(signer) = signer else {
        return responder::answer(
            out,
            "401 Unauthorized",
            &[],
            b"<Response><Errors><Error><Code>AuthFailure</Code></Error></Errors></Response>",
        );
    };
    asked.lock().expect("nobody panics with it").push((signer.to_owned(), form.clone()));
    let text = match (form["Action"].as_str(), form.get("NextToken").map(String::as_str)) {
        ("DescribeAvailabilityZones", _) => ZONES.to_owned(),
        ("DescribeInstances", None) => pages()[0].clone(),
        ("DescribeInstances", Some("more")) => pages()[1].clone(),
        ("AssumeRole", _) => ASSUMED.to_owned(),
        _ => return responder::answer(out, "400 Bad Request", &[], b""),
    };
    responder::answer(out, "200 OK", &[("Content-Type", "text/xml")], text.as_bytes())
}

/// What an instance is told of itself, after it has got a token.
fn instance_metadata(request: &Request, out: &mut dyn Write) -> io::Result<()> {
    let has_token = request.headers.get("x-aws-ec2-metadata-token").is_some_and(|token| token == "t0");
    let body = match (request.method.as_str(), request.path.as_str(), has_token) {
        ("PUT", "/latest/api/token", _) => "t0",
        ("GET", "/latest/meta-data/placement/region", true) => "eu-1",
        ("GET", "/latest/meta-data/iam/security-credentials/", true) => "role",
        ("GET", "/latest/meta-data/iam/security-credentials/role", true) => {
            r#"{"Code":"Success","AccessKeyId":"INSTANCE","SecretAccessKey":"s","Token":"t","Expiration":"2100-01-01T00:00:00Z"}"#
        }
        _ => return responder::answer(out, "401 Unauthorized", &[], b""),
    };
    responder::answer(out, "200 OK", &[], body.as_bytes())
}

#[test]
fn instances_are_found_as_prometheus_finds_them() {
    let (folder, asked) = (folder(), Asked::default());
    let noted = asked.clone();
    let address = responder::serve(Arc::new(move |request, out| answer(request, out, &noted)));
    let keys = format!("endpoint: 'http://{address}', refresh_interval: 1s");
    let shared = format!(
        "- job_name: own\n  ec2_sd_configs: [{{{keys}, region: eu-1, access_key: STATIC, secret_key: s, port: 9100, \
         filters: [{{name: 'tag:a', values: [x, y]}}, {{name: instance-state-name, values: [running]}}]}}]\n"
    );
    let prometheus =
        peer::prometheus(folder.path(), &format!("global: {{scrape_interval: 1h}}\nscrape_configs:\n{shared}"));
    let jobs = format!(
        "{shared}- job_name: role\n  ec2_sd_configs: [{{{keys}, region: eu-1, access_key: STATIC, secret_key: s, role_arn: 'arn:x', external_id: e}}]\n\
         - job_name: instance\n  ec2_sd_configs: [{{{keys}}}]\n\
         - job_name: half\n  ec2_sd_configs: [{{{keys}, region: eu-1, access_key: STATIC}}]\n"
    );
    let url = format!("http://{address}");
    let variables =
        [("AWS_ENDPOINT_URL_STS", url.as_str()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url), ("HOME", "/nowhere")];
    let server = discovering_with(folder.path(), &jobs, &variables);
    eventually("the instances as Prometheus has them", || {
        let (ours, theirs) = (found(server.address, "own"), found(prometheus.address, "own"));
        (ours == theirs && ours.len() == 2).then_some(())
    });
    for job in ["role", "instance"] {
        eventually(job, || (found(server.address, job).len() == 2).then_some(()));
    }
    eventually("a mistake", || (failures(server.address, "half", "ec2") > 0.0).then_some(()));
    assert!(server.log().contains("access_key and secret_key go together"), "{}", server.log());
    let asked = asked.lock().expect("nobody panics with it").clone();
    let by = |signer: &str| {
        asked.iter().filter(|(known, _)| known == signer).map(|(_, form)| form.clone()).collect::<Vec<_>>()
    };
    assert!(by("INSTANCE").iter().chain(&by("ASSUMED")).all(|form| form["Action"].starts_with("Describe")));
    assert!(!by("INSTANCE").is_empty() && !by("ASSUMED").is_empty());
    let assume = by("STATIC").into_iter().find(|form| form["Action"] == "AssumeRole").expect("a role");
    assert_eq!((assume["RoleArn"].as_str(), assume["ExternalId"].as_str()), ("arn:x", "e"));
    // Both servers ask with the same words.
    let filtered: Vec<Form> = by("STATIC").into_iter().filter(|form| form.contains_key("Filter.1.Name")).collect();
    let without_pages = |form: &Form| {
        let mut form = form.clone();
        form.remove("NextToken");
        form
    };
    let first = without_pages(&filtered[0]);
    assert_eq!(first["Filter.1.Value.2"], "y");
    assert!(filtered.iter().all(|form| without_pages(form) == first), "{filtered:#?}");
}
