//! The name server's configuration: its keys, and where their values come from (Apache: `NamesrvConfig`,
//! `NettyServerConfig`).

use crate::protocol::settings::{self, BadSetting, Folders, Given, Key, Kind, Settings};

const FLAG: Kind = Kind::Flag;
const TEXT: Kind = Kind::Text;
const LONG: Kind = Kind::Number {
    min: i64::MIN,
    max: i64::MAX,
};
const PORT: Kind = Kind::Number { min: 0, max: 65535 };

const THREADS: &str = "rmq has no thread pool and no queue for each kind of request.";
const NETTY: &str = "it tunes the network library of the Java name server.";
const JAVA: &str = "it concerns the installation of the Java name server.";
const ACTING: &str = "slaves that act as masters are not built yet.";
const ALWAYS: &str = "rmq always behaves as by the default.";

#[rustfmt::skip] // One key, one line.
pub static KEYS: &[Key] = &[
    Key::applied("listenPort", PORT, "9876", "Port to listen on.").fixed(),
    Key::applied("bindAddress", TEXT, "0.0.0.0", "Address to listen on.").own("127.0.0.1").fixed(),
    Key::applied("kvConfigPath", TEXT, "$HOME/namesrv/kvConfig.json", "File that keeps the key-value pairs; rmq's own default is in the user's data folder.").own("$DATA/rmq/namesrv/kvConfig.json").fixed(),
    Key::applied("configStorePath", TEXT, "$HOME/namesrv/namesrv.properties", "File that keeps what requests changed; rmq's own default is in the user's data folder.").own("$DATA/rmq/namesrv/namesrv.properties").fixed(),
    Key::applied("configBlackList", TEXT, "configBlackList;configStorePath;kvConfigPath", "Keys, separated by ;, that no request may change.").fixed(),
    Key::applied("enableControllerInNamesrv", FLAG, "false", "Runs a controller in the name server.").refuse_all_but("false", "the controller is not built yet, and nobody would choose masters").fixed(),

    // Nothing depends on these.
    Key::nothing("clientRequestThreadPoolNums", LONG, "8", THREADS),
    Key::nothing("clientRequestThreadPoolQueueCapacity", LONG, "50000", THREADS),
    Key::nothing("clusterTest", FLAG, "false", JAVA),
    Key::nothing("defaultThreadPoolNums", LONG, "16", THREADS),
    Key::nothing("defaultThreadPoolQueueCapacity", LONG, "10000", THREADS),
    Key::nothing("deleteTopicWithBrokerRegistration", FLAG, "false", ALWAYS),
    Key::nothing("enableAllTopicList", FLAG, "true", ALWAYS),
    Key::nothing("enableShutdownGracefully", FLAG, "false", NETTY),
    Key::nothing("enableTopicList", FLAG, "true", ALWAYS),
    Key::nothing("needWaitForService", FLAG, "false", ALWAYS),
    Key::nothing("notifyMinBrokerIdChanged", FLAG, "false", ACTING),
    Key::nothing("orderMessageEnable", FLAG, "false", ALWAYS),
    Key::nothing("productEnvName", TEXT, "center", JAVA),
    Key::nothing("returnOrderTopicConfigToBroker", FLAG, "true", ALWAYS),
    Key::nothing("rocketmqHome", TEXT, "", JAVA).fixed(),
    Key::nothing("scanNotActiveBrokerInterval", LONG, "5000", ALWAYS),
    Key::nothing("serverAsyncSemaphoreValue", LONG, "64", NETTY),
    Key::nothing("serverCallbackExecutorThreads", LONG, "0", NETTY),
    Key::nothing("serverChannelMaxIdleTimeSeconds", LONG, "120", NETTY),
    Key::nothing("serverNettyWorkerGroupEnable", FLAG, "true", NETTY),
    Key::nothing("serverOnewaySemaphoreValue", LONG, "256", NETTY),
    Key::nothing("serverPooledByteBufAllocatorEnable", FLAG, "true", NETTY),
    Key::nothing("serverSelectorThreads", LONG, "3", NETTY),
    Key::nothing("serverSocketBacklog", LONG, "1024", NETTY),
    Key::nothing("serverSocketRcvBufSize", LONG, "0", NETTY),
    Key::nothing("serverSocketSndBufSize", LONG, "0", NETTY),
    Key::nothing("serverWorkerThreads", LONG, "8", NETTY),
    Key::nothing("shutdownWaitTimeSeconds", LONG, "30", NETTY),
    Key::nothing("supportActingMaster", FLAG, "false", ACTING),
    Key::nothing("unRegisterBrokerQueueCapacity", LONG, "3000", THREADS),
    Key::nothing("useEpollNativeSelector", FLAG, "false", NETTY),
    Key::nothing("waitSecondsForService", LONG, "45", ALWAYS),
    Key::nothing("writeBufferHighWaterMark", LONG, "0", NETTY),
    Key::nothing("writeBufferLowWaterMark", LONG, "0", NETTY),
];

/// Reads the configuration of a name server.
///
/// # Errors
/// The first value that cannot be taken, and where it stands.
pub fn load(given: &Given<'_>, folders: &Folders) -> Result<Settings, BadSetting> {
    let saved = |settings: &Settings| folders.expand(settings.get("configStorePath"));
    settings::load(KEYS, given, saved, |path| std::fs::read_to_string(path))
}
