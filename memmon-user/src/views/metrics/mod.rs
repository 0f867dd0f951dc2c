//! The snapshot as metrics: what a scraper is given, and `--format openmetrics`.
//!
//! Command lines are no labels: they may hold secrets, and everyone who reaches the port reads this.

mod crowd;
mod labels;
mod numbers;
mod observation;
mod own;
mod text;

#[cfg(test)]
mod tests;

pub use crowd::Crowd;
pub use own::Own;
pub use text::Dialect;

use crate::tables::snapshot::Snapshot;

/// One answer to a scraper. `crowd` remembers between answers what was counted where.
pub fn render(
    snapshot: &Snapshot,
    crowd: &mut Crowd,
    own: Option<&Own>,
    dialect: Dialect,
) -> String {
    let standing = crowd.stand(snapshot);
    let mut out = text::Writer::new(dialect);
    numbers::write(&mut out, &standing.rows);
    observation::write_devices(&mut out, snapshot);
    numbers::write_devices(&mut out, &standing.devices);
    observation::write_health(&mut out, snapshot, standing.in_rest);
    if let Some(own) = own {
        own::write(&mut out, own);
    }
    out.finish()
}

/// A snapshot by itself, as OpenMetrics: every process has its rows.
pub fn render_whole(snapshot: &Snapshot) -> String {
    render(snapshot, &mut Crowd::default(), None, Dialect::OpenMetrics)
}
