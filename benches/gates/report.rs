//! The result as a table for people or as JSON.

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::ratios::{Outcome, Row, number};

/// Prints a table on stdout.
pub fn print_table(rows: &[Row]) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "id",
        "what",
        "value",
        "gate",
        "goal",
        "verdict",
        "generator",
        "figures",
        "mark",
    ]);
    for row in rows {
        let (value, generator, figures) = match &row.outcome {
            Outcome::Measured {
                value,
                generator_share,
                figures,
                ..
            } => {
                let generator =
                    generator_share.map_or(String::new(), |share| format!("{:.0} %", share * 100.0));
                (number(*value), generator, figures.clone())
            }
            Outcome::Skipped(reason) | Outcome::Failed(reason) => {
                (String::new(), String::new(), reason.clone())
            }
        };
        let (gate, goal) = (row.gate.to_string(), row.goal.to_string());
        let verdict = row.verdict().word().to_owned();
        table.add_row([
            row.id.to_owned(),
            row.what.clone(),
            value,
            gate,
            goal,
            verdict,
            generator,
            figures,
            row.mark(),
        ]);
    }
    println!("{table}");
}

/// Prints one object on stdout.
pub fn print_json(machine: &str, rows: &[Row]) {
    let rows: Vec<Value> = rows.iter().map(row_json).collect();
    println!("{}", json!({ "machine": machine, "rows": rows }));
}

fn row_json(row: &Row) -> Value {
    let (value, generator_share, foreign_share, figures) = match &row.outcome {
        Outcome::Measured {
            value,
            generator_share,
            foreign_share,
            figures,
            ..
        } => (Some(*value), *generator_share, Some(*foreign_share), figures),
        Outcome::Skipped(reason) | Outcome::Failed(reason) => (None, None, None, reason),
    };
    json!({
        "id": row.id,
        "what": row.what,
        "value": value,
        "gate": row.gate.to_string(),
        "goal": row.goal.to_string(),
        "verdict": row.verdict().word(),
        "generatorShare": generator_share,
        "foreignShare": foreign_share,
        "figures": figures,
    })
}
