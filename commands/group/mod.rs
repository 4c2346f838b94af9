//! `rmq group`: consumer groups, how far they are, and moving them.

mod delete;
mod lag;
mod ls;
mod reset;
mod show;

use clap::Subcommand;

use crate::Common;
use crate::output::{Exit, Failure};

/// List, show, move and delete consumer groups.
#[derive(Subcommand, Debug)]
pub enum Group {
    Ls(ls::Ls),
    Show(show::Show),
    Lag(lag::Lag),
    Reset(reset::Reset),
    Delete(delete::Delete),
}

impl Group {
    pub async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Group::Ls(ls) => ls.run(common).await,
            Group::Show(show) => show.run(common).await,
            Group::Lag(lag) => lag.run(common).await,
            Group::Reset(reset) => reset.run(common).await,
            Group::Delete(delete) => delete.run(common).await,
        }
    }
}

/// Whether brokers and tools use this group themselves (Apache: `MixAll.isSysConsumerGroup` and the groups every broker has).
fn is_system(group: &str) -> bool {
    const OWN: [&str; 9] = [
        "TOOLS_CONSUMER",
        "FILTERSRV_CONSUMER",
        "SELF_TEST_C_GROUP",
        "SCHEDULE_CONSUMER",
        "__MONITOR_CONSUMER",
        "CID_ONS-HTTP-PROXY",
        "CID_ONSAPI_PERMISSION",
        "CID_ONSAPI_OWNER",
        "CID_ONSAPI_PULL",
    ];
    group.starts_with("CID_RMQ_SYS_") || group.starts_with("CID_SYS_") || OWN.contains(&group)
}

fn not_found(group: &str) -> Failure {
    Failure::new(
        Exit::NotFound,
        format!("group {group:?} not found: no broker knows it"),
    )
    .next_step("groups there are: rmq group ls")
}
