//! The snapshot as JSON, table, CSV and OpenMetrics text.
