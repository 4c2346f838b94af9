//! `rmq broker config`.

use std::collections::BTreeMap;

use rmq::client::{Admin, BrokerAddress};
use rmq::protocol::code::response;
use rmq::protocol::properties;

use crate::Common;
use crate::brokers::ask_each;
use crate::output::{self, Exit, Failure, Format};

const EXAMPLES: &str = "\
Examples:
  rmq broker config                           all keys of the only broker
  rmq broker config fileReservedTime          one key
  rmq broker config --broker broker-a fileReservedTime=48";

/// Show the configuration of a running broker, or change it.
///
/// A change is kept by the broker and holds after a restart too. Keys that guard it or say where it is cannot be changed.
#[derive(clap::Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Config {
    /// Keys to show, or to change.
    #[arg(value_name = "KEY[=VALUE]")]
    keys: Vec<String>,
    /// Name of the broker, where there are several.
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

impl Config {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let admin = Admin::new(common.client());
        let brokers = self.brokers(&admin).await?;
        let (changes, shown): (Vec<_>, Vec<_>) = self.keys.iter().partition(|key| key.contains('='));
        let mut text = String::new();
        for change in &changes {
            let (key, value) = change.split_once('=').expect("changes have an equals sign");
            properties::write(key.trim(), value.trim(), &mut text);
        }
        let answers = ask_each(brokers, async |broker| {
            if !changes.is_empty() {
                admin.update_broker_config(&broker.address, &text).await?;
            }
            admin.broker_config(&broker.address).await
        })
        .await;
        let changed = changes
            .iter()
            .filter_map(|change| change.split_once('='))
            .map(|(key, _)| key.trim());
        let wanted: Vec<&str> = shown.iter().map(|key| key.as_str()).chain(changed).collect();
        for (broker, text) in &answers.good {
            print(broker, text, &wanted, common.format())?;
        }
        let ended = answers.tell_failures();
        let is_refused_value = answers.good.is_empty()
            && (answers.failed.iter()).any(|(_, error)| error.code() == Some(response::INVALID_PARAMETER));
        Ok(if is_refused_value { Exit::Usage } else { ended })
    }

    async fn brokers(&self, admin: &Admin) -> Result<Vec<BrokerAddress>, Failure> {
        let mut brokers = admin.brokers(None).await?;
        if let Some(name) = &self.broker {
            brokers.retain(|broker| broker.name == *name);
        }
        match brokers.len() {
            0 => Err(Failure::new(Exit::NotFound, "broker not found")
                .next_step("brokers there are: rmq broker show")),
            1 => Ok(brokers),
            _ if self.broker.is_some() => Ok(brokers),
            _ => Err(Failure::usage("there are several brokers")
                .next_step(format!("name one: --broker {}", brokers[0].name))),
        }
    }
}

fn print(broker: &BrokerAddress, text: &str, wanted: &[&str], format: Format) -> Result<(), Failure> {
    let assignments = properties::parse(text).map_err(|bad| {
        Failure::new(
            Exit::Failed,
            format!("{} sent a configuration that cannot be read: {bad}", broker.name),
        )
    })?;
    let all: BTreeMap<String, String> = assignments.into_iter().map(|one| (one.key, one.value)).collect();
    if let Some(unknown) = wanted.iter().find(|key| !all.contains_key(**key)) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{} has no key {unknown:?}", broker.name),
        ));
    }
    let shown: BTreeMap<_, _> = all
        .into_iter()
        .filter(|(key, _)| wanted.is_empty() || wanted.contains(&key.as_str()))
        .collect();
    if format == Format::Json {
        return output::json(&shown);
    }
    for (key, value) in &shown {
        output::line(format_args!("{key}={value}"))?;
    }
    Ok(())
}
