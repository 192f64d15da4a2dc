//! HELP of every container, made of the table.

use super::Args;
use crate::road::Admin;
use forgekv_data::Result;
use forgekv_resp::Reply;

pub(super) fn help(ctx: &mut Admin<'_, '_>, _: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let table = &ctx.server.table;
    let Some(container) = ctx.entry.parent.and_then(|id| table.get(id)) else { return Ok(()) };
    let mut lines = vec![format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.command.name
    )];
    for id in &container.subcommands {
        let Some(sub) = table.get(*id).filter(|sub| sub.command.name != "HELP") else { continue };
        lines.push(format!("{} {}", sub.command.name, sub.command.syntax).trim_end().to_owned());
        lines.push(format!("    {}", sub.command.about));
    }
    lines.push("HELP".into());
    lines.push("    Prints this help.".into());
    reply.array(lines.len());
    for line in lines {
        reply.simple(&line);
    }
    Ok(())
}
