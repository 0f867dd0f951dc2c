//! The columns of the process table.

/// A column of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Pid,
    User,
    Command,
    Device,
    Pool(String),
    Live,
    Allocations,
    Rate,
    Peak,
    Failed,
    Age,
    Since,
    State,
}

impl Column {
    pub fn title(&self) -> &str {
        match self {
            Self::Pid => "PID",
            Self::User => "USER",
            Self::Command => "COMMAND",
            Self::Device => "DEV",
            Self::Pool(pool) => pool,
            Self::Live => "LIVE",
            Self::Allocations => "ALLOCS",
            Self::Rate => "/S",
            Self::Peak => "PEAK",
            Self::Failed => "FAILED",
            Self::Age => "AGE",
            Self::Since => "SINCE",
            Self::State => "STATE",
        }
    }

    /// Text and names read best from A, amounts from the largest.
    pub fn descends_by_default(&self) -> bool {
        matches!(
            self,
            Self::Pool(_)
                | Self::Live
                | Self::Allocations
                | Self::Rate
                | Self::Peak
                | Self::Failed
                | Self::Age
        )
    }

    /// Whether it stands at the left of its place: text does, amounts do not.
    pub fn is_left(&self) -> bool {
        matches!(self, Self::User | Self::Command | Self::Since | Self::State)
    }

    /// All of them, for the pools there are.
    pub fn all(pools: &[String]) -> Vec<Self> {
        let mut columns = vec![Self::Pid, Self::User, Self::Command, Self::Device];
        columns.extend(pools.iter().cloned().map(Self::Pool));
        columns.extend([
            Self::Live,
            Self::Allocations,
            Self::Rate,
            Self::Peak,
            Self::Failed,
            Self::Age,
            Self::Since,
            Self::State,
        ]);
        columns
    }
}
