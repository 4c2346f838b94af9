//! `rmq dev`: everything in one process on this machine, with a first message sent and consumed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rmq::client::{
    ClientError, ClientOptions, OutgoingMessage, Producer, ProducerOptions, PullConsumer, SendResult,
};

use crate::Common;
use crate::broker::Given;
use crate::output::{self, BOLD, DIM, Exit, Failure, Format};
use crate::record;
use crate::scratch::{self, Scratch};
use crate::server::{Server, WhenTaken};
use crate::signals::Interrupts;

/// The topic of the first message.
const TOPIC: &str = "hello";
/// The whole round trip takes milliseconds; longer means that something is wrong.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);

/// Run name server and broker on this machine, for trying and developing.
///
/// Sends itself a first message, consumes it, prints what to type next, and serves until Ctrl-C. Taken ports make it take free
/// ones. The store is a temporary folder unless --store names one.
#[derive(clap::Args, Debug)]
pub struct Dev {
    /// End after the first message was consumed; always on free ports.
    #[arg(long)]
    once: bool,
    /// Keep the store in this folder.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// What became of the first message.
struct RoundTrip {
    sent: SendResult,
    body: String,
    elapsed: Duration,
}

impl Dev {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        if common.namesrv.is_some() {
            return Err(Failure::usage("rmq dev has a name server of its own")
                .next_step("leave -n away, or: rmq broker start -n …"));
        }
        let mut interrupts = Interrupts::catch()?;
        let scratch = self.scratch()?;
        let store = scratch
            .as_ref()
            .map(|scratch| scratch.path().join("store"))
            .or(self.store.clone());
        let server = start(store, self.once).await?;
        let made = tokio::select! {
            made = round_trip(&server) => made,
            () = interrupts.next() => return end(server, None).await,
        };
        let shown = match made {
            Ok(trip) => self.show(&server, &trip, common.format()),
            Err(failure) => Err(failure),
        };
        if shown.is_err() || self.once {
            return end(server, shown.err()).await;
        }
        let failure = tokio::select! {
            () = interrupts.next() => None,
            failure = server.failed() => Some(failure),
        };
        interrupts.second_ends_at_once();
        end(server, failure).await
    }

    /// The temporary folder, after removing those that were left behind.
    fn scratch(&self) -> Result<Option<Scratch>, Failure> {
        if self.store.is_some() {
            return Ok(None);
        }
        let parent = std::env::temp_dir();
        let removed = scratch::remove_leftovers(&parent);
        if removed > 0 {
            output::talk(format_args!(
                "removed {removed} temporary store(s) of processes that were killed"
            ));
        }
        let scratch = Scratch::create(&parent).map_err(|error| {
            Failure::new(Exit::Failed, format!("{}: {error}", parent.display()))
                .next_step("name a folder: --store DIR")
        })?;
        Ok(Some(scratch))
    }

    fn show(&self, server: &Server, trip: &RoundTrip, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            return output::json(&server.ready);
        }
        let ready = &server.ready;
        let namesrv = ready.namesrv.as_deref().unwrap_or("-");
        let kept = if self.store.is_some() { "kept" } else { "temporary" };
        let queue = &trip.sent.queue;
        let place = record::place(TOPIC, &queue.broker_name, queue.queue_id, trip.sent.queue_offset);
        output::styled(format_args!(
            "{BOLD}rmq dev{BOLD:#} {}",
            env!("CARGO_PKG_VERSION")
        ))?;
        output::styled(format_args!("  name server  {namesrv}"))?;
        output::styled(format_args!("  broker       {} ({})", ready.broker, ready.name))?;
        output::styled(format_args!("  store        {} ({kept})", ready.store.display()))?;
        output::styled(format_args!("  sent         {place}  {:?}", trip.body))?;
        output::styled(format_args!(
            "  consumed     {place}  after {:.1} ms",
            trip.elapsed.as_secs_f64() * 1000.0
        ))?;
        if self.once {
            return Ok(());
        }
        // As it was called: before it is installed, the binary lies somewhere below `target`.
        let rmq = std::env::args().next().unwrap_or_else(|| "rmq".to_owned());
        let flag = if namesrv == crate::connect::NAMESRV_DEFAULT {
            String::new()
        } else {
            format!(" --namesrv {namesrv}")
        };
        output::styled(format_args!("\n{BOLD}Next{BOLD:#}, in another terminal:"))?;
        output::styled(format_args!("  {rmq} consume orders -g billing{flag}"))?;
        output::styled(format_args!("  {rmq} send orders 'one book' --tag paid{flag}"))?;
        output::styled(format_args!("  {rmq} topic ls{flag}"))?;
        output::styled(format_args!(
            "{BOLD}In Java{BOLD:#} {DIM}(org.apache.rocketmq:rocketmq-client){DIM:#}:"
        ))?;
        output::styled(format_args!(
            "  DefaultMQProducer producer = new DefaultMQProducer(\"shop\");"
        ))?;
        output::styled(format_args!("  producer.setNamesrvAddr(\"{namesrv}\");"))?;
        output::styled(format_args!("  producer.start();"))?;
        output::styled(format_args!(
            "  producer.send(new Message(\"orders\", \"one book\".getBytes()));"
        ))?;
        output::styled(format_args!("\nServing until Ctrl-C."))
    }
}

/// On this machine only, whatever the caller's environment says about other servers.
async fn start(store: Option<PathBuf>, once: bool) -> Result<Server, Failure> {
    let any = |address: &str| {
        Some(if once {
            crate::ports::with_port(address, 0)
        } else {
            address.to_owned()
        })
    };
    let given = Given {
        listen: any("127.0.0.1:10911"),
        namesrv_listen: any(crate::connect::NAMESRV_DEFAULT),
        name: Some("broker-a".to_owned()),
        store,
        ..Given::default()
    };
    let mut configured = given.load(None)?;
    configured.settings.unset("namesrvAddr");
    Server::start(configured, WhenTaken::TakeFree).await
}

async fn end(server: Server, failure: Option<Failure>) -> Result<Exit, Failure> {
    let stopped = server.stop().await;
    failure.map_or(stopped.map(|()| Exit::Ok), Err)
}

/// Sends a message through the name server and the broker, and reads it back.
async fn round_trip(server: &Server) -> Result<RoundTrip, Failure> {
    let namesrv = server
        .ready
        .namesrv
        .as_deref()
        .expect("rmq dev has a name server of its own");
    let client = ClientOptions::new(namesrv);
    let made = tokio::time::timeout(ROUND_TRIP_MAX, send_and_consume(client)).await;
    match made {
        Ok(made) => {
            made.map_err(|error| Failure::new(Exit::Failed, format!("the first message failed: {error}")))
        }
        Err(_) => Err(Failure::new(
            Exit::Failed,
            format!("the first message did not come back within {ROUND_TRIP_MAX:?}"),
        )),
    }
}

async fn send_and_consume(client: ClientOptions) -> Result<RoundTrip, ClientError> {
    let producer = Producer::start(ProducerOptions::new(client.clone(), "rmq-dev"));
    let reader = PullConsumer::new(client, None);
    let begin = Instant::now();
    let sent = producer
        .send(&OutgoingMessage::new(TOPIC, "Hello, RocketMQ!").tag("first"))
        .await?;
    let pulled = reader
        .pull(&sent.queue, sent.queue_offset, 1, Some(ROUND_TRIP_MAX))
        .await?;
    let elapsed = begin.elapsed();
    producer.close().await;
    let message = pulled
        .messages
        .first()
        .ok_or_else(|| ClientError::MessageNotFound(sent.message_ids.join(",")))?;
    let body = String::from_utf8_lossy(&message.body).into_owned();
    Ok(RoundTrip { sent, body, elapsed })
}
