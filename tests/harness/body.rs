//! Remote-write bodies.

use std::net::SocketAddr;

use model::{Sample, Timestamp};
use wire::remote_write::{
    Protocol,
    encode::{Compressor, SymbolTable, labels_v1, labels_v2, series_v1, series_v2},
};

use super::http::{self, Answer};

/// A series to write: labels, and (time in milliseconds, value).
pub(crate) struct Series<'a> {
    pub(crate) labels: &'a [(&'a str, &'a str)],
    pub(crate) samples: &'a [(i64, f64)],
}

pub(crate) fn message(protocol: Protocol, series: &[Series<'_>]) -> Vec<u8> {
    let samples = |one: &Series<'_>| -> Vec<Sample> {
        one.samples.iter().map(|(time, value)| Sample { time: Timestamp(*time), value: *value }).collect()
    };
    let mut message = Vec::new();
    let mut symbols = SymbolTable::new();
    for one in series {
        let mut labels = Vec::new();
        match protocol {
            Protocol::V1 => {
                labels_v1(&mut labels, one.labels.iter().copied());
                series_v1(&mut message, &labels, &samples(one));
            }
            Protocol::V2 => {
                labels_v2(&mut labels, &mut symbols, one.labels.iter().copied());
                series_v2(&mut message, &labels, &samples(one));
            }
        }
    }
    match protocol {
        Protocol::V1 => message,
        Protocol::V2 => [symbols.message(), &message].concat(),
    }
}

pub(crate) fn compressed(message: &[u8]) -> Vec<u8> {
    Compressor::default().compress(message).to_vec()
}

pub(crate) fn write(address: SocketAddr, protocol: Protocol, series: &[Series<'_>]) -> Answer {
    send(address, protocol.content_type(), &compressed(&message(protocol, series)))
}

pub(crate) fn send(address: SocketAddr, content_type: &str, body: &[u8]) -> Answer {
    let headers = [("Content-Type", content_type), ("Content-Encoding", "snappy")];
    http::request(address, "POST", "/api/v1/write", &headers, body)
}
