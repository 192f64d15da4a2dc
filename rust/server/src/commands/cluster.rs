//! The commands of a cluster. This server is none, so each answers with the error by which clients of
//! Redis know that.

use super::command::AdminHandler;
use super::{Args, Command, Family, admin, container};
use crate::road::Admin;
use forgekv_data::{Error, Result};
use forgekv_resp::Reply;

const DISABLED: &str = "ERR This instance has cluster support disabled";

pub(crate) const FAMILY: Family = Family::new(
    "cluster",
    &[
        of_connection("READONLY").loading().stale(),
        of_connection("READWRITE").loading().stale(),
        of_connection("ASKING"),
        container(
            "CLUSTER",
            &[
                change("ADDSLOTS", "slot:integer [slot:integer ...]", "3.0.0"),
                change(
                    "ADDSLOTSRANGE",
                    "start-slot:integer end-slot:integer [start-slot:integer end-slot:integer ...]",
                    "7.0.0",
                ),
                change("BUMPEPOCH", "", "3.0.0").tips(&["nondeterministic_output"]),
                operators("COUNT-FAILURE-REPORTS", "node-id:string", "3.0.0")
                    .tips(&["nondeterministic_output"]),
                look("COUNTKEYSINSLOT", "slot:integer", "3.0.0"),
                change("DELSLOTS", "slot:integer [slot:integer ...]", "3.0.0"),
                change(
                    "DELSLOTSRANGE",
                    "start-slot:integer end-slot:integer [start-slot:integer end-slot:integer ...]",
                    "7.0.0",
                ),
                change("FAILOVER", "[FORCE | TAKEOVER]", "3.0.0"),
                change("FLUSHSLOTS", "", "3.0.0"),
                change("FORGET", "node-id:string", "3.0.0"),
                look("GETKEYSINSLOT", "slot:integer count", "3.0.0")
                    .tips(&["nondeterministic_output"]),
                look("INFO", "", "3.0.0").tips(&["nondeterministic_output"]),
                look("KEYSLOT", "key:string", "3.0.0"),
                look("LINKS", "", "7.0.0").tips(&["nondeterministic_output"]),
                change("MEET", "ip:string port [cluster-bus-port:integer]", "3.0.0"),
                look("MYID", "", "3.0.0"),
                look("MYSHARDID", "", "7.2.0"),
                look("NODES", "", "3.0.0").tips(&["nondeterministic_output"]),
                operators("REPLICAS", "node-id:string", "5.0.0").tips(&["nondeterministic_output"]),
                change("REPLICATE", "node-id:string", "3.0.0"),
                operators("RESET", "[HARD | SOFT]", "3.0.0").noscript(),
                change("SAVECONFIG", "", "3.0.0"),
                change("SET-CONFIG-EPOCH", "config-epoch:integer", "3.0.0"),
                change(
                    "SETSLOT",
                    "slot:integer <IMPORTING node-id:string | MIGRATING node-id:string | NODE \
                     node-id:string | STABLE>",
                    "3.0.0",
                ),
                look("SHARDS", "", "7.0.0").tips(&["nondeterministic_output"]),
                operators("SLAVES", "node-id:string", "3.0.0")
                    .tips(&["nondeterministic_output"])
                    .deprecated("5.0.0", "`CLUSTER REPLICAS`"),
                look("SLOTS", "", "3.0.0")
                    .tips(&["nondeterministic_output"])
                    .deprecated("7.0.0", "`CLUSTER SHARDS`"),
                look("HELP", "", "5.0.0").loading(),
            ],
        )
        .since("3.0.0")
        .about("Commands on a cluster; refused, as there is none.")
        .complexity("Depends on subcommand."),
    ],
);

const fn refused(name: &'static str, syntax: &'static str, since: &'static str) -> Command {
    const HANDLER: AdminHandler = disabled;
    admin(name, HANDLER, syntax)
        .since(since)
        .about("Refused: there is no cluster.")
        .complexity("O(1)")
}

const fn of_connection(name: &'static str) -> Command {
    refused(name, "", "3.0.0").fast().categories(&["connection"])
}

const fn look(name: &'static str, syntax: &'static str, since: &'static str) -> Command {
    refused(name, syntax, since).stale()
}

const fn operators(name: &'static str, syntax: &'static str, since: &'static str) -> Command {
    look(name, syntax, since).operator()
}

const fn change(name: &'static str, syntax: &'static str, since: &'static str) -> Command {
    operators(name, syntax, since).no_async_loading()
}

fn disabled(_: &mut Admin<'_, '_>, _: &mut Args<'_>, _: &mut Reply<'_>) -> Result<()> {
    Err(Error::reply(DISABLED))
}
