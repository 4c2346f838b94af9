//! `rmq broker show`.

use std::collections::BTreeMap;

use rmq::client::{Admin, BrokerAddress};
use serde::Serialize;

use crate::Common;
use crate::brokers::ask_each;
use crate::output::{self, Exit, Failure, Format, Row, or_dash};

/// List brokers, or show everything one says of itself.
#[derive(clap::Args, Debug)]
pub struct Show {
    /// Name of a broker.
    broker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerRow {
    cluster: String,
    broker: String,
    id: i64,
    address: String,
    /// Null where the broker did not answer.
    version: Option<String>,
    put_tps: Option<f64>,
    get_transferred_tps: Option<f64>,
}

impl Row for BrokerRow {
    const COLUMNS: &'static [&'static str] = &[
        "BROKER", ">ID", "ADDRESS", "CLUSTER", "VERSION", ">IN/S", ">OUT/S",
    ];

    fn cells(&self) -> Vec<String> {
        let rate = |rate: Option<f64>| or_dash(rate.map(|rate| format!("{rate:.1}")));
        vec![
            self.broker.clone(),
            self.id.to_string(),
            self.address.clone(),
            self.cluster.clone(),
            or_dash(self.version.as_ref()),
            rate(self.put_tps),
            rate(self.get_transferred_tps),
        ]
    }
}

impl BrokerRow {
    fn new(broker: &BrokerAddress, info: Option<&BTreeMap<String, String>>) -> BrokerRow {
        let text = |name| info.and_then(|info| info.get(name));
        // Rates of the last 10, 60 and 600 seconds stand in one text.
        let rate = |name| text(name).and_then(|rates| rates.split_whitespace().next()?.parse().ok());
        BrokerRow {
            cluster: broker.cluster.clone(),
            broker: broker.name.clone(),
            id: broker.id,
            address: broker.address.clone(),
            version: text("brokerVersionDesc").cloned(),
            put_tps: rate("putTps"),
            get_transferred_tps: rate("getTransferredTps"),
        }
    }
}

impl Show {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let mut brokers = admin.brokers(None).await?;
        if let Some(name) = &self.broker {
            brokers.retain(|broker| broker.name == *name);
            if brokers.is_empty() {
                return Err(Failure::new(Exit::NotFound, format!("broker {name:?} not found"))
                    .next_step("rmq broker show"));
            }
        }
        let answers = ask_each(brokers, async |broker| admin.runtime_info(&broker.address).await).await;
        match (&self.broker, common.format()) {
            (Some(_), format) => {
                for (broker, info) in &answers.good {
                    one(broker, info, format)?;
                }
            }
            (None, format) => {
                let good = answers
                    .good
                    .iter()
                    .map(|(broker, info)| BrokerRow::new(broker, Some(info)));
                let failed = answers
                    .failed
                    .iter()
                    .map(|(broker, _)| BrokerRow::new(broker, None));
                format.list(&good.chain(failed).collect::<Vec<_>>())?;
            }
        }
        Ok(answers.tell_failures())
    }
}

fn one(broker: &BrokerAddress, info: &BTreeMap<String, String>, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(info);
    }
    let named = [
        ("broker", broker.name.clone()),
        ("address", broker.address.clone()),
    ];
    let facts: Vec<_> = named
        .into_iter()
        .chain(info.iter().map(|(name, value)| (name.as_str(), value.clone())))
        .collect();
    format.show(info, &facts)
}
