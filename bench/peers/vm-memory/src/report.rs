// SPDX-License-Identifier: MIT
//! The report as one JSON object, of the shape that `stage2 bench --json` has, or as a table.

use crate::measure::{Report, Row};
use std::collections::BTreeSet;

/// Of the crate; build.sh knows it, while Cargo does not tell the version of a dependency.
const VERSION: &str = env!("VM_MEMORY_VERSION", "built by build.sh, which sets it");

/// Above this share of the time the report says so; waking up takes a little, too.
const MUCH_BUSY_PERCENT: f64 = 10.0;

pub fn json(report: &Report) -> String {
    let rows: Vec<String> = report
        .rows
        .iter()
        .map(|row| {
            format!(
                r#"{{"op":"{}","slots":{},"threads":{},"ns":{:.2}}}"#,
                row.op, row.slots, row.threads, row.ns
            )
        })
        .collect();

    format!(
        "{{\"bench\":\"vm-memory\",\"results\":[{}],\"goals\":[],\"busy_percent\":{:.1},\
         \"version\":\"{VERSION}\"}}\n",
        rows.join(","),
        report.busy_percent
    )
}

fn number(ns: f64) -> String {
    let decimals = if ns < 10.0 {
        2
    } else if ns < 1000.0 {
        1
    } else {
        0
    };

    format!("{ns:.decimals$}")
}

/// The table's lines, in the order in which the rows bring them up.
fn list_lines(rows: &[Row]) -> Vec<(&'static str, usize)> {
    let mut lines = Vec::new();

    for row in rows {
        if !lines.contains(&(row.op, row.threads)) {
            lines.push((row.op, row.threads));
        }
    }
    lines
}

fn table_line(rows: &[Row], line: (&'static str, usize), columns: &BTreeSet<usize>) -> String {
    let mut text = format!("{:<21}  {:>7}", line.0, line.1);

    for &slots in columns {
        let row = rows
            .iter()
            .find(|row| (row.op, row.threads) == line && row.slots == slots);

        text += &format!(
            "  {:>11}",
            row.map_or("-".to_string(), |row| number(row.ns))
        );
    }
    text + "\n"
}

pub fn table(report: &Report) -> String {
    let columns: BTreeSet<usize> = report.rows.iter().map(|row| row.slots).collect();
    let mut text = format!(
        "vm-memory {VERSION}: guest accesses and replacing the memory map, in ns\n\n\
         {:<21}  threads",
        "op"
    );

    for slots in &columns {
        text += &format!("  {:>11}", format!("slots {slots}"));
    }
    text += "\n";
    for line in list_lines(&report.rows) {
        text += &table_line(&report.rows, line, &columns);
    }
    if report.busy_percent >= MUCH_BUSY_PERCENT {
        text += &format!(
            "\nOther work held the CPUs for {:.0} % of the time: a quieter machine will show \
             better numbers.\n",
            report.busy_percent
        );
    }
    text
}
